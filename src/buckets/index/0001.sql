-- The objects that clients have stored; authoritative for every file below objects/buckets.

-- The count of openings of this file; it keeps the numbers below unique.
CREATE TABLE opened (times INTEGER NOT NULL) STRICT;
INSERT INTO opened VALUES (0);

CREATE TABLE buckets (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created INTEGER NOT NULL
) STRICT;

-- Keys are bytes, so that they are in the order of S3: by code point, and each case by itself.
CREATE TABLE objects (
    bucket INTEGER NOT NULL REFERENCES buckets (id),
    key BLOB NOT NULL,
    data INTEGER NOT NULL,
    size INTEGER NOT NULL,
    etag TEXT NOT NULL,
    modified INTEGER NOT NULL,
    head TEXT NOT NULL,
    PRIMARY KEY (bucket, key)
) STRICT, WITHOUT ROWID;

-- Multipart uploads that are neither completed nor aborted. The id is that of the data to come.
CREATE TABLE uploads (
    id INTEGER PRIMARY KEY,
    token TEXT NOT NULL,
    bucket INTEGER NOT NULL REFERENCES buckets (id),
    key BLOB NOT NULL,
    started INTEGER NOT NULL,
    head TEXT NOT NULL,
    algorithm TEXT,
    whole INTEGER NOT NULL
) STRICT;
CREATE INDEX uploads_by_key ON uploads (bucket, key, id);
CREATE INDEX uploads_by_age ON uploads (started);

-- The files of an object or an upload, in order.
CREATE TABLE pieces (
    data INTEGER NOT NULL,
    number INTEGER NOT NULL,
    file INTEGER NOT NULL,
    size INTEGER NOT NULL,
    md5 BLOB NOT NULL,
    checksum TEXT,
    modified INTEGER NOT NULL,
    PRIMARY KEY (data, number)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX pieces_by_place ON pieces (file & 255, file);

-- The bytes of small objects, which have no file.
CREATE TABLE small (
    data INTEGER PRIMARY KEY,
    bytes BLOB NOT NULL
) STRICT;
