-- The time that a multipart upload has waited while the server ran, in microseconds; absent until the first
-- check.
ALTER TABLE uploads ADD COLUMN waited INTEGER;
DROP INDEX uploads_by_age;
