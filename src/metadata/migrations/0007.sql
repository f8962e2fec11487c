-- The runs of a project that have not ended: what most events need of them.
CREATE INDEX runs_unended ON runs (project, sequence)
    WHERE state IN ('created', 'queued', 'comparing', 'finalizing');
