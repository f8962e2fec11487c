-- When runs ended by the clock that retention goes by; absent for runs that ended before there was one.
ALTER TABLE runs ADD COLUMN settled INTEGER;

-- How far that clock had come when it was written down last, and what the wall clock said.
CREATE TABLE mark (
    only   INTEGER PRIMARY KEY CHECK (only = 1),
    passed INTEGER NOT NULL,
    wall   INTEGER NOT NULL
) STRICT;
