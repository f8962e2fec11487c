-- Everything is in a schema of its own, so that other applications may use the same database.
-- Text that people write may contain U+0000, which is stored as U+FFFF and 0.
CREATE TABLE entityd.store (
    single     boolean PRIMARY KEY DEFAULT true CHECK (single),
    identity text    NOT NULL                     -- of the data directory
);

CREATE TABLE entityd.projects (
    sequence       bigint  GENERATED ALWAYS AS IDENTITY UNIQUE,
    id             bytea   PRIMARY KEY,
    added          bigint  NOT NULL,              -- microseconds since 1970
    name           text    NOT NULL,
    notes          text    NOT NULL,
    schema         text    NOT NULL,              -- JSON, as given
    result_type    text    NOT NULL,
    uses_blocking  boolean NOT NULL,
    encoding_bytes bigint,
    result_token   bytea   NOT NULL               -- SHA-256
);

CREATE TABLE entityd.parties (
    project       bytea   NOT NULL REFERENCES entityd.projects (id) ON DELETE CASCADE,
    party         bigint  NOT NULL,               -- dataset index
    update_token  bytea   NOT NULL,
    receipt_token bytea,
    uploads       bigint  NOT NULL,
    uploading     boolean NOT NULL,
    contents      text    NOT NULL,               -- missing, fetching, ingesting, ready, failed
    upload        bigint,                         -- of what is ingested or ready
    records       bigint,
    bytes         bigint,                         -- of one encoding
    blocks        bigint,                         -- ingesting: 0 or 1; ready: how many
    message       text,
    reference     text,                           -- JSON: the number of the upload, and the files
    keyring       text,                           -- JSON: keys to those stores; deleted once the files are read
    PRIMARY KEY (project, party)
);

CREATE TABLE entityd.runs (
    sequence          bigint GENERATED ALWAYS AS IDENTITY,
    project           bytea  NOT NULL REFERENCES entityd.projects (id) ON DELETE CASCADE,
    id                bytea  PRIMARY KEY,
    name              text   NOT NULL,
    notes             text   NOT NULL,
    threshold         double precision NOT NULL,
    added             bigint NOT NULL,
    started           bigint,
    ended             bigint,
    settled           bigint,                     -- the end on the retention clock
    state             text   NOT NULL,            -- created, queued, comparing, finalizing, completed, failed
    stage             bigint,                     -- where a failed run died
    message           text,
    found_pairs       bigint,                     -- of a completed run, each counted once
    groups            bigint,
    checksums         text,                       -- JSON: of the objects of a result
    parts             bigint,                     -- of the plan; absent until it is planned
    applied           bytea,                      -- a bit for each part
    comparisons_total bigint,
    largest_blocks    text,                       -- JSON: comparisons, the largest first; absent without blocks
    comparisons       bigint,
    pairs             bigint,
    seed              bytea,
    ready             bigint,                     -- all data was complete
    compared          bigint,                     -- the last part was compared
    latest            bigint,                     -- the plan, or a part, was reported last
    worked            bigint NOT NULL DEFAULT 0   -- microseconds spent on comparisons
);
-- A row is rewritten with each report: the new version fits beside the old one, and no index changes.
ALTER TABLE entityd.runs SET (fillfactor = 50);
CREATE INDEX runs_of_project ON entityd.runs (project, sequence);
CREATE INDEX runs_unended ON entityd.runs (project, sequence)
    WHERE state IN ('created', 'queued', 'comparing', 'finalizing');
CREATE INDEX parties_busy ON entityd.parties (project)
    WHERE uploading OR contents IN ('fetching', 'ingesting');

CREATE TABLE entityd.outbox (
    sequence bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    body     text NOT NULL
);

-- Work that no project asks for again.
CREATE TABLE entityd.duties (
    name text COLLATE "C" PRIMARY KEY,            -- of the job
    body text NOT NULL                            -- the job, as JSON
);

CREATE TABLE entityd.attempts (
    job      text   PRIMARY KEY,
    project  bytea  NOT NULL REFERENCES entityd.projects (id) ON DELETE CASCADE,
    attempts bigint NOT NULL                      -- that ended before the one under way
);
CREATE INDEX attempts_of_project ON entityd.attempts (project);

-- Deleted projects and runs that may have objects left.
CREATE TABLE entityd.deleted (
    digest bytea   PRIMARY KEY,                   -- SHA-256 of the identifier
    late   boolean NOT NULL                       -- an upload was arriving, which may leave objects until the process ends
);

-- The rate of the run that was completed last, which outlives the run.
CREATE TABLE entityd.rate (
    single                   boolean PRIMARY KEY DEFAULT true CHECK (single),
    comparisons_per_second bigint  NOT NULL
);

-- The latest stored time of the retention clock, and the wall-clock time at that moment.
CREATE TABLE entityd.mark (
    single   boolean PRIMARY KEY DEFAULT true CHECK (single),
    passed bigint  NOT NULL,
    wall   bigint  NOT NULL
);

-- The number of the latest commit of each writer. A writer whose connection was cut reads here whether its commit was made.
CREATE SEQUENCE entityd.commit_numbers AS bigint;
CREATE TABLE entityd.commits (
    writer bytea       PRIMARY KEY,
    latest bigint      NOT NULL,
    at     timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE entityd.commits SET (fillfactor = 20);

-- The stable interface for other applications.
CREATE VIEW entityd.entityd_projects AS
SELECT encode(id, 'hex')                                       AS project_id,
       replace(name, E'\uFFFF' || '0', E'\u2400')              AS name,
       replace(notes, E'\uFFFF' || '0', E'\u2400')             AS notes,
       result_type,
       uses_blocking,
       (SELECT count(*) FROM entityd.parties WHERE project = id) AS parties,
       encoding_bytes,
       timestamptz 'epoch' + added * interval '1 microsecond'  AS added
FROM entityd.projects;

CREATE VIEW entityd.entityd_parties AS
SELECT encode(project, 'hex')                                  AS project_id,
       party,
       CASE WHEN uploading AND contents = 'missing' THEN 'uploading'
            WHEN contents = 'failed' THEN 'error'
            ELSE contents END                                  AS state,
       records,
       bytes                                                   AS encoding_bytes,
       CASE WHEN contents = 'ready' THEN blocks END            AS blocks,
       replace(message, E'\uFFFF' || '0', E'\u2400')           AS message
FROM entityd.parties;

CREATE VIEW entityd.entityd_runs AS
SELECT encode(project, 'hex')                                  AS project_id,
       encode(id, 'hex')                                       AS run_id,
       replace(name, E'\uFFFF' || '0', E'\u2400')              AS name,
       replace(notes, E'\uFFFF' || '0', E'\u2400')             AS notes,
       threshold,
       CASE WHEN state IN ('comparing', 'finalizing') THEN 'running'
            WHEN state = 'failed' THEN 'error'
            ELSE state END                                     AS state,
       replace(message, E'\uFFFF' || '0', E'\u2400')           AS message,
       timestamptz 'epoch' + added * interval '1 microsecond'  AS added,
       timestamptz 'epoch' + started * interval '1 microsecond' AS started,
       timestamptz 'epoch' + ended * interval '1 microsecond'  AS ended,
       comparisons_total,
       comparisons,
       coalesce(found_pairs, pairs)                            AS pairs,
       groups
FROM entityd.runs;
