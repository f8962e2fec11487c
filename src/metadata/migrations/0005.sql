-- State that would otherwise be in the queue alone, which may be lost.
CREATE TABLE duties (
    name TEXT PRIMARY KEY,                        -- of the job
    body TEXT NOT NULL                            -- the job, as JSON: no project asks for it again
) STRICT, WITHOUT ROWID;

CREATE TABLE attempts (
    job      TEXT    PRIMARY KEY,
    project  BLOB    NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    attempts INTEGER NOT NULL                     -- that ended before the one under way
) STRICT, WITHOUT ROWID;
CREATE INDEX attempts_of_project ON attempts (project);
