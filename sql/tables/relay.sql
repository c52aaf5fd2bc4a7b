CREATE TABLE outbox.relay (
    -- part of a file's name, too
    name text PRIMARY KEY CHECK (name ~ '^[a-z0-9_][a-z0-9_-]{0,62}$'),
    -- its place in shared memory (OUTBOX_RELAYS), and its advisory lock
    number smallint NOT NULL UNIQUE CHECK (number BETWEEN 0 AND 31),
    first_position bigint NOT NULL DEFAULT 0,
    topics text[],
    excluding text[],
    topic_prefix text,
    on_failure text CHECK (on_failure IN ('block_key', 'skip', 'halt')),
    retry_base_delay interval CHECK (retry_base_delay BETWEEN '10 ms' AND '1 day'),
    retry_multiplier double precision CHECK (retry_multiplier BETWEEN 1 AND 100),
    retry_max_delay interval CHECK (retry_max_delay BETWEEN '10 ms' AND '1 day'),
    retry_max_attempts integer CHECK (retry_max_attempts >= 0),
    dead_letter_topic text,
    event_headers text CHECK (event_headers IN ('none', 'plain', 'cloudevents', 'debezium')),
    paused_at timestamptz,
    paused_by name,
    pause_reason text,
    -- of two relays of the same name, one after another, each has its own
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
REVOKE ALL ON outbox.relay FROM PUBLIC;
COMMENT ON TABLE outbox.relay IS
    'Internal: relays: what each publishes, and how; where to is in the configuration; see outbox.stat_relay';
COMMENT ON COLUMN outbox.relay.name IS 'name of the relay';
COMMENT ON COLUMN outbox.relay.number IS 'Internal: which of the relays of this database it is';
COMMENT ON COLUMN outbox.relay.first_position IS
    'where the relay begins as long as it has no row in outbox.position';
COMMENT ON COLUMN outbox.relay.topics IS 'topics that it publishes, with * for any characters; null means all';
COMMENT ON COLUMN outbox.relay.excluding IS 'of these, those that it does not publish';
COMMENT ON COLUMN outbox.relay.topic_prefix IS 'what comes before the name of each topic in its cluster';
COMMENT ON COLUMN outbox.relay.on_failure IS 'null means the setting outbox.on_failure; likewise below';
COMMENT ON COLUMN outbox.relay.event_headers IS 'which headers its records have beside the event''s own';
COMMENT ON COLUMN outbox.relay.paused_at IS 'when it was paused; null if it is not';
COMMENT ON COLUMN outbox.relay.paused_by IS 'who paused it';
COMMENT ON COLUMN outbox.relay.pause_reason IS 'why it was paused';
COMMENT ON COLUMN outbox.relay.created_at IS 'when it was created';

-- ids go on above those of an outbox that this database had before
CREATE FUNCTION outbox.first_id() RETURNS bigint
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'outbox_first_id';
SELECT setval('outbox.event_id_seq', outbox.first_id(), false);
INSERT INTO outbox.relay (name, number, first_position)
    SELECT 'default', 0, last_value - 1 FROM outbox.event_id_seq;
DROP FUNCTION outbox.first_id();
-- nobody else does it for so few rows, and plans would expect a thousand
ANALYZE outbox.relay;

-- A row that is updated every second would bloat while somebody holds a
-- snapshot. Rows are appended instead, to one of eight tables, that is
-- emptied together with the segment of the same number.
CREATE TABLE outbox.position (
    relay text NOT NULL,
    position bigint NOT NULL,
    written_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    beyond bigint[],
    -- rows are in the segments only
    CHECK (false) NO INHERIT
);
REVOKE ALL ON outbox.position FROM PUBLIC;
COMMENT ON TABLE outbox.position IS
    'Internal: how far each relay was, and when, about once a second; the highest position is the present one';
COMMENT ON COLUMN outbox.position.position IS
    'every event with an id up to here was acknowledged by Kafka, or parked';
COMMENT ON COLUMN outbox.position.written_at IS 'when that was written';
COMMENT ON COLUMN outbox.position.beyond IS
    'events beyond the position that were acknowledged or parked, too, when the relay ended';

CALL outbox.each_segment($$ CREATE TABLE outbox.position_%1$s () INHERITS (outbox.position) $$);
CALL outbox.each_segment($$ REVOKE ALL ON outbox.position_%1$s FROM PUBLIC $$);
CALL outbox.each_segment($$ COMMENT ON TABLE outbox.position_%1$s IS 'segment of outbox.position' $$);
CALL outbox.each_segment($$
    CREATE INDEX position_%1$s_look ON outbox.position_%1$s (relay, position) INCLUDE (written_at)
$$);
