-- The blocks with the most comparisons of a run.
ALTER TABLE runs ADD COLUMN largest_blocks TEXT;    -- JSON: comparisons, the largest first; absent without blocks
