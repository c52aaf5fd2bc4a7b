CREATE TABLE outbox.subscription (
    -- part of a file's name, and the consumer whose messages are known
    name text PRIMARY KEY CHECK (name ~ '^[a-z0-9_][a-z0-9_-]{0,62}$'),
    -- its advisory locks
    number smallint NOT NULL UNIQUE CHECK (number BETWEEN 0 AND 31),
    topics text[] NOT NULL,
    handler text NOT NULL,
    role regrole NOT NULL,
    cluster text NOT NULL,
    start text NOT NULL,
    workers integer NOT NULL CHECK (workers BETWEEN 1 AND 32),
    on_failure text NOT NULL CHECK (on_failure IN ('block_key', 'block_partition', 'skip', 'halt')),
    retry_base_delay interval CHECK (retry_base_delay BETWEEN '10 ms' AND '1 day'),
    retry_multiplier double precision CHECK (retry_multiplier BETWEEN 1 AND 100),
    retry_max_delay interval CHECK (retry_max_delay BETWEEN '10 ms' AND '1 day'),
    retry_max_attempts integer CHECK (retry_max_attempts >= 0),
    handler_timeout interval NOT NULL CHECK (handler_timeout BETWEEN '0' AND '1 day'),
    id_header text,
    on_gap text NOT NULL CHECK (on_gap IN ('wait', 'skip')),
    dead_letter_topic text,
    group_id text NOT NULL,
    batch_size integer NOT NULL CHECK (batch_size BETWEEN 1 AND 10000),
    paused_at timestamptz,
    paused_by text,
    pause_reason text,
    created_at timestamptz NOT NULL
);
REVOKE ALL ON outbox.subscription FROM PUBLIC;
COMMENT ON TABLE outbox.subscription IS
    'Internal: topics whose messages a function of this database is given; see outbox.subscribe() and outbox.stat_subscription';
COMMENT ON COLUMN outbox.subscription.handler IS 'the function, with its schema and the type of its argument';
COMMENT ON COLUMN outbox.subscription.role IS 'as which the function runs';
COMMENT ON COLUMN outbox.subscription.cluster IS 'default: that of the settings; else the file of that name in outbox.cluster_directory';
COMMENT ON COLUMN outbox.subscription.start IS 'where a topic is begun: earliest, latest, or a time';
COMMENT ON COLUMN outbox.subscription.retry_base_delay IS 'null means the setting; likewise the others of retry';
COMMENT ON COLUMN outbox.subscription.handler_timeout IS 'for a message; 0 means as long as it takes';
COMMENT ON COLUMN outbox.subscription.id_header IS 'which header names a message; null means event_id, id or ce_id, the first that there is';
COMMENT ON COLUMN outbox.subscription.group_id IS 'the consumer group whose offsets are told to the brokers, for tools that show lag';

CREATE TABLE outbox.subscription_offset (
    subscription text NOT NULL,
    topic text COLLATE "C" NOT NULL,
    partition integer NOT NULL CHECK (partition >= 0),
    next_offset bigint NOT NULL CHECK (next_offset >= 0),
    repeat_upto bigint NOT NULL DEFAULT 0,
    end_offset bigint,
    published_at timestamptz,
    gap text,
    gap_since timestamptz,
    seek text,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (subscription, topic, partition)
) WITH (fillfactor = 50);
REVOKE ALL ON outbox.subscription_offset FROM PUBLIC;
COMMENT ON TABLE outbox.subscription_offset IS
    'Internal: how far subscriptions are in each partition; moved in the transaction that has the effects of the messages';
COMMENT ON COLUMN outbox.subscription_offset.next_offset IS 'of the next message; who moves it expects it as it was: so nobody else has';
COMMENT ON COLUMN outbox.subscription_offset.repeat_upto IS
    'messages before that take effect although they are known: by outbox.seek()';
COMMENT ON COLUMN outbox.subscription_offset.end_offset IS 'behind the last message that the broker had, when it was updated';
COMMENT ON COLUMN outbox.subscription_offset.published_at IS 'when the last message that is done was published';
COMMENT ON COLUMN outbox.subscription_offset.gap IS 'why messages are missing from next_offset on; nothing is read until outbox.seek()';
COMMENT ON COLUMN outbox.subscription_offset.seek IS
    'where to go on instead: earliest, latest or a time, until the brokers have told its offset';

CREATE TABLE outbox.inbox_parked (
    subscription text NOT NULL,
    topic text COLLATE "C" NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    key bytea,
    payload bytea,
    headers jsonb NOT NULL,
    published_at timestamptz,
    message_id text,
    attempts integer NOT NULL DEFAULT 0,
    first_failed_at timestamptz,
    last_failed_at timestamptz,
    next_attempt_at timestamptz,
    sqlstate text,
    error text,
    PRIMARY KEY (subscription, topic, partition, "offset")
);
-- A key by its hash, because it may be too long for an index; in front, so that
-- no plan takes this index for the primary key, while next to nothing is parked.
CREATE INDEX inbox_parked_block ON outbox.inbox_parked
    (hashtextextended(encode(key, 'hex') COLLATE "C", 0), subscription, topic, partition, "offset");
CREATE INDEX inbox_parked_due ON outbox.inbox_parked (subscription, next_attempt_at) WHERE next_attempt_at IS NOT NULL;
REVOKE ALL ON outbox.inbox_parked FROM PUBLIC;
COMMENT ON TABLE outbox.inbox_parked IS
    'Internal: messages that have failed and are tried again, and those that wait behind them; their offsets have been passed';
COMMENT ON COLUMN outbox.inbox_parked.next_attempt_at IS 'null: it waits for an earlier one of its key';

CREATE SEQUENCE outbox.inbox_dead_id_seq;
REVOKE ALL ON SEQUENCE outbox.inbox_dead_id_seq FROM PUBLIC;
COMMENT ON SEQUENCE outbox.inbox_dead_id_seq IS 'Internal: ids of outbox.inbox_dead';

CREATE TABLE outbox.inbox_dead (
    id bigint PRIMARY KEY DEFAULT nextval('outbox.inbox_dead_id_seq'),
    subscription text NOT NULL,
    topic text COLLATE "C" NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    key bytea,
    payload bytea,
    headers jsonb NOT NULL,
    published_at timestamptz,
    message_id text,
    attempts integer NOT NULL,
    first_failed_at timestamptz,
    last_failed_at timestamptz,
    sqlstate text,
    error text,
    whole boolean NOT NULL DEFAULT true
);
CREATE INDEX inbox_dead_subscription ON outbox.inbox_dead (subscription, last_failed_at);
CREATE INDEX inbox_dead_age ON outbox.inbox_dead (last_failed_at);
REVOKE ALL ON outbox.inbox_dead FROM PUBLIC;
COMMENT ON TABLE outbox.inbox_dead IS
    'Internal: messages that are not tried again; see outbox.inbox_dead_letter';
COMMENT ON COLUMN outbox.inbox_dead.whole IS
    'false if the message was too large to be kept here: it is in its topic only';

CREATE TYPE outbox.message AS (
    subscription text,
    topic text,
    partition integer,
    "offset" bigint,
    key text,
    key_bytes bytea,
    payload bytea,
    headers jsonb,
    published_at timestamptz,
    message_id text,
    attempt integer
);
COMMENT ON TYPE outbox.message IS 'what the function of a subscription is given; see outbox.subscribe()';
COMMENT ON COLUMN outbox.message.key IS
    'null if it has none; where it is no text in the encoding of this database, its bytes as \x and hexadecimal digits';
COMMENT ON COLUMN outbox.message.payload IS 'null if it has none: a tombstone; see outbox.payload_text() and outbox.payload_json()';
COMMENT ON COLUMN outbox.message.headers IS
    'by name: a text, null, {"base64": ...} for what is no text, an array of these for a name that repeats';
COMMENT ON COLUMN outbox.message.published_at IS 'its time in Kafka';
COMMENT ON COLUMN outbox.message.message_id IS 'of a header; else topic/partition/offset';
COMMENT ON COLUMN outbox.message.attempt IS '1 the first time';
