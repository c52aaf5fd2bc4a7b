CREATE TABLE outbox.event (
    id bigint NOT NULL,
    event_id uuid NOT NULL,
    emitted_at timestamptz NOT NULL,
    topic text NOT NULL,
    key text,
    payload bytea,
    headers jsonb,
    expires_at timestamptz,
    type text,
    source text,
    content_type text,
    -- rows are in the segments only
    CHECK (false) NO INHERIT
);
REVOKE ALL ON outbox.event FROM PUBLIC;
COMMENT ON TABLE outbox.event IS
    'the outbox: committed events, kept in segments; written by outbox_emit() only, never updated';
COMMENT ON COLUMN outbox.event.id IS 'place in the order in which events are published';
COMMENT ON COLUMN outbox.event.event_id IS 'name of the event in the world, by which consumers recognise a repetition';
COMMENT ON COLUMN outbox.event.emitted_at IS 'when outbox_emit() was called';
COMMENT ON COLUMN outbox.event.topic IS 'Kafka topic';
COMMENT ON COLUMN outbox.event.key IS 'Kafka key; events of one key stay in order';
COMMENT ON COLUMN outbox.event.payload IS 'Kafka value; null is a tombstone';
COMMENT ON COLUMN outbox.event.headers IS 'Kafka headers';
COMMENT ON COLUMN outbox.event.expires_at IS 'not published after this time';
COMMENT ON COLUMN outbox.event.type IS 'what kind of event it is, for the envelope; see outbox.event_headers';
COMMENT ON COLUMN outbox.event.source IS 'where it comes from, a URI reference; for the envelope';
COMMENT ON COLUMN outbox.event.content_type IS 'media type of the payload; for the envelope';

CALL outbox.each_segment($$ CREATE TABLE outbox.event_%1$s (PRIMARY KEY (id)) INHERITS (outbox.event) $$);
CALL outbox.each_segment($$ REVOKE ALL ON outbox.event_%1$s FROM PUBLIC $$);
CALL outbox.each_segment($$ COMMENT ON TABLE outbox.event_%1$s IS 'segment of outbox.event' $$);

-- For operators who look for an event by its name, key, topic or time. A
-- btree on keys would cost each event a random write; this costs a tenth of
-- an emit, and leaves out all but a few pages. Events that were delayed are
-- older than their neighbours: several ranges of times keep them apart. Names
-- that callers give are in no order; one in four rows is what a full range has.
CALL outbox.each_segment($$
    CREATE INDEX event_%1$s_look ON outbox.event_%1$s
        USING brin (emitted_at timestamptz_minmax_multi_ops,
                    event_id uuid_bloom_ops (n_distinct_per_range = -0.25),
                    key text_bloom_ops (n_distinct_per_range = -0.2),
                    topic text_bloom_ops (n_distinct_per_range = 100))
        WITH (pages_per_range = 32)
$$);
-- A row in a range of pages that is summarized costs a new summary, more than
-- all the rest of an emit. Nobody summarizes the last range, but for the first
-- one of an empty table: so that is undone, here and when it is emptied.
CALL outbox.each_segment($$ SELECT brin_desummarize_range('outbox.event_%1$s_look', 0) $$);

CREATE TABLE outbox.delayed (
    id bigint PRIMARY KEY,
    event_id uuid NOT NULL,
    emitted_at timestamptz NOT NULL,
    topic text NOT NULL,
    key text,
    payload bytea,
    headers jsonb,
    expires_at timestamptz,
    type text,
    source text,
    content_type text,
    deliver_at timestamptz NOT NULL
);
CREATE INDEX delayed_due ON outbox.delayed (deliver_at, id);
CREATE INDEX delayed_event_id ON outbox.delayed (event_id);
REVOKE ALL ON outbox.delayed FROM PUBLIC;
COMMENT ON TABLE outbox.delayed IS
    'committed events that are not due yet; the relay moves them into outbox.event when they are';
COMMENT ON COLUMN outbox.delayed.id IS 'order among those that are due at the same time; it gets another id then';
COMMENT ON COLUMN outbox.delayed.deliver_at IS 'when it is due';

CREATE SEQUENCE outbox.event_id_seq;
REVOKE ALL ON SEQUENCE outbox.event_id_seq FROM PUBLIC;
COMMENT ON SEQUENCE outbox.event_id_seq IS 'Internal: ids of events; locking it keeps DROP EXTENSION out';
