-- Projects and runs that were deleted and of which objects may be left: a clean-up removes what has an entry here.
CREATE TABLE deleted (
    digest BLOB PRIMARY KEY,                      -- SHA-256 of the identifier
    late   INTEGER NOT NULL                       -- 1: an upload was arriving, which may leave objects until the process ends
) STRICT, WITHOUT ROWID;
