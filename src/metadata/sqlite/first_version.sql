-- A project in the middle of a run, as the first version of the schema held it.
INSERT INTO projects (id, added, name, notes, schema, result_type, uses_blocking, encoding_bytes, result_token)
VALUES (unhex(replace(hex(zeroblob(24)), '00', '07')), 1, 'old', '', '{}', 'groups', 0, 128,
        unhex(replace(hex(zeroblob(32)), '00', '01')));
INSERT INTO parties (project, party, update_token, receipt_token, uploads, uploading, contents, upload, records,
                     bytes, blocks)
SELECT unhex(replace(hex(zeroblob(24)), '00', '07')), value, unhex(replace(hex(zeroblob(32)), '00', '02')),
       unhex(replace(hex(zeroblob(32)), '00', '03')), 1, 0, 'ready', 1, 10, 128, 1
FROM (SELECT 0 AS value UNION SELECT 1);
INSERT INTO runs (project, id, name, notes, threshold, added, started, state, parts, applied, comparisons_total,
                  comparisons, pairs)
VALUES (unhex(replace(hex(zeroblob(24)), '00', '07')), unhex(replace(hex(zeroblob(24)), '00', '08')), 'half', '',
        0.8, 2, 3, 'comparing', 2, x'01', 100000, 50000, 4);
