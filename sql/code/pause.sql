-- A relay is paused in its row, a topic in a row of outbox.paused_topic. Who
-- has seen that, and emits then, finds nothing of it in Kafka: thanks to
-- outbox.parked_changed(), the relay looks before its horizon passes such an
-- event. What is paused already stays as it was paused first, by whom and why.

CREATE OR REPLACE FUNCTION outbox.pause(relay text DEFAULT NULL, reason text DEFAULT NULL)
    RETURNS void
    LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    its outbox.relay;
    affected bigint := 0;
BEGIN
    FOR its IN SELECT r.* FROM outbox.relay r WHERE relay IS NULL OR r.name = relay
               ORDER BY r.number FOR NO KEY UPDATE LOOP
        IF its.paused_at IS NOT NULL THEN
            RAISE NOTICE 'relay "%" is paused already', its.name USING
                DETAIL = format('%s has paused it, at %s%s.', its.paused_by, its.paused_at,
                                COALESCE(': ' || its.pause_reason, ''));
            CONTINUE;
        END IF;
        UPDATE outbox.relay r SET paused_at = now(), paused_by = session_user, pause_reason = reason
            WHERE r.name = its.name;
        affected := affected + 1;
        PERFORM outbox.relays_changed(), outbox.parked_changed();
    END LOOP;
    IF NOT FOUND THEN
        PERFORM outbox.report_no_relay(relay);
    END IF;
    PERFORM outbox.write_audit('pause', jsonb_build_object('relay', relay, 'reason', reason), affected);
END
$$;
REVOKE ALL ON FUNCTION outbox.pause(text, text) FROM PUBLIC;
COMMENT ON FUNCTION outbox.pause(text, text) IS
    'keeps a relay, or all that there are, from publishing until it is resumed; its events wait';

CREATE OR REPLACE FUNCTION outbox.resume(relay text DEFAULT NULL)
    RETURNS void
    LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    affected bigint;
BEGIN
    PERFORM outbox.require_relay(relay);
    UPDATE outbox.relay r SET paused_at = NULL, paused_by = NULL, pause_reason = NULL
        WHERE (relay IS NULL OR r.name = relay) AND r.paused_at IS NOT NULL;
    GET DIAGNOSTICS affected = ROW_COUNT;
    IF affected = 0 THEN
        RAISE NOTICE '%', COALESCE('relay "' || relay || '" is not paused', 'no relay is paused');
    ELSE
        PERFORM outbox.relays_changed();
    END IF;
    PERFORM outbox.write_audit('resume', jsonb_build_object('relay', relay), affected);
END
$$;
REVOKE ALL ON FUNCTION outbox.resume(text) FROM PUBLIC;
COMMENT ON FUNCTION outbox.resume(text) IS 'lets a paused relay go on, or all that are';

CREATE OR REPLACE FUNCTION outbox.pause_topic(
        topic text, relay text DEFAULT NULL, reason text DEFAULT NULL)
    RETURNS void
    LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    pause outbox.paused_topic;
    affected bigint := 0;
BEGIN
    IF topic IS NULL OR topic !~ '^[a-zA-Z0-9._-]{1,249}$' OR topic IN ('.', '..') THEN
        RAISE invalid_parameter_value USING
            MESSAGE = COALESCE('"' || topic || '" cannot be the name of a topic', 'topic must not be null'),
            HINT = 'Give the exact name of one topic; there are no patterns here.';
    END IF;
    PERFORM outbox.require_relay(relay);
    SELECT t.* INTO pause FROM outbox.paused_topic t
        WHERE t.topic = topic AND (t.relay IS NULL OR t.relay = relay) ORDER BY t.relay NULLS FIRST LIMIT 1;
    IF NOT FOUND THEN
        INSERT INTO outbox.paused_topic (topic, relay, reason) VALUES (topic, relay, reason)
            ON CONFLICT DO NOTHING;
        GET DIAGNOSTICS affected = ROW_COUNT;
        PERFORM outbox.parked_changed();
    ELSE
        RAISE NOTICE 'topic "%" is paused already', topic USING
            DETAIL = format('%s has paused it%s, at %s%s.', pause.paused_by,
                            COALESCE(' for relay "' || pause.relay || '"', ''), pause.paused_at,
                            COALESCE(': ' || pause.reason, ''));
    END IF;
    PERFORM outbox.write_audit('pause_topic', jsonb_build_object(
        'topic', topic, 'relay', relay, 'reason', reason), affected);
END
$$;
REVOKE ALL ON FUNCTION outbox.pause_topic(text, text, text) FROM PUBLIC;
COMMENT ON FUNCTION outbox.pause_topic(text, text, text) IS
    'keeps the events of a topic from being published, by that relay, or by all; they wait in order, others go on';

CREATE OR REPLACE FUNCTION outbox.resume_topic(topic text, relay text DEFAULT NULL)
    RETURNS void
    LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    affected bigint;
BEGIN
    IF topic IS NULL THEN
        RAISE null_value_not_allowed USING MESSAGE = 'topic must not be null';
    END IF;
    IF relay IS NOT NULL
       AND EXISTS (SELECT FROM outbox.paused_topic t WHERE t.topic = topic AND t.relay IS NULL) THEN
        RAISE object_not_in_prerequisite_state USING
            MESSAGE = format('topic "%s" is paused for all relays', topic),
            HINT = format('Resume it for all with outbox.resume_topic(%L), and pause it for single ones.', topic);
    END IF;
    DELETE FROM outbox.paused_topic t WHERE t.topic = topic AND (relay IS NULL OR t.relay = relay);
    GET DIAGNOSTICS affected = ROW_COUNT;
    IF affected = 0 THEN
        RAISE NOTICE 'topic "%" is not paused%', topic, COALESCE(' for relay "' || relay || '"', '');
    ELSE
        PERFORM outbox.parked_changed();
    END IF;
    PERFORM outbox.write_audit('resume_topic', jsonb_build_object('topic', topic, 'relay', relay), affected);
END
$$;
REVOKE ALL ON FUNCTION outbox.resume_topic(text, text) FROM PUBLIC;
COMMENT ON FUNCTION outbox.resume_topic(text, text) IS
    'lets the events of a paused topic go on, in order; without a relay, for whichever it was paused';

CREATE OR REPLACE VIEW outbox.paused AS
    SELECT name AS relay, NULL::text AS topic, paused_at, paused_by, pause_reason AS reason
    FROM outbox.relay WHERE paused_at IS NOT NULL
    UNION ALL
    SELECT relay, topic, paused_at, paused_by, reason FROM outbox.paused_topic;
REVOKE ALL ON outbox.paused FROM PUBLIC;
GRANT SELECT ON outbox.paused TO pg_monitor;
COMMENT ON VIEW outbox.paused IS 'relays and topics that are paused: by whom, since when, why';
COMMENT ON COLUMN outbox.paused.relay IS 'null means all relays';
COMMENT ON COLUMN outbox.paused.topic IS 'null means the whole relay';
