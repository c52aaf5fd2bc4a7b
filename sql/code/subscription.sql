-- Subscriptions are made, changed and dropped here. What they do is done by
-- subscribers, processes that look at outbox.subscription again when they are
-- told; how far they are is in outbox.subscription_offset.

CREATE OR REPLACE FUNCTION outbox.subscriptions_changed() RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'outbox_subscriptions_changed';
REVOKE ALL ON FUNCTION outbox.subscriptions_changed() FROM PUBLIC;
COMMENT ON FUNCTION outbox.subscriptions_changed() IS
    'Internal: lets the subscribers look at their tables again once the transaction has committed';

-- Whose rights count is who calls outbox.subscribe(), which is not the user of
-- the session: that is a superuser where a handler runs, and a superuser may
-- call a function of somebody else's. What runs as its owner cannot know who
-- has called it; but its arguments are evaluated before, the last one last.
CREATE OR REPLACE FUNCTION outbox.note_caller() RETURNS regrole
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'outbox_note_caller';
REVOKE ALL ON FUNCTION outbox.note_caller() FROM PUBLIC;
COMMENT ON FUNCTION outbox.note_caller() IS
    'Internal: the current user, noted for outbox.noted_caller()';

CREATE OR REPLACE FUNCTION outbox.noted_caller() RETURNS regrole
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'outbox_noted_caller';
REVOKE ALL ON FUNCTION outbox.noted_caller() FROM PUBLIC;
COMMENT ON FUNCTION outbox.noted_caller() IS
    'Internal: whom the last argument of the function that calls this has noted; once';

CREATE OR REPLACE FUNCTION outbox.payload_text(message outbox.message) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'outbox_payload_text';
REVOKE ALL ON FUNCTION outbox.payload_text(outbox.message) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION outbox.payload_text(outbox.message) TO PUBLIC;
COMMENT ON FUNCTION outbox.payload_text(outbox.message) IS
    'the payload of a message as text; null for a tombstone';

CREATE OR REPLACE FUNCTION outbox.payload_json(message outbox.message) RETURNS jsonb
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'outbox_payload_json';
REVOKE ALL ON FUNCTION outbox.payload_json(outbox.message) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION outbox.payload_json(outbox.message) TO PUBLIC;
COMMENT ON FUNCTION outbox.payload_json(outbox.message) IS
    'the payload of a message as jsonb; null for a tombstone';

CREATE OR REPLACE FUNCTION outbox.report_no_subscription(name text) RETURNS void
    LANGUAGE plpgsql IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
    RAISE undefined_object USING
        MESSAGE = format('subscription "%s" does not exist', COALESCE(name, 'null')),
        HINT = 'The subscriptions of this database are in outbox.stat_subscription.';
END
$$;
REVOKE ALL ON FUNCTION outbox.report_no_subscription(text) FROM PUBLIC;
COMMENT ON FUNCTION outbox.report_no_subscription(text) IS 'Internal: says that there is no such subscription';

CREATE OR REPLACE FUNCTION outbox.check_handler(handler regprocedure, role regrole, caller regrole) RETURNS text
    LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    its record;
BEGIN
    IF role IS NULL OR NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = role) THEN
        RAISE undefined_object USING
            MESSAGE = format('role "%s" does not exist', COALESCE(role::text, 'null'));
    END IF;
    IF NOT pg_has_role(caller, role,
                       CASE WHEN current_setting('server_version_num')::integer < 160000 THEN 'MEMBER' ELSE 'SET' END) THEN
        RAISE insufficient_privilege USING
            MESSAGE = format('%s must be able to SET ROLE %s', caller, role),
            DETAIL = 'The function of a subscription runs as its role.';
    END IF;
    IF (SELECT r.rolsuper FROM pg_roles r WHERE r.oid = role)
       AND NOT (SELECT r.rolsuper FROM pg_roles r WHERE r.oid = caller) THEN
        RAISE insufficient_privilege USING
            MESSAGE = format('only a superuser can have a function run as superuser %s', role);
    END IF;
    SELECT p.*, n.nspname INTO its
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE p.oid = handler;
    IF NOT FOUND THEN
        RAISE undefined_function USING
            MESSAGE = format('function %s does not exist', COALESCE(handler::text, 'null')),
            HINT = 'Write it with the type of its argument: ''handle_order(outbox.message)''.';
    END IF;
    IF its.prokind <> 'f' OR its.proretset OR its.pronargs <> 1
       OR its.proargtypes[0] <> 'outbox.message'::regtype
       OR its.prorettype NOT IN ('void'::regtype, 'text'::regtype) THEN
        RAISE wrong_object_type USING
            MESSAGE = format('%s cannot handle messages', handler),
            HINT = 'Give a function that takes one argument, an outbox.message, and returns void, or text: done, retry or discard.';
    END IF;
    IF its.nspname ~ '^pg_(toast_)?temp_' THEN
        RAISE wrong_object_type USING
            MESSAGE = format('temporary function %s() cannot handle messages', its.proname);
    END IF;
    IF NOT has_function_privilege(role, handler, 'EXECUTE') THEN
        RAISE insufficient_privilege USING
            MESSAGE = format('permission denied for function %s', handler),
            DETAIL = format('Role %s would call it.', role),
            HINT = format('GRANT EXECUTE ON FUNCTION %s TO %s, or give another role.', handler, role);
    END IF;
    -- whatever the search_path is where it is read
    RETURN format('%I.%I(outbox.message)', its.nspname, its.proname);
END
$$;
REVOKE ALL ON FUNCTION outbox.check_handler(regprocedure, regrole, regrole) FROM PUBLIC;
COMMENT ON FUNCTION outbox.check_handler(regprocedure, regrole, regrole) IS
    'Internal: raises an error unless that function can handle messages as that role, and the caller may say so; returns its name for outbox.subscription';

CREATE OR REPLACE FUNCTION outbox.check_place(argument text, place text) RETURNS text
    LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    moment timestamptz;
BEGIN
    IF place IN ('earliest', 'latest') THEN
        RETURN place;
    END IF;
    BEGIN
        moment := place;
    EXCEPTION WHEN data_exception THEN
        moment := NULL;
    END;
    IF moment IS NULL OR moment NOT BETWEEN '1970-01-01 00:00:00+00' AND '9999-12-31 00:00:00+00' THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('%s cannot be "%s"', argument, COALESCE(place, 'null')),
            HINT = 'It is earliest, latest, or a time since 1970.';
    END IF;
    RETURN to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');
END
$$;
REVOKE ALL ON FUNCTION outbox.check_place(text, text) FROM PUBLIC;
COMMENT ON FUNCTION outbox.check_place(text, text) IS
    'Internal: raises an error unless that is earliest, latest or a time; returns it as subscribers read it, whatever DateStyle and TimeZone are there';

CREATE OR REPLACE FUNCTION outbox.check_subscription(its outbox.subscription) RETURNS outbox.subscription
    LANGUAGE plpgsql STABLE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    wrong text;
    delay record;
BEGIN
    IF COALESCE(cardinality(its.topics), 0) NOT BETWEEN 1 AND 100 THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('topics has %s names', COALESCE(cardinality(its.topics), 0)),
            DETAIL = 'There can be 1 to 100.';
    END IF;
    its.topics := ARRAY(SELECT unnest(its.topics));
    SELECT COALESCE(t.topic, 'null') INTO wrong FROM unnest(its.topics) AS t (topic)
        WHERE t.topic IS NULL OR t.topic !~ '^[a-zA-Z0-9._-]{1,249}$' OR t.topic IN ('.', '..') LIMIT 1;
    IF FOUND THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('topics: "%s" cannot be the name of a topic', wrong),
            HINT = 'Give exact names; there are no patterns here.';
    END IF;
    SELECT t.topic INTO wrong FROM unnest(its.topics) AS t (topic) GROUP BY t.topic HAVING count(*) > 1 LIMIT 1;
    IF FOUND THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('topics has "%s" more than once', wrong);
    END IF;
    its.start := outbox.check_place('start', its.start);
    IF its.cluster IS NULL OR its.cluster !~ '^[a-z0-9_][a-z0-9_-]{0,62}$' THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('cluster cannot be "%s"', COALESCE(its.cluster, 'null')),
            HINT = 'It is default, for that of the settings, or the name of a file in outbox.cluster_directory, without .properties.';
    END IF;
    IF its.workers IS NULL OR its.workers NOT BETWEEN 1 AND 32 THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('workers cannot be %s', COALESCE(its.workers::text, 'null')),
            HINT = 'It is from 1 to 32; the partitions are divided among them.';
    END IF;
    IF its.on_failure IS NULL OR its.on_failure NOT IN ('block_key', 'block_partition', 'skip', 'halt') THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('on_failure cannot be "%s"', COALESCE(its.on_failure, 'null')),
            HINT = 'It is block_key, block_partition, skip or halt.';
    END IF;
    FOR delay IN
        SELECT * FROM (VALUES ('retry_base_delay', its.retry_base_delay),
                              ('retry_max_delay', its.retry_max_delay)) AS d (argument, value)
        WHERE value NOT BETWEEN '10 ms' AND '1 day' LOOP
        RAISE invalid_parameter_value USING
            MESSAGE = format('%s cannot be %s', delay.argument, delay.value),
            HINT = 'It is from 10 milliseconds to one day.';
    END LOOP;
    IF its.retry_multiplier NOT BETWEEN 1 AND 100 THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('retry_multiplier cannot be %s', its.retry_multiplier),
            HINT = 'It is from 1 to 100.';
    END IF;
    IF its.retry_max_attempts < 0 THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('retry_max_attempts cannot be %s', its.retry_max_attempts),
            HINT = 'Write 0 to have messages tried again and again.';
    END IF;
    IF its.handler_timeout IS NULL OR its.handler_timeout NOT BETWEEN '0' AND '1 day'
       OR its.handler_timeout > '0' AND its.handler_timeout < '1 ms' THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('handler_timeout cannot be %s', COALESCE(its.handler_timeout::text, 'null')),
            HINT = 'It is from 1 millisecond to one day, or 0 for as long as it takes.';
    END IF;
    its.id_header := NULLIF(its.id_header, '');
    IF octet_length(its.id_header) > 1000 THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'id_header is longer than 1000 bytes';
    END IF;
    IF its.on_gap IS NULL OR its.on_gap NOT IN ('wait', 'skip') THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('on_gap cannot be "%s"', COALESCE(its.on_gap, 'null')),
            HINT = 'It is wait, until outbox.seek() says where to go on, or skip, to go on behind the gap.';
    END IF;
    its.dead_letter_topic := NULLIF(its.dead_letter_topic, '');
    IF its.dead_letter_topic !~ '^[a-zA-Z0-9._-]{1,249}$' OR its.dead_letter_topic IN ('.', '..') THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('dead_letter_topic: "%s" cannot be the name of a topic', its.dead_letter_topic),
            HINT = 'Kafka allows 249 letters and digits of ASCII, ".", "_" and "-".';
    END IF;
    its.group_id := COALESCE(NULLIF(its.group_id, ''), format('outbox-%s-%s', current_database(), its.name));
    IF octet_length(its.group_id) > 249 THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'group_id is longer than 249 bytes';
    END IF;
    IF its.batch_size IS NULL OR its.batch_size NOT BETWEEN 1 AND 10000 THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('batch_size cannot be %s', COALESCE(its.batch_size::text, 'null')),
            HINT = 'It is from 1 to 10000 messages in a transaction.';
    END IF;
    RETURN its;
END
$$;
REVOKE ALL ON FUNCTION outbox.check_subscription(outbox.subscription) FROM PUBLIC;
COMMENT ON FUNCTION outbox.check_subscription(outbox.subscription) IS
    'Internal: raises an error unless a subscription can be like that';

CREATE OR REPLACE FUNCTION outbox.subscribe(
        name text, topics text[], handler regprocedure, start text DEFAULT 'latest',
        workers integer DEFAULT 1, role regrole DEFAULT NULL, on_failure text DEFAULT 'block_key',
        retry_base_delay interval DEFAULT NULL, retry_multiplier double precision DEFAULT NULL,
        retry_max_delay interval DEFAULT NULL, retry_max_attempts integer DEFAULT NULL,
        handler_timeout interval DEFAULT '30 s', id_header text DEFAULT NULL, on_gap text DEFAULT 'wait',
        dead_letter_topic text DEFAULT NULL, cluster text DEFAULT 'default', group_id text DEFAULT NULL,
        batch_size integer DEFAULT 500, caller regrole DEFAULT outbox.note_caller())
    RETURNS void
    LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    its outbox.subscription;
BEGIN
    caller := outbox.noted_caller();
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE feature_not_supported USING
            MESSAGE = 'outbox.subscribe() has to see what others have just committed',
            HINT = 'Call it in a transaction that is READ COMMITTED.';
    END IF;
    -- one at a time; the subscribers do not mind
    LOCK TABLE outbox.subscription IN SHARE UPDATE EXCLUSIVE MODE;
    IF name IS NULL OR name !~ '^[a-z0-9_][a-z0-9_-]{0,62}$' THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('"%s" cannot be the name of a subscription', COALESCE(name, 'null')),
            HINT = 'Use up to 63 lower-case letters, digits, "_" and "-", but no "-" in front: it is part of the name of a file.';
    END IF;
    IF EXISTS (SELECT FROM outbox.subscription s WHERE s.name = name) THEN
        RAISE unique_violation USING
            MESSAGE = format('subscription "%s" exists already', name),
            HINT = 'Use outbox.alter_subscription() to change it.';
    END IF;
    SELECT min(n) INTO its.number
        FROM generate_series(0, 31) AS n WHERE n NOT IN (SELECT s.number FROM outbox.subscription s);
    IF its.number IS NULL THEN
        RAISE program_limit_exceeded USING
            MESSAGE = 'there are too many subscriptions in this database',
            DETAIL = 'There can be 32 of them.',
            HINT = 'Drop one with outbox.unsubscribe(); a subscription can have many topics.';
    END IF;
    its.name := name;
    its.topics := topics;
    its.role := COALESCE(role, caller);
    its.handler := outbox.check_handler(handler, its.role, caller);
    its.cluster := cluster;
    its.start := start;
    its.workers := workers;
    its.on_failure := on_failure;
    its.retry_base_delay := retry_base_delay;
    its.retry_multiplier := retry_multiplier;
    its.retry_max_delay := retry_max_delay;
    its.retry_max_attempts := retry_max_attempts;
    its.handler_timeout := handler_timeout;
    its.id_header := id_header;
    its.on_gap := on_gap;
    its.dead_letter_topic := dead_letter_topic;
    its.group_id := group_id;
    its.batch_size := batch_size;
    -- not before now(), though the clock be set back: such a row is from a dump
    its.created_at := GREATEST(clock_timestamp(), now());
    its := outbox.check_subscription(its);
    -- what a dump has left of one whose role it has not found
    DELETE FROM outbox.subscription_offset o WHERE o.subscription = name;
    DELETE FROM outbox.inbox_parked p WHERE p.subscription = name;
    DELETE FROM outbox.inbox_dead d WHERE d.subscription = name;
    INSERT INTO outbox.subscription SELECT its.*;
    PERFORM outbox.subscriptions_changed();
    PERFORM outbox.write_audit('subscribe', jsonb_build_object(
        'name', name, 'topics', topics, 'handler', handler, 'start', start, 'workers', workers, 'role', role,
        'on_failure', on_failure, 'retry_base_delay', retry_base_delay, 'retry_multiplier', retry_multiplier,
        'retry_max_delay', retry_max_delay, 'retry_max_attempts', retry_max_attempts,
        'handler_timeout', handler_timeout, 'id_header', id_header, 'on_gap', on_gap,
        'dead_letter_topic', dead_letter_topic, 'cluster', cluster, 'group_id', group_id,
        'batch_size', batch_size, 'caller', caller), 1);
END
$$;
REVOKE ALL ON FUNCTION outbox.subscribe(text, text[], regprocedure, text, integer, regrole, text, interval, double precision, interval, integer, interval, text, text, text, text, text, integer, regrole) FROM PUBLIC;
COMMENT ON FUNCTION outbox.subscribe(text, text[], regprocedure, text, integer, regrole, text, interval, double precision, interval, integer, interval, text, text, text, text, text, integer, regrole) IS
    'calls a function for each message of these topics: from now on, from the earliest that is kept, or from a time on; its effects and how far it is are one transaction; it runs as role, or as who subscribes; caller is to be left out';

-- Without a transaction that a subscriber has not finished: it moves its
-- offset first, and a message that is tried again it deletes first.
CREATE OR REPLACE FUNCTION outbox.unsubscribe(name text, discard boolean DEFAULT false) RETURNS void
    LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    parked bigint;
    dead bigint;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE feature_not_supported USING
            MESSAGE = 'outbox.unsubscribe() has to see what others have just committed',
            HINT = 'Call it in a transaction that is READ COMMITTED.';
    END IF;
    PERFORM FROM outbox.subscription s WHERE s.name = name FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM outbox.report_no_subscription(name);
    END IF;
    DELETE FROM outbox.subscription_offset o WHERE o.subscription = name;
    DELETE FROM outbox.inbox_parked p WHERE p.subscription = name;
    GET DIAGNOSTICS parked = ROW_COUNT;
    DELETE FROM outbox.inbox_dead d WHERE d.subscription = name;
    GET DIAGNOSTICS dead = ROW_COUNT;
    IF discard IS NOT TRUE AND parked + dead > 0 THEN
        RAISE object_not_in_prerequisite_state USING
            MESSAGE = format('subscription "%s" has messages that it has not handled', name),
            DETAIL = format('%s that are tried again or wait, %s dead letters.', parked, dead),
            HINT = format('To have them never handled, call outbox.unsubscribe(%L, discard => true).', name);
    END IF;
    -- one of the same name that comes later knows nothing of them
    DELETE FROM outbox.inbox_0 i WHERE i.consumer = name;
    DELETE FROM outbox.inbox_1 i WHERE i.consumer = name;
    DELETE FROM outbox.subscription s WHERE s.name = name;
    PERFORM outbox.subscriptions_changed();
    PERFORM outbox.write_audit('unsubscribe', jsonb_build_object('name', name, 'discard', discard), parked + dead);
END
$$;
REVOKE ALL ON FUNCTION outbox.unsubscribe(text, boolean) FROM PUBLIC;
COMMENT ON FUNCTION outbox.unsubscribe(text, boolean) IS
    'ends a subscription for good, with its offsets and what it knows of messages; those that have failed it has to be told to discard';

CREATE OR REPLACE FUNCTION outbox.pause_subscription(name text DEFAULT NULL, reason text DEFAULT NULL)
    RETURNS void
    LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    its outbox.subscription;
    affected bigint := 0;
BEGIN
    FOR its IN SELECT s.* FROM outbox.subscription s WHERE name IS NULL OR s.name = name
               ORDER BY s.number FOR NO KEY UPDATE LOOP
        IF its.paused_at IS NOT NULL THEN
            RAISE NOTICE 'subscription "%" is paused already', its.name USING
                DETAIL = format('%s has paused it, at %s%s.', its.paused_by, its.paused_at,
                                COALESCE(': ' || its.pause_reason, ''));
            CONTINUE;
        END IF;
        UPDATE outbox.subscription s SET paused_at = now(), paused_by = session_user, pause_reason = reason
            WHERE s.name = its.name;
        affected := affected + 1;
        PERFORM outbox.subscriptions_changed();
    END LOOP;
    IF NOT FOUND AND name IS NOT NULL THEN
        PERFORM outbox.report_no_subscription(name);
    END IF;
    PERFORM outbox.write_audit('pause_subscription', jsonb_build_object('name', name, 'reason', reason), affected);
END
$$;
REVOKE ALL ON FUNCTION outbox.pause_subscription(text, text) FROM PUBLIC;
COMMENT ON FUNCTION outbox.pause_subscription(text, text) IS
    'keeps a subscription, or all that there are, from handling messages until it is resumed; they wait in Kafka';

CREATE OR REPLACE FUNCTION outbox.resume_subscription(name text DEFAULT NULL)
    RETURNS void
    LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    affected bigint;
BEGIN
    IF name IS NOT NULL AND NOT EXISTS (SELECT FROM outbox.subscription s WHERE s.name = name) THEN
        PERFORM outbox.report_no_subscription(name);
    END IF;
    UPDATE outbox.subscription s SET paused_at = NULL, paused_by = NULL, pause_reason = NULL
        WHERE (name IS NULL OR s.name = name) AND s.paused_at IS NOT NULL;
    GET DIAGNOSTICS affected = ROW_COUNT;
    IF affected > 0 THEN
        PERFORM outbox.subscriptions_changed();
    ELSIF name IS NOT NULL THEN
        RAISE NOTICE 'subscription "%" is not paused', name;
    END IF;
    PERFORM outbox.write_audit('resume_subscription', jsonb_build_object('name', name), affected);
END
$$;
REVOKE ALL ON FUNCTION outbox.resume_subscription(text) FROM PUBLIC;
COMMENT ON FUNCTION outbox.resume_subscription(text) IS 'lets a paused subscription go on, or all that are';
