-- The end of each run on the retention clock; absent for runs that ended before that clock existed.
ALTER TABLE runs ADD COLUMN settled INTEGER;

-- The latest stored time of that clock, and the wall-clock time at that moment.
CREATE TABLE mark (
    only   INTEGER PRIMARY KEY CHECK (only = 1),
    passed INTEGER NOT NULL,
    wall   INTEGER NOT NULL
) STRICT;
