-- Uploads that name files in stores of other providers.
ALTER TABLE parties ADD COLUMN keyring TEXT;    -- JSON: the keys to those stores; deleted after the files are read
