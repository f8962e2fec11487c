-- Executed when commits are lost and the operator accepts that. Work that was under way may have ended since,
-- with complete objects: it is cancelled without a tombstone, so that none of them is removed.
UPDATE parties SET
    uploading = 0,
    message = iif(contents IN ('fetching', 'ingesting'), 'the upload was under way when the metadata was saved that is used now; upload again', message),
    upload = iif(contents = 'ingesting', NULL, upload),
    records = iif(contents = 'ingesting', NULL, records),
    bytes = iif(contents = 'ingesting', NULL, bytes),
    blocks = iif(contents = 'ingesting', NULL, blocks),
    reference = NULL,
    keyring = NULL,
    contents = iif(contents IN ('fetching', 'ingesting'), 'failed', contents)
WHERE uploading = 1 OR contents IN ('fetching', 'ingesting');

UPDATE runs SET
    state = 'failed',
    stage = 2,
    message = 'the run had not ended when the metadata was saved that is used now; post another run',
    ended = unixepoch() * 1000000,
    seed = NULL
WHERE state IN ('created', 'queued', 'comparing', 'finalizing');
