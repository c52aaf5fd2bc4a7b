CREATE OR REPLACE FUNCTION outbox.replay(
        first_id bigint DEFAULT NULL, last_id bigint DEFAULT NULL,
        since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL,
        topic text DEFAULT NULL, key text DEFAULT NULL,
        to_topic text DEFAULT NULL, rate integer DEFAULT 1000,
        new_timestamp boolean DEFAULT false, relay text DEFAULT NULL)
    RETURNS bigint
    LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    job bigint;
    published bigint;
    oldest bigint;
BEGIN
    IF first_id IS NULL AND last_id IS NULL AND since IS NULL AND until IS NULL
       AND topic IS NULL AND key IS NULL THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'outbox.replay() needs at least one condition',
            HINT = 'To replay all that is kept, write first_id => 1.';
    END IF;
    IF rate IS NULL OR rate <= 0 THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'rate must be greater than zero',
            HINT = 'Give the number of events to replay in a second.';
    END IF;
    IF to_topic !~ '^[a-zA-Z0-9._-]{1,249}$' OR to_topic IN ('.', '..') THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('"%s" cannot be the name of a topic', to_topic),
            HINT = 'Kafka allows 249 letters and digits of ASCII, ".", "_" and "-".';
    END IF;
    PERFORM outbox.require_relay(relay);
    SELECT min(r.position) INTO published FROM outbox.stat_relay r WHERE relay IS NULL OR r.relay = relay;
    SELECT min(e.id) INTO oldest FROM outbox.event e;
    INSERT INTO outbox.replay_job (first_id, last_id, next_id, since, until, topic, key, to_topic, relay, new_timestamp, rate)
        VALUES (GREATEST(first_id, oldest, 1), LEAST(last_id, published),
                GREATEST(first_id, oldest, 1), since, until, topic, key, to_topic, relay,
                COALESCE(new_timestamp, false), rate)
        RETURNING id INTO job;
    PERFORM outbox.parked_changed();
    PERFORM outbox.write_audit('replay', jsonb_build_object(
        'id', job, 'first_id', first_id, 'last_id', last_id, 'since', since, 'until', until, 'topic', topic,
        'key', key, 'to_topic', to_topic, 'rate', rate, 'new_timestamp', new_timestamp, 'relay', relay), 1);
    RETURN job;
END
$$;
REVOKE ALL ON FUNCTION outbox.replay(bigint, bigint, timestamptz, timestamptz, text, text, text, integer, boolean, text) FROM PUBLIC;
COMMENT ON FUNCTION outbox.replay(bigint, bigint, timestamptz, timestamptz, text, text, text, integer, boolean, text) IS
    'publishes events once more that have been published, with the header outbox_replay: those emitted from since on, before until; with relay, that relay alone publishes them; watch it in outbox.stat_replay';

CREATE OR REPLACE FUNCTION outbox.cancel_replay(id bigint) RETURNS boolean
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    affected bigint;
BEGIN
    UPDATE outbox.replay_job j SET state = 'cancelled', finished_at = clock_timestamp()
        WHERE j.id = id AND j.state = 'running';
    GET DIAGNOSTICS affected = ROW_COUNT;
    PERFORM outbox.write_audit('cancel_replay', jsonb_build_object('id', id), affected);
    RETURN affected > 0;
END
$$;
REVOKE ALL ON FUNCTION outbox.cancel_replay(bigint) FROM PUBLIC;
COMMENT ON FUNCTION outbox.cancel_replay(bigint) IS
    'ends a replay; false if there is none with that id, or it has ended';

CREATE OR REPLACE VIEW outbox.stat_replay AS
    SELECT id, state, requested_at, requested_by, first_id, last_id, since, until,
           topic, key, to_topic, relay, new_timestamp, rate, replayed,
           CASE WHEN state = 'done' OR last_id < first_id THEN 100
                ELSE round(100.0 * (next_id - first_id) / (last_id - first_id + 1), 1)
           END AS percent,
           finished_at
    FROM outbox.replay_job;
REVOKE ALL ON outbox.stat_replay FROM PUBLIC;
GRANT SELECT ON outbox.stat_replay TO pg_monitor;
COMMENT ON VIEW outbox.stat_replay IS 'replays and how far they are';
COMMENT ON COLUMN outbox.stat_replay.replayed IS 'events that have been emitted again';
COMMENT ON COLUMN outbox.stat_replay.percent IS 'how much of the range of ids has been looked at';
