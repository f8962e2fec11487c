-- What the objects of a result are known by.
ALTER TABLE runs ADD COLUMN checksums TEXT;    -- JSON; absent where an older version made the result
