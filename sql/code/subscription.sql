-- Subscriptions are made, changed and dropped here. What they do is done by
-- subscribers, processes that look at outbox.subscription again when they are
-- told; how far they are is in outbox.subscription_offset.

CREATE OR REPLACE FUNCTION outbox.subscriptions_changed() RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'outbox_subscriptions_changed';
REVOKE ALL ON FUNCTION outbox.subscriptions_changed() FROM PUBLIC;
COMMENT ON FUNCTION outbox.subscriptions_changed() IS
    'Internal: lets the subscribers look at their tables again once the transaction has committed';

-- Whose rights count is who calls outbox.subscribe(), which need not be the
-- user of the session: a superuser may have called a function of somebody
-- else's. What runs as its owner cannot know who has called it; but its
-- arguments are evaluated before, the last one last.
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
    others bigint;
    present integer;
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
    SELECT COALESCE(sum(s.workers) FILTER (WHERE s.name <> its.name), 0),
           COALESCE(max(s.workers) FILTER (WHERE s.name = its.name), 0)
        INTO others, present FROM outbox.subscription s;
    IF its.workers > present AND others + its.workers > 32 THEN
        RAISE program_limit_exceeded USING
            MESSAGE = format('there would be %s workers of subscriptions in this database', others + its.workers),
            DETAIL = format('There can be 32 of them; those of other subscriptions are %s.', others),
            HINT = 'Give fewer workers to this one, or, with outbox.alter_subscription(), to others.';
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

CREATE OR REPLACE FUNCTION outbox.alter_subscription(
        name text, topics text[] DEFAULT NULL, handler regprocedure DEFAULT NULL, start text DEFAULT NULL,
        workers integer DEFAULT NULL, role regrole DEFAULT NULL, on_failure text DEFAULT NULL,
        retry_base_delay interval DEFAULT NULL, retry_multiplier double precision DEFAULT NULL,
        retry_max_delay interval DEFAULT NULL, retry_max_attempts integer DEFAULT NULL,
        handler_timeout interval DEFAULT NULL, id_header text DEFAULT NULL, on_gap text DEFAULT NULL,
        dead_letter_topic text DEFAULT NULL, group_id text DEFAULT NULL, batch_size integer DEFAULT NULL,
        reset text[] DEFAULT NULL, caller regrole DEFAULT outbox.note_caller())
    RETURNS void
    LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    its outbox.subscription;
    argument text;
BEGIN
    caller := outbox.noted_caller();
    -- all workers are counted: one at a time
    IF workers IS NOT NULL THEN
        IF current_setting('transaction_isolation') <> 'read committed' THEN
            RAISE feature_not_supported USING
                MESSAGE = 'outbox.alter_subscription() has to see what others have just committed, to change workers',
                HINT = 'Call it in a transaction that is READ COMMITTED.';
        END IF;
        LOCK TABLE outbox.subscription IN SHARE UPDATE EXCLUSIVE MODE;
    END IF;
    SELECT s.* INTO its FROM outbox.subscription s WHERE s.name = name FOR UPDATE;
    IF NOT FOUND THEN
        PERFORM outbox.report_no_subscription(name);
    END IF;
    FOREACH argument IN ARRAY COALESCE(reset, '{}') LOOP
        CASE argument
            WHEN 'retry_base_delay' THEN its.retry_base_delay := NULL;
            WHEN 'retry_multiplier' THEN its.retry_multiplier := NULL;
            WHEN 'retry_max_delay' THEN its.retry_max_delay := NULL;
            WHEN 'retry_max_attempts' THEN its.retry_max_attempts := NULL;
            WHEN 'id_header' THEN its.id_header := NULL;
            WHEN 'dead_letter_topic' THEN its.dead_letter_topic := NULL;
            WHEN 'group_id' THEN its.group_id := NULL;
            ELSE
                RAISE invalid_parameter_value USING
                    MESSAGE = format('"%s" cannot be reset', COALESCE(argument, 'null')),
                    HINT = 'In reset are names of other arguments of outbox.alter_subscription() for which outbox.subscribe() takes null.';
        END CASE;
    END LOOP;
    -- a function that there is no more may be replaced, and need not be
    IF handler IS NOT NULL OR role IS NOT NULL THEN
        its.role := COALESCE(role, its.role);
        its.handler := outbox.check_handler(COALESCE(handler, its.handler::regprocedure), its.role, caller);
    END IF;
    its.topics := COALESCE(topics, its.topics);
    its.start := COALESCE(start, its.start);
    its.workers := COALESCE(workers, its.workers);
    its.on_failure := COALESCE(on_failure, its.on_failure);
    its.retry_base_delay := COALESCE(retry_base_delay, its.retry_base_delay);
    its.retry_multiplier := COALESCE(retry_multiplier, its.retry_multiplier);
    its.retry_max_delay := COALESCE(retry_max_delay, its.retry_max_delay);
    its.retry_max_attempts := COALESCE(retry_max_attempts, its.retry_max_attempts);
    its.handler_timeout := COALESCE(handler_timeout, its.handler_timeout);
    its.id_header := COALESCE(id_header, its.id_header);
    its.on_gap := COALESCE(on_gap, its.on_gap);
    its.dead_letter_topic := COALESCE(dead_letter_topic, its.dead_letter_topic);
    its.group_id := COALESCE(group_id, its.group_id);
    its.batch_size := COALESCE(batch_size, its.batch_size);
    its := outbox.check_subscription(its);
    UPDATE outbox.subscription s SET
        topics = its.topics, handler = its.handler, role = its.role, start = its.start, workers = its.workers,
        on_failure = its.on_failure, retry_base_delay = its.retry_base_delay,
        retry_multiplier = its.retry_multiplier, retry_max_delay = its.retry_max_delay,
        retry_max_attempts = its.retry_max_attempts, handler_timeout = its.handler_timeout,
        id_header = its.id_header, on_gap = its.on_gap, dead_letter_topic = its.dead_letter_topic,
        group_id = its.group_id, batch_size = its.batch_size
        WHERE s.name = name;
    -- one that comes back is begun as any other
    DELETE FROM outbox.subscription_offset o WHERE o.subscription = name AND o.topic <> ALL (its.topics);
    PERFORM outbox.subscriptions_changed();
    PERFORM outbox.write_audit('alter_subscription', jsonb_build_object(
        'name', name, 'topics', topics, 'handler', handler, 'start', start, 'workers', workers, 'role', role,
        'on_failure', on_failure, 'retry_base_delay', retry_base_delay, 'retry_multiplier', retry_multiplier,
        'retry_max_delay', retry_max_delay, 'retry_max_attempts', retry_max_attempts,
        'handler_timeout', handler_timeout, 'id_header', id_header, 'on_gap', on_gap,
        'dead_letter_topic', dead_letter_topic, 'group_id', group_id, 'batch_size', batch_size,
        'reset', reset, 'caller', caller), 1);
END
$$;
REVOKE ALL ON FUNCTION outbox.alter_subscription(text, text[], regprocedure, text, integer, regrole, text, interval, double precision, interval, integer, interval, text, text, text, text, integer, text[], regrole) FROM PUBLIC;
COMMENT ON FUNCTION outbox.alter_subscription(text, text[], regprocedure, text, integer, regrole, text, interval, double precision, interval, integer, interval, text, text, text, text, integer, text[], regrole) IS
    'changes a subscription: what is null stays as it is; what is named in reset becomes as if outbox.subscribe() had been called without it; a topic that is new begins at start; caller is to be left out';

-- By offset at once. What else is asked for, brokers have to tell where it is:
-- nothing is handled until then, which is why subscribers move only a row
-- without seek.
CREATE OR REPLACE FUNCTION outbox.seek(
        subscription text, to_offset bigint DEFAULT NULL, to_time timestamptz DEFAULT NULL,
        place text DEFAULT NULL, topic text DEFAULT NULL, partition integer DEFAULT NULL,
        repeat boolean DEFAULT true)
    RETURNS bigint
    LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    known text[];
    target text;
    affected bigint;
BEGIN
    SELECT s.topics INTO known FROM outbox.subscription s WHERE s.name = subscription FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        PERFORM outbox.report_no_subscription(subscription);
    END IF;
    IF num_nonnulls(to_offset, to_time, place) <> 1 THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'outbox.seek() needs one of to_offset, to_time and place';
    END IF;
    IF topic <> ALL (known) THEN
        RAISE undefined_object USING
            MESSAGE = format('subscription "%s" does not read topic "%s"', subscription, topic);
    END IF;
    IF to_offset IS NOT NULL THEN
        IF topic IS NULL OR partition IS NULL THEN
            RAISE invalid_parameter_value USING
                MESSAGE = 'an offset is one of a partition',
                HINT = 'Give topic and partition, too.';
        END IF;
        IF to_offset < 0 THEN
            RAISE invalid_parameter_value USING
                MESSAGE = format('to_offset cannot be %s', to_offset);
        END IF;
    ELSIF place NOT IN ('earliest', 'latest') THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('place cannot be "%s"', place),
            HINT = 'It is earliest or latest; give a time as to_time.';
    ELSE
        target := COALESCE(place, outbox.check_place('to_time', to_jsonb(to_time) #>> '{}'));
    END IF;
    UPDATE outbox.subscription_offset o SET
        next_offset = COALESCE(to_offset, o.next_offset),
        seek = target,
        repeat_upto = CASE WHEN repeat IS NOT FALSE THEN GREATEST(o.repeat_upto, o.next_offset) ELSE 0 END,
        gap = NULL, gap_since = NULL, updated_at = clock_timestamp()
        WHERE o.subscription = subscription AND o.topic = ANY (known)
          AND (topic IS NULL OR o.topic = topic) AND (partition IS NULL OR o.partition = partition);
    GET DIAGNOSTICS affected = ROW_COUNT;
    IF affected = 0 THEN
        RAISE undefined_object USING
            MESSAGE = format('subscription "%s" knows no such partition', subscription),
            DETAIL = format('Topic: %s; partition: %s.', COALESCE(topic, 'any'), COALESCE(partition::text, 'any')),
            HINT = 'Those that it has found are in outbox.subscription_partition.';
    END IF;
    PERFORM outbox.subscriptions_changed();
    PERFORM outbox.write_audit('seek', jsonb_build_object(
        'subscription', subscription, 'to_offset', to_offset, 'to_time', to_time, 'place', place,
        'topic', topic, 'partition', partition, 'repeat', repeat), affected);
    RETURN affected;
END
$$;
REVOKE ALL ON FUNCTION outbox.seek(text, bigint, timestamptz, text, text, integer, boolean) FROM PUBLIC;
COMMENT ON FUNCTION outbox.seek(text, bigint, timestamptz, text, text, integer, boolean) IS
    'lets a subscription go on at another place: an offset of a partition, a time, or earliest or latest, of all partitions or of some; messages before the place where it was take effect again, unless repeat is false; returns how many partitions';

-- The bytes of a key as outbox.message has them
CREATE OR REPLACE FUNCTION outbox.key_text(key bytea) RETURNS text
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
    RETURN convert_from(key, 'UTF8');
EXCEPTION WHEN character_not_in_repertoire OR untranslatable_character THEN
    RETURN E'\\x' || encode(key, 'hex');
END
$$;
REVOKE ALL ON FUNCTION outbox.key_text(bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION outbox.key_text(bytea) TO pg_monitor;
COMMENT ON FUNCTION outbox.key_text(bytea) IS
    'Internal: a key as text; where it is none, its bytes as \x and hexadecimal digits';

CREATE OR REPLACE VIEW outbox.inbox_dead_letter AS
    SELECT id, subscription, topic, partition, "offset", outbox.key_text(key) AS key, payload, headers,
           published_at, COALESCE(message_id, format('%s/%s/%s', topic, partition, "offset")) AS message_id,
           attempts, first_failed_at, last_failed_at, sqlstate, error, whole
    FROM outbox.inbox_dead;
REVOKE ALL ON outbox.inbox_dead_letter FROM PUBLIC;
COMMENT ON VIEW outbox.inbox_dead_letter IS
    'messages that have failed and are not tried again; see outbox.inbox_requeue() and outbox.inbox_discard()';
COMMENT ON COLUMN outbox.inbox_dead_letter.whole IS
    'false if the message was too large to be kept here: it is in its topic only';

CREATE OR REPLACE VIEW outbox.inbox_retry AS
    SELECT p.subscription, p.topic, p.partition, p."offset", outbox.key_text(p.key) AS key, p.published_at,
           COALESCE(p.message_id, format('%s/%s/%s', p.topic, p.partition, p."offset")) AS message_id,
           p.attempts, p.first_failed_at, p.last_failed_at,
           CASE WHEN p."offset" = p.first THEN COALESCE(p.next_attempt_at, now()) END AS next_attempt_at,
           NULLIF(p.first, p."offset") AS waits_for, p.sqlstate, p.error
    FROM (SELECT i.*,
                 first_value(i."offset") OVER (
                     PARTITION BY i.subscription, i.topic, i.partition,
                                  CASE s.on_failure WHEN 'block_key' THEN i.key END,
                                  CASE WHEN s.on_failure = 'skip' OR s.on_failure = 'block_key' AND i.key IS NULL
                                       THEN i."offset" END
                     ORDER BY i."offset") AS first
          FROM outbox.inbox_parked i LEFT JOIN outbox.subscription s ON s.name = i.subscription) p;
REVOKE ALL ON outbox.inbox_retry FROM PUBLIC;
GRANT SELECT ON outbox.inbox_retry TO pg_monitor;
COMMENT ON VIEW outbox.inbox_retry IS
    'messages that have failed and are tried again, and those that wait behind them';
COMMENT ON COLUMN outbox.inbox_retry.next_attempt_at IS 'null: it waits for another one';
COMMENT ON COLUMN outbox.inbox_retry.waits_for IS 'the offset of that one';

CREATE OR REPLACE VIEW outbox.subscription_partition AS
    SELECT subscription, topic, partition, next_offset, end_offset,
           CASE WHEN end_offset IS NOT NULL THEN GREATEST(end_offset - next_offset, 0) END AS lag, published_at, gap, gap_since, seek,
           NULLIF(GREATEST(repeat_upto, next_offset), next_offset) AS repeats_upto, updated_at
    FROM outbox.subscription_offset;
REVOKE ALL ON outbox.subscription_partition FROM PUBLIC;
GRANT SELECT ON outbox.subscription_partition TO pg_monitor;
COMMENT ON VIEW outbox.subscription_partition IS 'how far each subscription is in each partition';
COMMENT ON COLUMN outbox.subscription_partition.next_offset IS 'of the next message: all before it have taken effect, are parked, or are dead letters';
COMMENT ON COLUMN outbox.subscription_partition.end_offset IS 'behind the last message that the brokers had at updated_at';
COMMENT ON COLUMN outbox.subscription_partition.published_at IS 'when the last message that is done was published';
COMMENT ON COLUMN outbox.subscription_partition.gap IS 'why messages are missing at next_offset; nothing is read until outbox.seek()';
COMMENT ON COLUMN outbox.subscription_partition.seek IS 'where it is to go on, until the brokers have told its offset';
COMMENT ON COLUMN outbox.subscription_partition.repeats_upto IS
    'messages before that take effect although they are known; null if there are none to come';

CREATE OR REPLACE FUNCTION outbox.inbox_requeue(
        ids bigint[] DEFAULT NULL, subscription text DEFAULT NULL, topic text DEFAULT NULL,
        sqlstate text DEFAULT NULL, since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL)
    RETURNS bigint
    LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    torn outbox.inbox_dead;
    affected bigint;
BEGIN
    -- nobody drops it meanwhile
    PERFORM FROM outbox.subscription s WHERE subscription IS NULL OR s.name = subscription ORDER BY s.number FOR KEY SHARE;
    IF NOT FOUND AND subscription IS NOT NULL THEN
        PERFORM outbox.report_no_subscription(subscription);
    END IF;
    SELECT d.* INTO torn FROM outbox.inbox_dead d
        WHERE NOT d.whole
          AND (ids IS NULL OR d.id = ANY (ids))
          AND (subscription IS NULL OR d.subscription = subscription)
          AND (topic IS NULL OR d.topic = topic)
          AND (sqlstate IS NULL OR d.sqlstate = sqlstate)
          AND (since IS NULL OR d.last_failed_at >= since)
          AND (until IS NULL OR d.last_failed_at < until)
        ORDER BY d.id LIMIT 1;
    IF FOUND THEN
        IF ids IS NOT NULL THEN
            RAISE object_not_in_prerequisite_state USING
                MESSAGE = format('dead letter %s cannot be requeued', torn.id),
                DETAIL = format('It was too large to be kept. It is in topic "%s", partition %s, at offset %s.',
                                torn.topic, torn.partition, torn."offset"),
                HINT = 'Read it there, and remove it here with outbox.inbox_discard().';
        END IF;
        RAISE NOTICE 'dead letters that were too large to be kept stay: % and maybe others', torn.id USING
            DETAIL = format('It is in topic "%s", partition %s, at offset %s.', torn.topic, torn.partition, torn."offset");
    END IF;
    WITH requeued AS (
        DELETE FROM outbox.inbox_dead d
        WHERE d.whole
          AND (ids IS NULL OR d.id = ANY (ids))
          AND (subscription IS NULL OR d.subscription = subscription)
          AND (topic IS NULL OR d.topic = topic)
          AND (sqlstate IS NULL OR d.sqlstate = sqlstate)
          AND (since IS NULL OR d.last_failed_at >= since)
          AND (until IS NULL OR d.last_failed_at < until)
          -- its place is taken by another one, of a topic of that name that has been made anew
          AND NOT EXISTS (SELECT FROM outbox.inbox_parked p
                          WHERE p.subscription = d.subscription AND p.topic = d.topic
                            AND p.partition = d.partition AND p."offset" = d."offset"
                            AND (p.key, p.payload, p.published_at) IS DISTINCT FROM (d.key, d.payload, d.published_at))
          AND NOT EXISTS (SELECT FROM outbox.inbox_dead o
                          WHERE o.subscription = d.subscription AND o.topic = d.topic
                            AND o.partition = d.partition AND o."offset" = d."offset" AND o.id > d.id AND o.whole
                            AND (o.key, o.payload, o.published_at) IS DISTINCT FROM (d.key, d.payload, d.published_at))
        RETURNING d.*),
    parked AS (
        -- it may have failed again, where a subscription has gone back
        INSERT INTO outbox.inbox_parked (
                subscription, topic, partition, "offset", key, payload, headers, published_at, message_id,
                attempts, first_failed_at, last_failed_at, next_attempt_at, sqlstate, error)
            SELECT DISTINCT ON (r.subscription, r.topic, r.partition, r."offset")
                   r.subscription, r.topic, r.partition, r."offset", r.key, r.payload, r.headers, r.published_at,
                   r.message_id, 0, r.first_failed_at, r.last_failed_at, clock_timestamp(), r.sqlstate, r.error
            FROM requeued r ORDER BY r.subscription, r.topic, r.partition, r."offset", r.id DESC
            ON CONFLICT DO NOTHING)
    SELECT count(*) INTO affected FROM requeued;
    PERFORM outbox.subscriptions_changed();
    PERFORM outbox.write_audit('inbox_requeue', jsonb_build_object(
        'ids', ids, 'subscription', subscription, 'topic', topic, 'sqlstate', sqlstate,
        'since', since, 'until', until), affected);
    RETURN affected;
END
$$;
REVOKE ALL ON FUNCTION outbox.inbox_requeue(bigint[], text, text, text, timestamptz, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION outbox.inbox_requeue(bigint[], text, text, text, timestamptz, timestamptz) IS
    'tries dead letters of subscriptions again, in order and as if they had not failed yet; without an argument, all of them; returns how many';

CREATE OR REPLACE FUNCTION outbox.inbox_discard(
        ids bigint[] DEFAULT NULL, subscription text DEFAULT NULL, topic text DEFAULT NULL,
        sqlstate text DEFAULT NULL, since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL,
        partition integer DEFAULT NULL, at_offset bigint DEFAULT NULL,
        retrying boolean DEFAULT false, waiting boolean DEFAULT false)
    RETURNS bigint
    LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    parked bigint;
    affected bigint;
BEGIN
    IF num_nonnulls(ids, subscription, topic, sqlstate, since, until, partition, at_offset) = 0 THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'outbox.inbox_discard() needs at least one condition',
            HINT = 'To discard all dead letters, write until => now().';
    END IF;
    IF subscription IS NOT NULL AND NOT EXISTS (SELECT FROM outbox.subscription s WHERE s.name = subscription) THEN
        PERFORM outbox.report_no_subscription(subscription);
    END IF;
    IF ids IS NOT NULL AND (retrying OR waiting) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'only dead letters have an id',
            HINT = 'Give subscription, topic, partition and at_offset of a message that is tried again.';
    END IF;
    DELETE FROM outbox.inbox_dead d
        WHERE (ids IS NULL OR d.id = ANY (ids))
          AND (subscription IS NULL OR d.subscription = subscription)
          AND (topic IS NULL OR d.topic = topic)
          AND (sqlstate IS NULL OR d.sqlstate = sqlstate)
          AND (since IS NULL OR d.last_failed_at >= since)
          AND (until IS NULL OR d.last_failed_at < until)
          AND (partition IS NULL OR d.partition = partition)
          AND (at_offset IS NULL OR d."offset" = at_offset);
    GET DIAGNOSTICS affected = ROW_COUNT;
    IF retrying OR waiting THEN
        DELETE FROM outbox.inbox_parked p USING outbox.inbox_retry r
            WHERE (subscription IS NULL OR p.subscription = subscription)
              AND (topic IS NULL OR p.topic = topic)
              AND (sqlstate IS NULL OR p.sqlstate = sqlstate)
              AND (since IS NULL OR p.last_failed_at >= since)
              AND (until IS NULL OR p.last_failed_at < until)
              AND (partition IS NULL OR p.partition = partition)
              AND (at_offset IS NULL OR p."offset" = at_offset)
              AND r.subscription = p.subscription AND r.topic = p.topic
              AND r.partition = p.partition AND r."offset" = p."offset"
              AND CASE WHEN r.waits_for IS NULL THEN retrying ELSE waiting END;
        GET DIAGNOSTICS parked = ROW_COUNT;
        affected := affected + parked;
    END IF;
    PERFORM outbox.subscriptions_changed();
    PERFORM outbox.write_audit('inbox_discard', jsonb_build_object(
        'ids', ids, 'subscription', subscription, 'topic', topic, 'sqlstate', sqlstate,
        'since', since, 'until', until, 'partition', partition, 'at_offset', at_offset,
        'retrying', retrying, 'waiting', waiting), affected);
    RETURN affected;
END
$$;
REVOKE ALL ON FUNCTION outbox.inbox_discard(bigint[], text, text, text, timestamptz, timestamptz, integer, bigint, boolean, boolean) FROM PUBLIC;
COMMENT ON FUNCTION outbox.inbox_discard(bigint[], text, text, text, timestamptz, timestamptz, integer, bigint, boolean, boolean) IS
    'removes dead letters of subscriptions for good; with retrying, also messages that are tried again, so that the next of their key have their turn; with waiting, also those that wait behind one; returns how many';

CREATE OR REPLACE FUNCTION outbox.subscriber_status(
        IN subscription text, IN worker integer,
        OUT state text, OUT state_since timestamptz, OUT pid integer,
        OUT last_error text, OUT last_error_at timestamptz, OUT partitions integer,
        OUT lag_messages bigint, OUT lag_seconds double precision,
        OUT handled bigint, OUT repeated bigint, OUT failed bigint,
        OUT rate double precision, OUT stats_reset timestamptz)
    RETURNS record
    LANGUAGE c VOLATILE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'outbox_subscriber_status';
REVOKE ALL ON FUNCTION outbox.subscriber_status(text, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION outbox.subscriber_status(text, integer) TO pg_monitor;
COMMENT ON FUNCTION outbox.subscriber_status(text, integer) IS
    'Internal: a worker of a subscription as it is now; see outbox.stat_subscription';

-- Of one that does not run, the table tells how far it was.
CREATE OR REPLACE VIEW outbox.stat_subscription AS
    SELECT s.name AS subscription, w.worker,
           CASE WHEN f.state = 'stopped' AND s.paused_at IS NOT NULL THEN 'paused' ELSE f.state END AS state,
           f.state_since, f.pid, s.topics, s.handler, s.role,
           COALESCE(f.partitions, o.partitions)::integer AS partitions,
           CASE WHEN f.pid IS NULL THEN o.lag ELSE f.lag_messages END AS lag_messages,
           CASE WHEN f.pid IS NOT NULL THEN f.lag_seconds
                WHEN o.lag = 0 THEN 0
                WHEN o.published_at IS NOT NULL
                THEN GREATEST(extract(epoch FROM statement_timestamp() - o.published_at), 0)::double precision
           END AS lag_seconds,
           f.rate, f.handled, f.repeated, f.failed,
           p.retrying, p.waiting,
           (SELECT count(*) FROM outbox.inbox_dead d
            WHERE d.subscription = s.name AND mod(d.partition, s.workers) = w.worker) AS dead_letters,
           o.gaps, f.stats_reset, f.last_error, f.last_error_at,
           s.paused_at, s.paused_by, s.pause_reason, s.created_at
    FROM outbox.subscription s
         -- so many at most, as the planner is to know
         JOIN generate_series(0, 31) AS w (worker) ON w.worker < s.workers
         CROSS JOIN LATERAL outbox.subscriber_status(s.name, w.worker) f
         CROSS JOIN LATERAL (
             SELECT count(*) AS partitions, count(i.gap) AS gaps,
                    CASE WHEN count(i.end_offset) = count(*)
                         THEN sum(GREATEST(i.end_offset - i.next_offset, 0))::bigint END AS lag,
                    min(i.published_at) FILTER (WHERE i.end_offset > i.next_offset) AS published_at
             FROM outbox.subscription_offset i
             WHERE i.subscription = s.name AND mod(i.partition, s.workers) = w.worker) o
         CROSS JOIN LATERAL (
             SELECT count(*) FILTER (WHERE i.attempts > 0) AS retrying,
                    count(*) FILTER (WHERE i.attempts = 0) AS waiting
             FROM outbox.inbox_parked i
             WHERE i.subscription = s.name AND mod(i.partition, s.workers) = w.worker) p;
REVOKE ALL ON outbox.stat_subscription FROM PUBLIC;
GRANT SELECT ON outbox.stat_subscription TO pg_monitor;
COMMENT ON VIEW outbox.stat_subscription IS 'each worker of each subscription: what it is doing and how far it is';
COMMENT ON COLUMN outbox.stat_subscription.worker IS 'from 0 on; the number of a partition, divided by how many workers there are, leaves this';
COMMENT ON COLUMN outbox.stat_subscription.state IS
    'consuming, gap (messages are missing where a partition is to go on), or as in outbox.stat_relay';
COMMENT ON COLUMN outbox.stat_subscription.lag_messages IS 'messages that the brokers have and that are not done; null if that is not known';
COMMENT ON COLUMN outbox.stat_subscription.lag_seconds IS
    'age of the oldest of them; of a worker that does not run, at most';
COMMENT ON COLUMN outbox.stat_subscription.rate IS 'messages handled a second, over the last ten';
COMMENT ON COLUMN outbox.stat_subscription.handled IS 'messages that have taken effect since stats_reset, or were discarded by the function';
COMMENT ON COLUMN outbox.stat_subscription.repeated IS 'messages that were known, and have been passed over';
COMMENT ON COLUMN outbox.stat_subscription.failed IS 'attempts that have failed';
COMMENT ON COLUMN outbox.stat_subscription.retrying IS 'messages that have failed, and are tried again';
COMMENT ON COLUMN outbox.stat_subscription.waiting IS 'messages that wait behind one that is retrying, or have been requeued';
COMMENT ON COLUMN outbox.stat_subscription.dead_letters IS 'messages that are not tried again; see outbox.inbox_dead_letter';
COMMENT ON COLUMN outbox.stat_subscription.gaps IS 'partitions whose next messages are missing; see outbox.subscription_partition';
