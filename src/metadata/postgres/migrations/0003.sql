-- The number that a writer drew for its latest commit. PostgreSQL logs a sequence some numbers ahead: a standby that missed
-- commits may have the sequence of one that missed none, but not the rows. Programs of version 2 write no numbers:
-- after their commits `numbered` is not `latest`.
ALTER TABLE entityd.commits ADD COLUMN number bigint, ADD COLUMN numbered bigint;
UPDATE entityd.commits SET
    numbered = latest,
    number = (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM entityd.commit_numbers);
