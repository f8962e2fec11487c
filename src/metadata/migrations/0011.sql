-- The stable interface for other applications: the same views as in PostgreSQL.
CREATE VIEW entityd_projects AS
SELECT lower(hex(id))                                        AS project_id,
       name,
       notes,
       result_type,
       uses_blocking,
       (SELECT count(*) FROM parties WHERE project = id)     AS parties,
       encoding_bytes,
       strftime('%Y-%m-%dT%H:%M:%fZ', added / 1e6, 'unixepoch') AS added
FROM projects;

CREATE VIEW entityd_parties AS
SELECT lower(hex(project))                                   AS project_id,
       party,
       CASE WHEN uploading AND contents = 'missing' THEN 'uploading'
            WHEN contents = 'failed' THEN 'error'
            ELSE contents END                                AS state,
       records,
       bytes                                                 AS encoding_bytes,
       CASE WHEN contents = 'ready' THEN blocks END          AS blocks,
       message
FROM parties;

CREATE VIEW entityd_runs AS
SELECT lower(hex(project))                                   AS project_id,
       lower(hex(id))                                        AS run_id,
       name,
       notes,
       threshold,
       CASE WHEN state IN ('comparing', 'finalizing') THEN 'running'
            WHEN state = 'failed' THEN 'error'
            ELSE state END                                   AS state,
       message,
       strftime('%Y-%m-%dT%H:%M:%fZ', added / 1e6, 'unixepoch')   AS added,
       strftime('%Y-%m-%dT%H:%M:%fZ', started / 1e6, 'unixepoch') AS started,
       strftime('%Y-%m-%dT%H:%M:%fZ', ended / 1e6, 'unixepoch')   AS ended,
       comparisons_total,
       comparisons,
       coalesce(found_pairs, pairs)                          AS pairs,
       groups
FROM runs;
