-- The changes that sql/build makes the script from that updates the older
-- version of back_to_0.9.sql.

CALL outbox.each_segment($$
    CREATE INDEX event_%1$s_look ON outbox.event_%1$s
        USING brin (emitted_at timestamptz_minmax_multi_ops,
                    event_id uuid_bloom_ops (n_distinct_per_range = -0.25),
                    key text_bloom_ops (n_distinct_per_range = -0.2),
                    topic text_bloom_ops (n_distinct_per_range = 100))
        WITH (pages_per_range = 32)
$$);
CALL outbox.each_segment($$ SELECT brin_desummarize_range('outbox.event_%1$s_look', 0) $$);

ALTER TABLE outbox.relay RENAME COLUMN position TO first_position;
COMMENT ON COLUMN outbox.relay.first_position IS
    'where the relay begins as long as it has no row in outbox.position';
ALTER TABLE outbox.relay DROP COLUMN position_at;

ALTER TABLE outbox.parked ADD COLUMN expires_at timestamptz;
ALTER TABLE outbox.parked ADD COLUMN whole boolean NOT NULL DEFAULT true;
COMMENT ON COLUMN outbox.parked.expires_at IS 'not published after this time';
COMMENT ON COLUMN outbox.parked.whole IS
    'false for a dead letter of which not all could be read: it cannot be requeued';
DROP INDEX outbox.parked_block;
CREATE INDEX parked_block ON outbox.parked (hashtextextended(key, 0), topic, relay, id) WHERE state <> 'dead';
CREATE INDEX parked_expires ON outbox.parked (relay, expires_at) WHERE state <> 'dead' AND expires_at IS NOT NULL;
ALTER TABLE outbox.parked DROP CONSTRAINT parked_pkey, ADD PRIMARY KEY (id, relay);

CREATE TABLE outbox.discarded (
    relay text NOT NULL,
    id bigint NOT NULL,
    discarded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (id, relay)
);
REVOKE ALL ON outbox.discarded FROM PUBLIC;
COMMENT ON TABLE outbox.discarded IS
    'Internal: dead letters that have been removed while their events are kept: those have not been published';

CALL outbox.retire('outbox.emitted()', 'outbox.emitted()');
CALL outbox.retire('outbox.requeue(text)',
    'outbox.requeue(uuid, text, text, text, timestamptz, timestamptz, boolean, text)');
DO $$
DECLARE
    emit text;
BEGIN
    FOR emit IN
        SELECT format('%s(text, %s, %s, jsonb', name, key, payload)
        FROM unnest(ARRAY['@extschema@.outbox_emit', 'outbox.emit']) name,
            unnest(ARRAY['text', '"any"']) key, unnest(ARRAY['text', '"any"']) payload
    LOOP
        CALL outbox.retire(emit || ')', emit || ', timestamptz, interval, timestamptz, uuid, text, text, text)');
    END LOOP;
END
$$;
