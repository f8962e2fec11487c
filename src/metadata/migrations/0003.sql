-- Uploads that name files of clients, which are still to be read: contents 'fetching'.
ALTER TABLE parties ADD COLUMN reference TEXT;    -- JSON: the number of the upload, and the files
DROP INDEX parties_busy;
CREATE INDEX parties_busy ON parties (project) WHERE uploading = 1 OR contents IN ('fetching', 'ingesting');
