-- Deleted projects and runs that may have objects left; a clean-up removes only those listed here.
CREATE TABLE deleted (
    digest BLOB PRIMARY KEY,                      -- SHA-256 of the identifier
    late   INTEGER NOT NULL                       -- 1: an upload was arriving, which may leave objects until the process ends
) STRICT, WITHOUT ROWID;
