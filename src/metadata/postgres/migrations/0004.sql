-- Runs that keep the scores of the pairs within each group. Programs of earlier versions make runs without them.
ALTER TABLE entityd.runs ADD COLUMN with_scores boolean NOT NULL DEFAULT false;
