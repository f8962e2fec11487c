-- Runs that keep the scores of the pairs within each group.
ALTER TABLE runs ADD COLUMN with_scores INTEGER NOT NULL DEFAULT 0;
