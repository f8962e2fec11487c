-- How long an upload in parts has waited while the server ran, in microseconds; absent until it is looked at first.
ALTER TABLE uploads ADD COLUMN waited INTEGER;
DROP INDEX uploads_by_age;
