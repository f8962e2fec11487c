-- When each stage of a run ended, and how long its comparisons took: absent for what a run of before has passed.
ALTER TABLE runs ADD COLUMN ready    INTEGER;     -- all data was there
ALTER TABLE runs ADD COLUMN compared INTEGER;     -- the last part was compared
ALTER TABLE runs ADD COLUMN latest   INTEGER;     -- the plan, or a part, was reported last
ALTER TABLE runs ADD COLUMN worked   INTEGER NOT NULL DEFAULT 0;  -- microseconds spent on comparisons
