CREATE SEQUENCE outbox.capture_id_seq AS integer;
REVOKE ALL ON SEQUENCE outbox.capture_id_seq FROM PUBLIC;
COMMENT ON SEQUENCE outbox.capture_id_seq IS 'Internal: ids of outbox.capture';

CREATE TABLE outbox.capture (
    id integer PRIMARY KEY DEFAULT nextval('outbox.capture_id_seq'),
    relation regclass NOT NULL,
    topic text NOT NULL,
    key text[],
    columns text[],
    renamed text[],
    format text NOT NULL CHECK (format IN ('row', 'before_after', 'debezium', 'function')),
    -- with its schema and arguments; as a regprocedure, pg_upgrade would refuse it
    function text CHECK ((function IS NULL) = (format <> 'function')),
    condition text,
    version text,
    tombstones boolean NOT NULL,
    on_truncate text NOT NULL CHECK (on_truncate IN ('refuse', 'event', 'ignore')),
    type text,
    source text,
    content_type text,
    operations text[] NOT NULL,
    published_by name NOT NULL DEFAULT session_user,
    published_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (relation, topic)
);
REVOKE ALL ON outbox.capture FROM PUBLIC;
COMMENT ON TABLE outbox.capture IS
    'Internal: tables that are published, and how, for triggers that have the id as their argument; see outbox.published_table';
COMMENT ON COLUMN outbox.capture.key IS 'columns; null means the primary key';
COMMENT ON COLUMN outbox.capture.columns IS 'null means all';
COMMENT ON COLUMN outbox.capture.version IS 'in the header of that name; not one that is part of the topic';
COMMENT ON COLUMN outbox.capture.renamed IS 'a column, its name in events, another column, and so on';
