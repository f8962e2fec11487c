-- Executed when commits are lost and the operator accepts that. Work that was under way may have ended since,
-- with complete objects: it is cancelled without a tombstone, so that none of them is removed.
UPDATE entityd.parties SET
    uploading = false,
    message = CASE WHEN contents IN ('fetching', 'ingesting')
        THEN 'the upload was under way when the metadata was saved that is used now; upload again' ELSE message END,
    upload = CASE WHEN contents = 'ingesting' THEN NULL ELSE upload END,
    records = CASE WHEN contents = 'ingesting' THEN NULL ELSE records END,
    bytes = CASE WHEN contents = 'ingesting' THEN NULL ELSE bytes END,
    blocks = CASE WHEN contents = 'ingesting' THEN NULL ELSE blocks END,
    reference = NULL,
    keyring = NULL,
    contents = CASE WHEN contents IN ('fetching', 'ingesting') THEN 'failed' ELSE contents END
WHERE uploading OR contents IN ('fetching', 'ingesting');

UPDATE entityd.runs SET
    state = 'failed',
    stage = 2,
    message = 'the run had not ended when the metadata was saved that is used now; post another run',
    ended = (extract(epoch FROM now()) * 1000000)::bigint,
    seed = NULL
WHERE state IN ('created', 'queued', 'comparing', 'finalizing');
