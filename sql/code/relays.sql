-- Relays are made, changed and dropped here: what each publishes, and how.
-- Where to is in the configuration.

CREATE OR REPLACE FUNCTION outbox.horizon() RETURNS bigint
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'outbox_horizon';
REVOKE ALL ON FUNCTION outbox.horizon() FROM PUBLIC;
COMMENT ON FUNCTION outbox.horizon() IS
    'Internal: events with an id below are committed or gone for good';

CREATE OR REPLACE FUNCTION outbox.report_no_relay(name text) RETURNS void
    LANGUAGE plpgsql IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
    RAISE undefined_object USING
        MESSAGE = format('relay "%s" does not exist', COALESCE(name, 'null')),
        HINT = 'The relays of this database are in outbox.stat_relay.';
END
$$;
REVOKE ALL ON FUNCTION outbox.report_no_relay(text) FROM PUBLIC;
COMMENT ON FUNCTION outbox.report_no_relay(text) IS 'Internal: says that there is no such relay';

CREATE OR REPLACE FUNCTION outbox.require_relay(name text) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
    -- whoever drops it waits, and finds what is written for it
    PERFORM FROM outbox.relay r WHERE r.name = name FOR KEY SHARE;
    IF NOT FOUND THEN
        PERFORM outbox.report_no_relay(name);
    END IF;
END
$$;
REVOKE ALL ON FUNCTION outbox.require_relay(text) FROM PUBLIC;
COMMENT ON FUNCTION outbox.require_relay(text) IS
    'Internal: raises an error if there is no such relay, and keeps it until the transaction ends; null means none in particular';

CREATE OR REPLACE FUNCTION outbox.check_patterns(argument text, patterns text[], without text, prefix text)
    RETURNS void
    LANGUAGE plpgsql IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    pattern text;
BEGIN
    IF cardinality(patterns) NOT BETWEEN 1 AND 1000 THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('%s has %s patterns', argument, cardinality(patterns)),
            DETAIL = 'There can be 1 to 1000.',
            HINT = without;
    END IF;
    FOREACH pattern IN ARRAY COALESCE(patterns, '{}') LOOP
        IF pattern IS NULL OR pattern !~ '^[a-zA-Z0-9._*-]{1,249}$' OR pattern IN ('.', '..') THEN
            RAISE invalid_parameter_value USING
                MESSAGE = format('%s: "%s" cannot be the name of a topic, or a pattern for some', argument, COALESCE(pattern, 'null')),
                HINT = 'Kafka allows 249 letters and digits of ASCII, ".", "_" and "-"; a "*" stands for any of them, also for none.';
        END IF;
        IF length(prefix || replace(pattern, '*', '')) > 249 THEN
            RAISE invalid_parameter_value USING
                MESSAGE = format('%s: "%s" is too long for topic_prefix "%s"', argument, pattern, prefix),
                DETAIL = 'Together they are the name of a topic in Kafka, which allows 249 characters.';
        END IF;
    END LOOP;
END
$$;
REVOKE ALL ON FUNCTION outbox.check_patterns(text, text[], text, text) FROM PUBLIC;
COMMENT ON FUNCTION outbox.check_patterns(text, text[], text, text) IS
    'Internal: raises an error unless these can be names and patterns of topics';

CREATE OR REPLACE FUNCTION outbox.check_relay(relay outbox.relay) RETURNS outbox.relay
    LANGUAGE plpgsql IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    delay record;
BEGIN
    relay.topic_prefix := NULLIF(relay.topic_prefix, '');
    IF relay.topic_prefix !~ '^[a-zA-Z0-9._-]{1,248}$' THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('topic_prefix: "%s" cannot be the beginning of a topic''s name', relay.topic_prefix),
            HINT = 'Kafka allows letters and digits of ASCII, ".", "_" and "-", and 249 of them in all.';
    END IF;
    PERFORM outbox.check_patterns('topics', relay.topics,
                                  'Without topics, all of them are published.', relay.topic_prefix);
    PERFORM outbox.check_patterns('excluding', relay.excluding,
                                  'Without it, none of the topics is left out.', NULL);
    IF relay.on_failure NOT IN ('block_key', 'skip', 'halt') THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('on_failure cannot be "%s"', relay.on_failure),
            HINT = 'It is block_key, skip or halt, as the setting outbox.on_failure.';
    END IF;
    FOR delay IN
        SELECT * FROM (VALUES ('retry_base_delay', relay.retry_base_delay),
                              ('retry_max_delay', relay.retry_max_delay)) AS d (argument, value)
        WHERE value NOT BETWEEN '10 ms' AND '1 day' LOOP
        RAISE invalid_parameter_value USING
            MESSAGE = format('%s cannot be %s', delay.argument, delay.value),
            HINT = 'It is from 10 milliseconds to one day.';
    END LOOP;
    IF relay.retry_multiplier NOT BETWEEN 1 AND 100 THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('retry_multiplier cannot be %s', relay.retry_multiplier),
            HINT = 'It is from 1 to 100.';
    END IF;
    IF relay.retry_max_attempts < 0 THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('retry_max_attempts cannot be %s', relay.retry_max_attempts),
            HINT = 'Write 0 to have events tried again and again.';
    END IF;
    IF relay.event_headers NOT IN ('none', 'plain', 'cloudevents', 'debezium') THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('event_headers cannot be "%s"', relay.event_headers),
            HINT = 'It is none, plain, cloudevents or debezium, as the setting outbox.event_headers.';
    END IF;
    IF relay.dead_letter_topic <> ''
       AND (relay.dead_letter_topic !~ '^[a-zA-Z0-9._-]+$' OR relay.dead_letter_topic IN ('.', '..')
            OR length(concat(relay.topic_prefix, relay.dead_letter_topic)) > 249) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('dead_letter_topic: "%s" cannot be the name of a topic', relay.dead_letter_topic),
            HINT = 'Kafka allows letters and digits of ASCII, ".", "_" and "-", and 249 of them with topic_prefix. An empty text means no topic.';
    END IF;
    RETURN relay;
END
$$;
REVOKE ALL ON FUNCTION outbox.check_relay(outbox.relay) FROM PUBLIC;
COMMENT ON FUNCTION outbox.check_relay(outbox.relay) IS
    'Internal: raises an error unless a relay can be like that';

-- "now" is the horizon: a commit that is under way is published, whether it
-- took its ids before or after us. Nobody empties a segment before we commit,
-- and who wants to after that looks at outbox.relay first.
CREATE OR REPLACE FUNCTION outbox.create_relay(
        name text, topics text[] DEFAULT NULL, excluding text[] DEFAULT NULL,
        topic_prefix text DEFAULT NULL, start text DEFAULT 'now',
        on_failure text DEFAULT NULL, retry_base_delay interval DEFAULT NULL,
        retry_multiplier double precision DEFAULT NULL, retry_max_delay interval DEFAULT NULL,
        retry_max_attempts integer DEFAULT NULL, dead_letter_topic text DEFAULT NULL,
        event_headers text DEFAULT NULL)
    RETURNS void
    LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    relay outbox.relay;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE feature_not_supported USING
            MESSAGE = 'outbox.create_relay() has to see what others have just committed',
            HINT = 'Call it in a transaction that is READ COMMITTED.';
    END IF;
    -- one at a time; the relays do not mind
    LOCK TABLE outbox.relay IN SHARE UPDATE EXCLUSIVE MODE;
    IF name IS NULL OR name !~ '^[a-z0-9_][a-z0-9_-]{0,62}$' THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('"%s" cannot be the name of a relay', COALESCE(name, 'null')),
            HINT = 'Use up to 63 lower-case letters, digits, "_" and "-", but no "-" in front: it is part of the name of a file.';
    END IF;
    IF EXISTS (SELECT FROM outbox.relay r WHERE r.name = name) THEN
        RAISE unique_violation USING
            MESSAGE = format('relay "%s" exists already', name),
            HINT = 'Use outbox.alter_relay() to change it.';
    END IF;
    IF start IS NULL OR start NOT IN ('now', 'oldest') THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('start cannot be "%s"', COALESCE(start, 'null')),
            HINT = 'It is now, for events that are committed from now on, or oldest, for all that are kept, too.';
    END IF;
    SELECT min(n) INTO relay.number
        FROM generate_series(CASE name WHEN 'default' THEN 0 ELSE 1 END,
                             CASE name WHEN 'default' THEN 0 ELSE 31 END) AS n
        WHERE n NOT IN (SELECT r.number FROM outbox.relay r);
    IF relay.number IS NULL THEN
        RAISE program_limit_exceeded USING
            MESSAGE = 'there are too many relays in this database',
            DETAIL = 'There can be 31 of them beside "default".',
            HINT = 'Drop one with outbox.drop_relay(); a relay can publish many topics.';
    END IF;
    relay.name := name;
    relay.topics := topics;
    relay.excluding := excluding;
    relay.topic_prefix := topic_prefix;
    relay.on_failure := on_failure;
    relay.retry_base_delay := retry_base_delay;
    relay.retry_multiplier := retry_multiplier;
    relay.retry_max_delay := retry_max_delay;
    relay.retry_max_attempts := retry_max_attempts;
    relay.dead_letter_topic := dead_letter_topic;
    relay.event_headers := event_headers;
    -- not before now(), though the clock be set back: such a row is from a dump
    relay.created_at := GREATEST(clock_timestamp(), now());
    relay := outbox.check_relay(relay);

    LOCK TABLE outbox.event IN ACCESS SHARE MODE;
    relay.first_position := outbox.horizon() - 1;
    IF start = 'oldest' THEN
        relay.first_position := LEAST(relay.first_position, (SELECT min(e.id) - 1 FROM outbox.event e));
    END IF;
    INSERT INTO outbox.relay SELECT relay.*;
    PERFORM outbox.relays_changed();
    PERFORM outbox.write_audit('create_relay', jsonb_build_object(
        'name', name, 'topics', topics, 'excluding', excluding, 'topic_prefix', topic_prefix, 'start', start,
        'on_failure', on_failure, 'retry_base_delay', retry_base_delay, 'retry_multiplier', retry_multiplier,
        'retry_max_delay', retry_max_delay, 'retry_max_attempts', retry_max_attempts,
        'dead_letter_topic', dead_letter_topic, 'event_headers', event_headers), 1);
END
$$;
REVOKE ALL ON FUNCTION outbox.create_relay(text, text[], text[], text, text, text, interval, double precision, interval, integer, text, text) FROM PUBLIC;
COMMENT ON FUNCTION outbox.create_relay(text, text[], text[], text, text, text, interval, double precision, interval, integer, text, text) IS
    'a further relay, to the cluster of the file of its name in outbox.cluster_directory: publishes the topics (names or patterns with *; null: all) but for those excluded, under names that begin with topic_prefix; those committed from now on, or with start => oldest, all that are kept; the others are as the settings of their names, and null means the setting';

CREATE OR REPLACE FUNCTION outbox.alter_relay(
        name text, topics text[] DEFAULT NULL, excluding text[] DEFAULT NULL,
        topic_prefix text DEFAULT NULL, on_failure text DEFAULT NULL,
        retry_base_delay interval DEFAULT NULL, retry_multiplier double precision DEFAULT NULL,
        retry_max_delay interval DEFAULT NULL, retry_max_attempts integer DEFAULT NULL,
        dead_letter_topic text DEFAULT NULL, event_headers text DEFAULT NULL, reset text[] DEFAULT NULL)
    RETURNS void
    LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    relay outbox.relay;
    argument text;
BEGIN
    SELECT r.* INTO relay FROM outbox.relay r WHERE r.name = name FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        PERFORM outbox.report_no_relay(name);
    END IF;
    FOREACH argument IN ARRAY COALESCE(reset, '{}') LOOP
        CASE argument
            WHEN 'topics' THEN relay.topics := NULL;
            WHEN 'excluding' THEN relay.excluding := NULL;
            WHEN 'topic_prefix' THEN relay.topic_prefix := NULL;
            WHEN 'on_failure' THEN relay.on_failure := NULL;
            WHEN 'retry_base_delay' THEN relay.retry_base_delay := NULL;
            WHEN 'retry_multiplier' THEN relay.retry_multiplier := NULL;
            WHEN 'retry_max_delay' THEN relay.retry_max_delay := NULL;
            WHEN 'retry_max_attempts' THEN relay.retry_max_attempts := NULL;
            WHEN 'dead_letter_topic' THEN relay.dead_letter_topic := NULL;
            WHEN 'event_headers' THEN relay.event_headers := NULL;
            ELSE
                RAISE invalid_parameter_value USING
                    MESSAGE = format('"%s" cannot be reset', COALESCE(argument, 'null')),
                    HINT = 'In reset are names of other arguments of outbox.alter_relay().';
        END CASE;
    END LOOP;
    relay.topics := COALESCE(topics, relay.topics);
    relay.excluding := COALESCE(excluding, relay.excluding);
    relay.topic_prefix := COALESCE(topic_prefix, relay.topic_prefix);
    relay.on_failure := COALESCE(on_failure, relay.on_failure);
    relay.retry_base_delay := COALESCE(retry_base_delay, relay.retry_base_delay);
    relay.retry_multiplier := COALESCE(retry_multiplier, relay.retry_multiplier);
    relay.retry_max_delay := COALESCE(retry_max_delay, relay.retry_max_delay);
    relay.retry_max_attempts := COALESCE(retry_max_attempts, relay.retry_max_attempts);
    relay.dead_letter_topic := COALESCE(dead_letter_topic, relay.dead_letter_topic);
    relay.event_headers := COALESCE(event_headers, relay.event_headers);
    relay := outbox.check_relay(relay);
    UPDATE outbox.relay r SET
        topics = relay.topics, excluding = relay.excluding, topic_prefix = relay.topic_prefix,
        on_failure = relay.on_failure, retry_base_delay = relay.retry_base_delay,
        retry_multiplier = relay.retry_multiplier, retry_max_delay = relay.retry_max_delay,
        retry_max_attempts = relay.retry_max_attempts, dead_letter_topic = relay.dead_letter_topic,
        event_headers = relay.event_headers
        WHERE r.name = name;
    -- who has seen the change, and emits then, finds it published accordingly
    PERFORM outbox.relays_changed(), outbox.parked_changed();
    PERFORM outbox.write_audit('alter_relay', jsonb_build_object(
        'name', name, 'topics', topics, 'excluding', excluding, 'topic_prefix', topic_prefix,
        'on_failure', on_failure, 'retry_base_delay', retry_base_delay, 'retry_multiplier', retry_multiplier,
        'retry_max_delay', retry_max_delay, 'retry_max_attempts', retry_max_attempts,
        'dead_letter_topic', dead_letter_topic, 'event_headers', event_headers, 'reset', reset), 1);
END
$$;
REVOKE ALL ON FUNCTION outbox.alter_relay(text, text[], text[], text, text, interval, double precision, interval, integer, text, text, text[]) FROM PUBLIC;
COMMENT ON FUNCTION outbox.alter_relay(text, text[], text[], text, text, interval, double precision, interval, integer, text, text, text[]) IS
    'changes a relay: what is null stays as it is; what is named in reset becomes as if outbox.create_relay() had been called without it';

-- The first pass deletes what there is while the relays go on; the second, when
-- no relay writes any more, the little that has come since.
CREATE OR REPLACE FUNCTION outbox.drop_relay(name text, discard boolean DEFAULT false) RETURNS void
    LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    relay outbox.relay;
    written bigint := 0;
    unpublished boolean;
    parked bigint;
    deleted bigint;
    affected bigint := 0;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE feature_not_supported USING
            MESSAGE = 'outbox.drop_relay() has to see what others have just committed',
            HINT = 'Call it in a transaction that is READ COMMITTED.';
    END IF;
    -- nobody asks anything of it any more
    SELECT r.* INTO relay FROM outbox.relay r WHERE r.name = name FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM outbox.report_no_relay(name);
    END IF;
    -- one at a time; the relays do not mind
    LOCK TABLE outbox.relay IN SHARE UPDATE EXCLUSIVE MODE;
    IF NOT EXISTS (SELECT FROM outbox.relay r WHERE r.name <> name) THEN
        RAISE object_not_in_prerequisite_state USING
            MESSAGE = format('relay "%s" is the only one of this database', name),
            DETAIL = 'Without any, events would be kept forever.',
            HINT = 'Create another one before, or drop the extension.';
    END IF;
    FOR pass IN 1 .. 2 LOOP
        IF pass = 2 THEN
            LOCK TABLE outbox.relay IN SHARE ROW EXCLUSIVE MODE;
        END IF;
        IF discard IS NOT TRUE THEN
            SELECT GREATEST(written, s.position) INTO written
                FROM outbox.stat_relay s WHERE s.relay = name;
            unpublished := EXISTS (
                SELECT FROM outbox.event e
                WHERE e.id > written AND outbox.topic_matches(e.topic, relay.topics, relay.excluding));
            parked := (SELECT count(*) FROM outbox.parked p WHERE p.relay = name);
            IF unpublished OR parked > 0 THEN
                RAISE object_not_in_prerequisite_state USING
                    MESSAGE = format('relay "%s" has events that it has not published', name),
                    DETAIL = format('%s dead letters and events that are tried again or wait; events with an id above %s: %s.',
                                    parked, written, CASE WHEN unpublished THEN 'yes' ELSE 'none' END),
                    HINT = format('To have this relay never publish them, call outbox.drop_relay(%L, discard => true).', name);
            END IF;
        END IF;
        DELETE FROM outbox.parked p WHERE p.relay = name;
        GET DIAGNOSTICS deleted = ROW_COUNT;
        affected := affected + deleted;
        DELETE FROM outbox.discarded d WHERE d.relay = name;
        DELETE FROM outbox.position p WHERE p.relay = name;
    END LOOP;
    DELETE FROM outbox.paused_topic t WHERE t.relay = name;
    UPDATE outbox.replay_job j SET state = 'cancelled', finished_at = clock_timestamp()
        WHERE j.relay = name AND j.state = 'running';
    DELETE FROM outbox.relay r WHERE r.name = name;
    PERFORM outbox.relays_changed();
    PERFORM outbox.write_audit('drop_relay', jsonb_build_object('name', name, 'discard', discard), affected);
END
$$;
REVOKE ALL ON FUNCTION outbox.drop_relay(text, boolean) FROM PUBLIC;
COMMENT ON FUNCTION outbox.drop_relay(text, boolean) IS
    'ends a relay for good, with its position and its dead letters; events that it has not published, and dead letters, it has to be told to discard';
