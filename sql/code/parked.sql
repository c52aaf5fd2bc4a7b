CREATE OR REPLACE VIEW outbox.dead_letter AS
    SELECT relay, id, event_id, emitted_at, topic, key, payload, headers - 'outbox_relay' AS headers,
           class, error, attempts, first_failed_at, last_failed_at, type, source, content_type
    FROM outbox.parked WHERE state = 'dead';
REVOKE ALL ON outbox.dead_letter FROM PUBLIC;
COMMENT ON VIEW outbox.dead_letter IS
    'events that are not tried again; see outbox.requeue() and outbox.discard()';

CREATE OR REPLACE VIEW outbox.blocked AS
    WITH paused AS (
        SELECT DISTINCT ON (r.name, t.topic) r.name AS relay, t.topic, t.paused_at,
               'paused by ' || t.paused_by || COALESCE(': ' || t.reason, '') AS error
        FROM outbox.paused_topic t JOIN outbox.relay r ON r.name = COALESCE(t.relay, r.name)
        ORDER BY r.name, t.topic, t.paused_at
    ), live AS (
        SELECT p.relay, p.id, p.topic, p.key, p.state, p.blocking, p.first_failed_at, p.next_attempt_at,
               EXISTS (SELECT FROM outbox.parked t
                       WHERE t.relay = p.relay AND t.topic = p.topic
                         AND t.state = 'retrying' AND t.class = 'topic') AS by_topic,
               EXISTS (SELECT FROM paused t WHERE t.relay = p.relay AND t.topic = p.topic) AS by_pause
        FROM outbox.parked p
        WHERE p.state <> 'dead'
    ), block AS (
        SELECT relay, topic, CASE WHEN NOT by_topic THEN key END AS key,
               CASE WHEN by_topic THEN 'topic' WHEN blocking AND key IS NOT NULL THEN 'key' ELSE 'event' END AS scope,
               CASE WHEN NOT by_topic AND NOT (blocking AND key IS NOT NULL) THEN id END AS single,
               count(*) FILTER (WHERE state = 'waiting') AS waiting,
               min(first_failed_at) AS since,
               min(next_attempt_at) AS next_attempt_at,
               min(id) FILTER (WHERE state = 'retrying') AS culprit
        FROM live
        WHERE NOT by_pause
        GROUP BY 1, 2, 3, 4, 5
    )
    SELECT b.relay, b.scope, b.topic, b.key, p.event_id, p.class, p.error, p.attempts,
           b.since, b.waiting, b.next_attempt_at
    FROM block b LEFT JOIN outbox.parked p ON p.relay = b.relay AND p.id = b.culprit
    UNION ALL
    SELECT u.relay, 'topic', u.topic, NULL, NULL, 'paused', u.error, NULL,
           u.paused_at, count(l.id), NULL
    FROM paused u LEFT JOIN live l ON l.relay = u.relay AND l.topic = u.topic
    GROUP BY u.relay, u.topic, u.error, u.paused_at;
REVOKE ALL ON outbox.blocked FROM PUBLIC;
GRANT SELECT ON outbox.blocked TO pg_monitor;
COMMENT ON VIEW outbox.blocked IS
    'what is kept from being published: each blocked topic, key or event, by which event or by whom, and how many wait behind it';

CREATE OR REPLACE FUNCTION outbox.parked_changed() RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'outbox_parked_changed';
REVOKE ALL ON FUNCTION outbox.parked_changed() FROM PUBLIC;
COMMENT ON FUNCTION outbox.parked_changed() IS
    'Internal: lets the relay look at outbox.parked again once the transaction has committed';

-- Events that expired have blocked nothing; requeued, they come before later
-- ones of their key like any other.
CREATE OR REPLACE FUNCTION outbox.requeue(
        event_id uuid DEFAULT NULL, topic text DEFAULT NULL, key text DEFAULT NULL,
        class text DEFAULT NULL, since timestamptz DEFAULT NULL,
        until timestamptz DEFAULT NULL, new_timestamp boolean DEFAULT false,
        relay text DEFAULT NULL)
    RETURNS SETOF outbox.dead_letter
    LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    affected bigint;
BEGIN
    PERFORM outbox.require_relay(relay);
    PERFORM outbox.parked_changed();
    RETURN QUERY
        WITH requeued AS (
            UPDATE outbox.parked p
            SET state = 'waiting', attempts = 0, next_attempt_at = NULL, announced_at = NULL,
                expires_at = NULL,
                blocking = p.blocking
                    OR (p.class = 'expired'
                        AND COALESCE((SELECT r.on_failure FROM outbox.relay r WHERE r.name = p.relay),
                                     current_setting('outbox.on_failure', true)) IS DISTINCT FROM 'skip'),
                emitted_at = CASE WHEN new_timestamp THEN clock_timestamp()
                                  ELSE p.emitted_at END
            FROM outbox.dead_letter letter
            WHERE letter.relay = p.relay AND letter.id = p.id
              AND p.state = 'dead' AND p.whole
              AND (event_id IS NULL OR p.event_id = event_id)
              AND (topic IS NULL OR p.topic = topic)
              AND (key IS NULL OR p.key = key)
              AND (class IS NULL OR p.class = class)
              AND (since IS NULL OR p.last_failed_at >= since)
              AND (until IS NULL OR p.last_failed_at < until)
              AND (relay IS NULL OR p.relay = relay)
            -- as it was
            RETURNING letter.*)
        SELECT * FROM requeued r ORDER BY r.id;
    GET DIAGNOSTICS affected = ROW_COUNT;
    PERFORM outbox.write_audit('requeue', jsonb_build_object(
        'event_id', event_id, 'topic', topic, 'key', key, 'class', class, 'since', since, 'until', until,
        'new_timestamp', new_timestamp, 'relay', relay), affected);
END
$$;
REVOKE ALL ON FUNCTION outbox.requeue(uuid, text, text, text, timestamptz, timestamptz, boolean, text) FROM PUBLIC;
COMMENT ON FUNCTION outbox.requeue(uuid, text, text, text, timestamptz, timestamptz, boolean, text) IS
    'publishes dead letters after all, in order, and returns them; without an argument, all of them; those that have failed last from since on, before until; with relay, those of that relay only; with new_timestamp, with the time of the call instead of that of outbox_emit()';

CREATE OR REPLACE FUNCTION outbox.discard(
        event_id uuid DEFAULT NULL, topic text DEFAULT NULL, key text DEFAULT NULL,
        class text DEFAULT NULL, since timestamptz DEFAULT NULL,
        until timestamptz DEFAULT NULL, retrying boolean DEFAULT false,
        waiting boolean DEFAULT false, relay text DEFAULT NULL)
    RETURNS SETOF outbox.dead_letter
    LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    affected bigint;
BEGIN
    IF event_id IS NULL AND topic IS NULL AND key IS NULL AND class IS NULL
       AND since IS NULL AND until IS NULL AND relay IS NULL THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'outbox.discard() needs at least one condition',
            HINT = 'To discard all dead letters, write until => now().';
    END IF;
    PERFORM outbox.require_relay(relay);
    PERFORM outbox.parked_changed();
    RETURN QUERY
        WITH discarded AS (
            DELETE FROM outbox.parked p
            WHERE (p.state = 'dead'
                   OR retrying AND p.state = 'retrying'
                   OR waiting AND p.state = 'waiting')
              AND (event_id IS NULL OR p.event_id = event_id)
              AND (topic IS NULL OR p.topic = topic)
              AND (key IS NULL OR p.key = key)
              AND (class IS NULL OR p.class = class)
              AND (since IS NULL OR p.last_failed_at >= since)
              AND (until IS NULL OR p.last_failed_at < until)
              AND (relay IS NULL OR p.relay = relay)
            RETURNING p.*),
        noted AS (
            INSERT INTO outbox.discarded (relay, id) SELECT d.relay, d.id FROM discarded d
            ON CONFLICT DO NOTHING)
        -- as outbox.dead_letter shows them
        SELECT d.relay, d.id, d.event_id, d.emitted_at, d.topic, d.key, d.payload, d.headers - 'outbox_relay',
               d.class, d.error, d.attempts, d.first_failed_at, d.last_failed_at,
               d.type, d.source, d.content_type
        FROM discarded d ORDER BY d.id;
    GET DIAGNOSTICS affected = ROW_COUNT;
    PERFORM outbox.write_audit('discard', jsonb_build_object(
        'event_id', event_id, 'topic', topic, 'key', key, 'class', class, 'since', since, 'until', until,
        'retrying', retrying, 'waiting', waiting, 'relay', relay), affected);
END
$$;
REVOKE ALL ON FUNCTION outbox.discard(uuid, text, text, text, timestamptz, timestamptz, boolean, boolean, text) FROM PUBLIC;
COMMENT ON FUNCTION outbox.discard(uuid, text, text, text, timestamptz, timestamptz, boolean, boolean, text) IS
    'removes dead letters for good, and returns them; those that have failed last from since on, before until; with relay, those of that relay only; with retrying, also events that are tried again; with waiting, also those that wait behind one';
