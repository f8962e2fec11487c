-- The end of each stage of a run, and the time that its comparisons took; absent for stages that ended before
-- this version.
ALTER TABLE runs ADD COLUMN ready    INTEGER;     -- all data was complete
ALTER TABLE runs ADD COLUMN compared INTEGER;     -- the last part was compared
ALTER TABLE runs ADD COLUMN latest   INTEGER;     -- the plan, or a part, was reported last
ALTER TABLE runs ADD COLUMN worked   INTEGER NOT NULL DEFAULT 0;  -- microseconds spent on comparisons
