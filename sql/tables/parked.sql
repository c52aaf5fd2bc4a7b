CREATE TABLE outbox.parked (
    relay text NOT NULL,
    id bigint NOT NULL,
    event_id uuid NOT NULL,
    emitted_at timestamptz NOT NULL,
    topic text NOT NULL,
    key text,
    payload bytea,
    headers jsonb,
    type text,
    source text,
    content_type text,
    state text NOT NULL CHECK (state IN ('retrying', 'waiting', 'dead')),
    blocking boolean NOT NULL,
    class text,
    error text,
    attempts integer NOT NULL DEFAULT 0,
    first_failed_at timestamptz,
    last_failed_at timestamptz,
    next_attempt_at timestamptz,
    announced_at timestamptz,
    expires_at timestamptz,
    whole boolean NOT NULL DEFAULT true,
    PRIMARY KEY (id, relay)
);
-- While something is blocked, rows are added all the time. What tells them
-- apart comes first: a key by its hash, because it may be too long for an
-- index. Names of events grow, so that BRIN is good enough, unless they are
-- callers' own, in no order: one dead letter is found by an index that the others
-- do not pay for. A replay looks by id alone, to leave out what is parked, of
-- whatever relay.
CREATE INDEX parked_block ON outbox.parked (hashtextextended(key, 0), topic, relay, id) WHERE state <> 'dead';
CREATE INDEX parked_live ON outbox.parked (id, relay) WHERE state <> 'dead';
CREATE INDEX parked_retrying ON outbox.parked (relay, topic, id) WHERE state = 'retrying' AND class = 'topic';
CREATE INDEX parked_dead ON outbox.parked (relay, last_failed_at) WHERE state = 'dead';
CREATE INDEX parked_unannounced ON outbox.parked (relay, id) WHERE state = 'dead' AND announced_at IS NULL;
CREATE INDEX parked_event_id ON outbox.parked USING brin (event_id) WITH (pages_per_range = 32);
CREATE INDEX parked_dead_event_id ON outbox.parked (event_id) WHERE state = 'dead';
CREATE INDEX parked_expires ON outbox.parked (relay, expires_at) WHERE state <> 'dead' AND expires_at IS NOT NULL;
REVOKE ALL ON outbox.parked FROM PUBLIC;
COMMENT ON TABLE outbox.parked IS
    'Internal: events that could not be published: copies of those that are tried again, wait behind them, or are dead letters';
COMMENT ON COLUMN outbox.parked.relay IS 'relay that could not publish it';
COMMENT ON COLUMN outbox.parked.state IS
    'retrying: has failed, is tried again; waiting: behind one that is, or requeued; dead: is not tried again';
COMMENT ON COLUMN outbox.parked.blocking IS 'later events of its key wait for it';
COMMENT ON COLUMN outbox.parked.class IS
    'whose fault it is: topic, event (for now), size, invalid (for good), or expired';
COMMENT ON COLUMN outbox.parked.error IS 'in the broker''s words';
COMMENT ON COLUMN outbox.parked.attempts IS 'how often it has been tried';
COMMENT ON COLUMN outbox.parked.announced_at IS
    'when a copy went to outbox.dead_letter_topic; infinity if none can';
COMMENT ON COLUMN outbox.parked.expires_at IS 'not published after this time';
COMMENT ON COLUMN outbox.parked.whole IS
    'false for a dead letter of which not all could be read: it cannot be requeued';

CREATE TABLE outbox.discarded (
    relay text NOT NULL,
    id bigint NOT NULL,
    discarded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (id, relay)
);
REVOKE ALL ON outbox.discarded FROM PUBLIC;
COMMENT ON TABLE outbox.discarded IS
    'Internal: dead letters that have been removed while their events are kept: those have not been published';
