-- Several nodes share the database. All of it is added: programs of version 1 use the tables as before.
CREATE TABLE entityd.nodes (
    node     text        PRIMARY KEY,             -- a process, by a random number
    role     text        NOT NULL,                -- all, api or worker
    name     text        NOT NULL,                -- of the machine
    version  text        NOT NULL,
    queues   text        NOT NULL,
    threads  bigint      NOT NULL,
    jobs     bigint      NOT NULL,
    embedded text        NOT NULL DEFAULT '',     -- engines that a serving node does not share
    draining boolean     NOT NULL DEFAULT false,
    joined   timestamptz NOT NULL DEFAULT now(),
    heard    timestamptz NOT NULL DEFAULT now()
);

-- Words that all nodes must know: digests of tokens, settings, the state of the queue.
CREATE TABLE entityd.words (
    name  text PRIMARY KEY,
    value text NOT NULL
);

-- The node that receives the upload; none if one node alone uses the database.
ALTER TABLE entityd.parties ADD COLUMN holder text;

-- The node that carries the message out, and since when.
ALTER TABLE entityd.outbox ADD COLUMN taker text, ADD COLUMN taken timestamptz;
