-- Finds the unfinished runs of a project: most events need no others.
CREATE INDEX runs_unended ON runs (project, sequence)
    WHERE state IN ('created', 'queued', 'comparing', 'finalizing');
