-- The sizes and checksums of the objects of a result.
ALTER TABLE runs ADD COLUMN checksums TEXT;    -- JSON; absent where an older version made the result
