-- Projects, their parties and runs, and the outbox.
CREATE TABLE projects (
    sequence       INTEGER PRIMARY KEY AUTOINCREMENT,
    id             BLOB    NOT NULL UNIQUE,
    added          INTEGER NOT NULL,              -- microseconds since 1970
    name           TEXT    NOT NULL,
    notes          TEXT    NOT NULL,
    schema         TEXT    NOT NULL,              -- JSON, as given
    result_type    TEXT    NOT NULL,
    uses_blocking  INTEGER NOT NULL,
    encoding_bytes INTEGER,
    result_token   BLOB    NOT NULL               -- SHA-256
) STRICT;

CREATE TABLE parties (
    project       BLOB    NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    party         INTEGER NOT NULL,               -- dataset index
    update_token  BLOB    NOT NULL,
    receipt_token BLOB,
    uploads       INTEGER NOT NULL,
    uploading     INTEGER NOT NULL,
    contents      TEXT    NOT NULL,               -- missing, ingesting, ready, failed
    upload        INTEGER,                        -- of what is ingested or ready
    records       INTEGER,
    bytes         INTEGER,                        -- of one encoding
    blocks        INTEGER,                        -- ingesting: 0 or 1; ready: how many
    message       TEXT,
    PRIMARY KEY (project, party)
) STRICT, WITHOUT ROWID;

CREATE TABLE runs (
    sequence    INTEGER PRIMARY KEY AUTOINCREMENT,
    project     BLOB    NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    id          BLOB    NOT NULL UNIQUE,
    name        TEXT    NOT NULL,
    notes       TEXT    NOT NULL,
    threshold   REAL    NOT NULL,
    added       INTEGER NOT NULL,
    started     INTEGER,
    ended       INTEGER,
    state       TEXT    NOT NULL,                 -- created, queued, comparing, finalizing, completed, failed
    stage       INTEGER,                          -- where a failed run died
    message     TEXT,
    found_pairs INTEGER,                          -- of a completed run, each counted once
    groups      INTEGER,
    parts       INTEGER,                          -- of the plan; absent until it is planned
    applied     BLOB,                             -- a bit for each part
    comparisons_total INTEGER,
    comparisons INTEGER,
    pairs       INTEGER,
    seed        BLOB
) STRICT;

CREATE INDEX runs_of_project ON runs (project, sequence);
CREATE INDEX runs_open ON runs (project) WHERE state IN ('queued', 'comparing', 'finalizing');
CREATE INDEX parties_busy ON parties (project) WHERE uploading = 1 OR contents = 'ingesting';

CREATE TABLE outbox (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    body     TEXT NOT NULL
) STRICT;

-- The rate of the run that was completed last, which outlives the run.
CREATE TABLE rate (
    only        INTEGER PRIMARY KEY CHECK (only = 1),
    comparisons_per_second INTEGER NOT NULL
) STRICT;
