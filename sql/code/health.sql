-- outbox.health() puts together what views and shared memory tell, and judges
-- it by the settings outbox.health_*. Its parts give findings: each with a
-- status of its own, or measured and compared with the two settings whose name
-- is in "threshold"; the worse one counts. It says something in any case, also
-- while nothing runs, and without the library being preloaded. It is in PL/pgSQL
-- so that plans are kept in a session: they take longer than the statements do.

CREATE OR REPLACE FUNCTION outbox.launcher_status(
        OUT version text, OUT preloaded boolean, OUT pid integer, OUT since timestamptz,
        OUT crashes integer, OUT relays_start_at timestamptz,
        OUT shortage text, OUT shortage_since timestamptz,
        OUT keeper_pid integer, OUT keeper_restores boolean)
    RETURNS record
    LANGUAGE c VOLATILE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'outbox_launcher_status';
REVOKE ALL ON FUNCTION outbox.launcher_status() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION outbox.launcher_status() TO pg_monitor;
COMMENT ON FUNCTION outbox.launcher_status() IS
    'Internal: whether the launcher runs, and since when it does, or does not; which setting keeps relays from being started; which process keeps those of this database away';

CREATE OR REPLACE FUNCTION outbox.relay_troubles(
        IN relay text,
        OUT started_at timestamptz, OUT early_ends integer, OUT early_since timestamptz,
        OUT refused text, OUT refused_at timestamptz, OUT unwritten_since timestamptz)
    RETURNS record
    LANGUAGE c VOLATILE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'outbox_relay_troubles';
REVOKE ALL ON FUNCTION outbox.relay_troubles(text) FROM PUBLIC;
COMMENT ON FUNCTION outbox.relay_troubles(text) IS
    'Internal: of a relay of this database: since when its process runs, how many in a row have failed soon after they began, which settings it cannot use, and since when its position is ahead of what is written';

CREATE OR REPLACE FUNCTION outbox.health_thresholds(
        OUT name text, OUT warning double precision, OUT critical double precision, OUT shown text)
    RETURNS SETOF record
    LANGUAGE c STABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'outbox_health_thresholds';
REVOKE ALL ON FUNCTION outbox.health_thresholds() FROM PUBLIC;
COMMENT ON FUNCTION outbox.health_thresholds() IS
    'Internal: the settings outbox.health_*, as the session has them; null means never';

-- not all owners of the extension may read the files
CREATE OR REPLACE FUNCTION outbox.refused_settings() RETURNS text
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT has_table_privilege('pg_file_settings', 'SELECT')
       OR NOT has_function_privilege('pg_show_all_file_settings()', 'EXECUTE') THEN
        RETURN NULL;
    END IF;
    RETURN (
        SELECT string_agg(concat(f.name, ': ' || f.error, ' (', f.sourcefile, ', line ', f.sourceline, ')'), '; '
                          ORDER BY f.seqno)
        FROM pg_file_settings f
        WHERE f.error IS NOT NULL AND (f.name LIKE 'outbox.%' OR f.name IS NULL)
          AND NOT EXISTS (SELECT FROM pg_settings s WHERE s.name = f.name AND s.pending_restart));
END
$$;
REVOKE ALL ON FUNCTION outbox.refused_settings() FROM PUBLIC;
COMMENT ON FUNCTION outbox.refused_settings() IS
    'Internal: settings of outbox in configuration files that are not in use because they are refused; null if there are none';

CREATE OR REPLACE FUNCTION outbox.health_of_server()
    RETURNS TABLE ("check" text, relay text, status text, measure double precision, threshold text,
                   value text, since timestamptz, message text, command text)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH launcher AS MATERIALIZED (
        SELECT l.*, COALESCE(l.since, pg_postmaster_start_time()) AS changed_at
        FROM outbox.launcher_status() l
    ), unused AS (
        SELECT outbox.refused_settings() AS refused
    ), waiting AS (
        SELECT string_agg(s.name, ', ' ORDER BY s.name) AS names
        FROM pg_settings s WHERE s.name LIKE 'outbox.%' AND s.pending_restart
    )
    SELECT 'launcher', NULL,
           CASE WHEN l.relays_start_at > clock_timestamp() THEN 'critical' END,
           CASE WHEN l.pid IS NULL THEN extract(epoch FROM clock_timestamp() - l.changed_at)
                WHEN l.shortage IS NOT NULL THEN extract(epoch FROM clock_timestamp() - l.shortage_since)
           END::double precision,
           'down',
           CASE WHEN l.pid IS NULL THEN 'not running' WHEN l.shortage IS NOT NULL THEN 'short of ' || l.shortage
                ELSE 'running' END,
           CASE WHEN l.pid IS NULL THEN l.changed_at ELSE l.shortage_since END,
           CASE WHEN l.relays_start_at > clock_timestamp()
                THEN format('the server has crashed %s times in a row: relays start at %s', l.crashes, l.relays_start_at)
                WHEN l.pid IS NULL AND l.since IS NULL
                THEN 'the launcher has not been started, so no relay is: there may be too few max_worker_processes'
                WHEN l.pid IS NULL THEN 'the launcher has ended, so no relay is started; the server tries again each five seconds'
                ELSE format('relays of some database wait for the end of another one: %s is too low', l.shortage) END,
           CASE WHEN l.pid IS NOT NULL AND l.shortage IS NOT NULL OR l.pid IS NULL AND l.since IS NULL
                THEN format('ALTER SYSTEM SET %s = %s;  -- and restart the server', name,
                            current_setting(name)::integer + 16)
                ELSE 'SELECT pg_current_logfile();  -- the reason is in the server''s log' END
    FROM launcher l CROSS JOIN LATERAL (SELECT COALESCE(l.shortage, 'max_worker_processes') AS name) s
    UNION ALL
    SELECT 'version', NULL, CASE WHEN e.extversion <> l.version THEN 'critical' END,
           NULL, NULL, format('extension %s, library %s', e.extversion, l.version), NULL,
           'the extension in this database and the library in the server are of different versions: nothing is published',
           'SET lock_timeout = ''5s''; ALTER EXTENSION outbox UPDATE;'
    FROM launcher l CROSS JOIN pg_extension e WHERE e.extname = 'outbox'
    UNION ALL
    SELECT 'settings', NULL,
           CASE WHEN u.refused IS NOT NULL OR w.names IS NOT NULL THEN 'warning' END, NULL, NULL,
           CASE WHEN u.refused IS NOT NULL THEN 'refused' WHEN w.names IS NOT NULL THEN 'restart' ELSE 'in use' END, NULL,
           CASE WHEN u.refused IS NOT NULL THEN 'not used: ' || u.refused
                ELSE format('%s: changed, but not before the server is restarted', w.names) END,
           CASE WHEN u.refused IS NOT NULL
                THEN 'SELECT * FROM pg_file_settings WHERE error IS NOT NULL;  -- and SELECT pg_reload_conf() when they are corrected'
                ELSE 'SELECT name, setting FROM pg_settings WHERE pending_restart;  -- and restart the server' END
    FROM unused u CROSS JOIN waiting w;
END
$$;
REVOKE ALL ON FUNCTION outbox.health_of_server() FROM PUBLIC;
COMMENT ON FUNCTION outbox.health_of_server() IS
    'Internal: what outbox.health() finds out about launcher, versions and settings';

CREATE OR REPLACE FUNCTION outbox.health_of_relays()
    RETURNS TABLE ("check" text, relay text, status text, measure double precision, threshold text,
                   value text, since timestamptz, message text, command text)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH relay AS MATERIALIZED (
        SELECT s.*, t.*,
               -- it has failed again and again, and has not been at work for a minute since
               t.early_ends > 2 AND (t.started_at IS NULL OR t.started_at > clock_timestamp() - interval '1 min') AS loops,
               -- one that has never run: since when it could have
               COALESCE(s.state_since, GREATEST(pg_postmaster_start_time(), l.since, c.created_at)) AS changed_at,
               s.state IN ('unavailable', 'untrusted', 'unauthenticated') AS is_cut_off,
               format('SELECT state, last_error FROM outbox.stat_relay WHERE relay = %L;', s.relay) AS look
        FROM outbox.stat_relay s CROSS JOIN LATERAL outbox.relay_troubles(s.relay) t
             CROSS JOIN outbox.launcher_status() l
             LEFT JOIN outbox.relay c ON c.name = s.relay
    )
    SELECT 'relay', r.relay, CASE WHEN r.state = 'disabled' THEN 'warning' END,
           extract(epoch FROM clock_timestamp() - w.since)::double precision, 'down',
           r.state, w.since,
           CASE WHEN r.state = 'disabled' AND current_setting('outbox.enabled')::boolean
                THEN 'outbox.databases does not name this database'
                WHEN r.state = 'disabled' THEN 'outbox.enabled is off'
                WHEN r.loops THEN format('%s processes in a row have failed soon after they began: %s', r.early_ends, r.last_error)
                WHEN r.state = 'stopped' AND l.pid IS NULL THEN 'there is no launcher that would start it'
                WHEN r.state = 'stopped' AND l.keeper_restores
                THEN format('process %s has loaded rows into the outbox: the relay waits for the end of its session', l.keeper_pid)
                WHEN r.state = 'stopped' AND l.keeper_pid IS NOT NULL
                THEN format('process %s changes the database or the extension, which has no relay meanwhile', l.keeper_pid)
                WHEN r.state = 'halted' THEN 'an event has been refused, and outbox.on_failure is halt'
                ELSE r.last_error END,
           CASE WHEN r.state = 'disabled' AND current_setting('outbox.enabled')::boolean
                THEN format('ALTER SYSTEM SET outbox.databases = %L; SELECT pg_reload_conf();',
                            concat_ws(', ', current_setting('outbox.databases'), quote_ident(current_database())))
                WHEN r.state = 'disabled' THEN 'ALTER SYSTEM SET outbox.enabled = on; SELECT pg_reload_conf();'
                WHEN r.state = 'stopped' AND l.keeper_pid IS NOT NULL AND l.pid IS NOT NULL
                THEN format('SELECT pg_terminate_backend(%s);', l.keeper_pid)
                WHEN r.state = 'stopped' AND l.shortage IS NOT NULL
                THEN format('ALTER SYSTEM SET %s = %s;  -- and restart the server', l.shortage,
                            current_setting(l.shortage)::integer + 16)
                WHEN r.state = 'halted' THEN format('SELECT * FROM outbox.blocked WHERE relay = %L;', r.relay)
                ELSE r.look END
    FROM relay r CROSS JOIN outbox.launcher_status() l
         CROSS JOIN LATERAL (
             SELECT CASE WHEN r.loops THEN LEAST(r.early_since, r.changed_at)
                         WHEN r.state IN ('stopped', 'starting', 'failing', 'halted') THEN r.changed_at END AS since) w
    UNION ALL
    SELECT 'settings', r.relay,
           CASE WHEN r.state = 'unconfigured' THEN 'critical' WHEN r.refused IS NOT NULL THEN 'warning' END,
           NULL, NULL,
           CASE WHEN r.state = 'unconfigured' THEN r.state WHEN r.refused IS NOT NULL THEN 'refused' END,
           COALESCE(r.refused_at, r.state_since),
           CASE WHEN r.state = 'unconfigured' THEN COALESCE(r.refused, r.last_error, 'no brokers are set')
                ELSE 'goes on with those of before: ' || r.refused END,
           'SELECT pg_reload_conf();  -- when they are corrected'
    FROM relay r
    UNION ALL
    SELECT 'cluster', r.relay, NULL,
           CASE WHEN r.is_cut_off THEN extract(epoch FROM clock_timestamp() - r.changed_at) END, 'down',
           CASE WHEN r.is_cut_off OR r.state = 'publishing' THEN r.state END, r.changed_at, r.last_error,
           CASE r.state WHEN 'unavailable' THEN r.look || '  -- it goes on by itself when they are back'
                        ELSE 'SELECT pg_reload_conf();  -- when settings, certificates or logins are corrected' END
    FROM relay r
    UNION ALL
    SELECT 'lag_events', r.relay,
           CASE WHEN m.fill >= 1 THEN 'critical' WHEN m.fill >= 0.8 THEN 'warning' END,
           r.pending_events, 'lag_events', r.pending_events::text, NULL,
           format('%s events wait to be published', r.pending_events)
               || CASE WHEN m.fill >= 0.8 THEN format(': with %s, outbox_emit() fails', current_setting('outbox.max_pending'))
                       ELSE '' END,
           r.look
    FROM relay r
         -- what is parked and delayed counts there, too
         CROSS JOIN LATERAL (
             SELECT (r.pending_events + r.retrying + r.waiting + r.delayed)::double precision
                    / NULLIF(current_setting('outbox.max_pending')::integer, 0) AS fill) m
    UNION ALL
    SELECT 'lag_seconds', r.relay, NULL, r.lag_seconds, 'lag', date_trunc('second', o.age)::text, clock_timestamp() - o.age,
           format('its oldest event that is not published is %s old', date_trunc('second', o.age)), r.look
    FROM relay r CROSS JOIN LATERAL (SELECT make_interval(secs => r.lag_seconds) AS age) o
    UNION ALL
    SELECT CASE WHEN k.by_topic THEN 'blocked_topics' ELSE 'blocked_keys' END, r.relay, NULL,
           extract(epoch FROM clock_timestamp() - b.since), 'blocked', b.number::text, b.since,
           format('%s: %s%s: %s', CASE WHEN k.by_topic THEN 'topics, first of all' ELSE 'keys or events, first of all' END,
                  f.topic, CASE WHEN NOT k.by_topic THEN format(', key %s', COALESCE(quote_literal(left(f.key, 60)), 'null')) END,
                  left(f.error, 300)),
           format('SELECT * FROM outbox.blocked WHERE relay = %L ORDER BY since;  -- outbox.discard() gives one up', r.relay)
    FROM relay r CROSS JOIN (VALUES (false), (true)) k (by_topic)
         CROSS JOIN LATERAL (
             SELECT count(DISTINCT (p.topic, CASE WHEN NOT k.by_topic THEN COALESCE(p.key, p.id::text) END)) AS number,
                    min(p.first_failed_at) AS since
             FROM outbox.parked p
             WHERE p.relay = r.relay AND p.state = 'retrying' AND (p.class = 'topic') = k.by_topic) b
         LEFT JOIN LATERAL (
             SELECT p.topic, p.key, p.error FROM outbox.parked p
             WHERE p.relay = r.relay AND p.state = 'retrying' AND (p.class = 'topic') = k.by_topic
             ORDER BY p.first_failed_at LIMIT 1) f ON true
    UNION ALL
    SELECT 'dead_letters', r.relay, NULL, r.dead_letters - r.expired, 'dead_letters',
           (r.dead_letters - r.expired)::text, f.last_failed_at,
           format('%s events were given up, the last one to topic %s: %s', r.dead_letters - r.expired, f.topic, left(f.error, 300)),
           format('SELECT event_id, topic, key, class, error FROM outbox.dead_letter WHERE relay = %L;  -- then outbox.requeue() or outbox.discard()', r.relay)
    FROM relay r
         LEFT JOIN LATERAL (
             SELECT p.topic, p.error, p.last_failed_at FROM outbox.parked p
             WHERE p.relay = r.relay AND p.state = 'dead' AND p.class <> 'expired'
             ORDER BY p.last_failed_at DESC LIMIT 1) f ON true
    UNION ALL
    SELECT 'paused', r.relay, NULL, extract(epoch FROM clock_timestamp() - LEAST(r.paused_at, t.since)), 'paused',
           CASE WHEN r.paused_at IS NOT NULL THEN 'relay' ELSE t.number::text || ' topics' END,
           LEAST(r.paused_at, t.since),
           CASE WHEN r.paused_at IS NOT NULL THEN format('by %s%s', r.paused_by, ': ' || r.pause_reason)
                ELSE format('topic %s, by %s%s', t.topic, t.paused_by, ': ' || t.reason) END,
           CASE WHEN r.paused_at IS NOT NULL THEN format('SELECT outbox.resume(%L);', r.relay)
                ELSE format('SELECT outbox.resume_topic(%L);', t.topic) END
    FROM relay r
         LEFT JOIN LATERAL (
             SELECT p.topic, p.paused_by, p.reason, p.paused_at AS since, count(*) OVER () AS number
             FROM outbox.paused_topic p
             WHERE p.relay IS NULL OR p.relay = r.relay
             ORDER BY p.paused_at LIMIT 1) t ON true
    UNION ALL
    SELECT 'position', r.relay, NULL, extract(epoch FROM clock_timestamp() - r.unwritten_since), 'position',
           r.written_position::text, r.unwritten_since,
           format('it has not been written since %s: after a crash, %s events would be published again',
                  r.unwritten_since, r.position - r.written_position),
           CASE WHEN r.state = 'failing' THEN r.look
                ELSE 'SELECT pid, mode, relation::regclass FROM pg_locks WHERE granted AND relation::regclass::text ~ ''^outbox.(position|relay|parked)'';' END
    FROM relay r;
END
$$;
REVOKE ALL ON FUNCTION outbox.health_of_relays() FROM PUBLIC;
COMMENT ON FUNCTION outbox.health_of_relays() IS
    'Internal: what outbox.health() finds out about each relay';

CREATE OR REPLACE FUNCTION outbox.health_of_storage()
    RETURNS TABLE ("check" text, relay text, status text, measure double precision, threshold text,
                   value text, since timestamptz, message text, command text)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH segment AS MATERIALIZED (
        SELECT s.*, format('outbox.event_%s', s.segment)::regclass AS relation FROM outbox.stat_storage s
    ), held AS (
        SELECT s.kept_for, s.relation, d.due
        FROM segment s
             CROSS JOIN LATERAL (
                 SELECT CASE WHEN s.is_current THEN s.first_at ELSE s.last_at END
                            + current_setting('outbox.retention')::interval AS due) d
        WHERE s.last_id IS NOT NULL AND current_setting('outbox.retention') <> '-1'
          AND d.due < clock_timestamp() AND (s.kept_for IS NULL OR s.kept_for ~ '^(relay|replay) ')
        ORDER BY d.due LIMIT 1
    ), locker AS (
        SELECT l.pid, l.relation FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
        WHERE l.granted AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND l.relation = (SELECT h.relation FROM held h) AND l.pid <> pg_backend_pid()
        ORDER BY a.xact_start LIMIT 1
    )
    SELECT 'retention', NULL, NULL, extract(epoch FROM clock_timestamp() - h.due)::double precision, 'retention',
           CASE WHEN h.due IS NULL THEN current_setting('outbox.retention')
                ELSE COALESCE(h.kept_for, 'process ' || l.pid, 'not emptied yet') END,
           h.due,
           format('%s could be empty since %s', h.relation,
                  h.due) || CASE WHEN h.kept_for IS NOT NULL THEN format(', but is kept for %s', h.kept_for)
                                 WHEN l.pid IS NOT NULL THEN format(', but process %s has locked it', l.pid)
                                 ELSE '' END,
           CASE WHEN h.kept_for LIKE 'replay %' THEN format('SELECT outbox.cancel_replay(%s);', substr(h.kept_for, 8))
                WHEN h.kept_for IS NULL AND l.pid IS NOT NULL THEN format('SELECT pg_terminate_backend(%s);', l.pid)
                WHEN h.kept_for IS NULL THEN 'SELECT * FROM outbox.stat_storage;'
                ELSE 'SELECT relay, state, last_error, pending_events FROM outbox.stat_relay;' END
    FROM (SELECT) one LEFT JOIN held h ON true LEFT JOIN locker l ON true
    UNION ALL
    SELECT 'inbox', NULL, NULL, extract(epoch FROM clock_timestamp() - i.due)::double precision, 'retention',
           CASE WHEN i.due IS NULL THEN current_setting('outbox.inbox_retention')
                ELSE COALESCE('prepared transaction ' || l.gid, 'process ' || l.pid, 'not emptied yet') END,
           i.due,
           format('%s could be empty since %s', i.relation, i.due)
               || COALESCE(', but prepared transaction ' || l.gid || ' has locked it',
                           ', but process ' || l.pid || ' has locked it', ''),
           CASE WHEN l.gid IS NOT NULL THEN format('ROLLBACK PREPARED %L;  -- or COMMIT PREPARED', l.gid)
                WHEN l.pid IS NOT NULL THEN format('SELECT pg_terminate_backend(%s);', l.pid)
                ELSE 'SELECT relay, state, last_error FROM outbox.stat_relay;  -- one of them empties it' END
    FROM (SELECT) one
         LEFT JOIN LATERAL (
             SELECT format('outbox.inbox_%s', 1 - t.current)::regclass AS relation, d.due
             FROM outbox.inbox_turn t
                  CROSS JOIN LATERAL (SELECT t.since + current_setting('outbox.inbox_retention')::interval AS due) d
             WHERE d.due < clock_timestamp()) i ON true
         LEFT JOIN LATERAL (
             SELECT k.pid, p.gid
             FROM pg_locks k
                  LEFT JOIN (pg_locks x JOIN pg_prepared_xacts p ON p.transaction = x.transactionid)
                      ON k.pid IS NULL AND x.pid IS NULL AND x.virtualtransaction = k.virtualtransaction
                  LEFT JOIN pg_stat_activity a ON a.pid = k.pid
             WHERE k.granted AND k.relation = i.relation AND k.pid IS DISTINCT FROM pg_backend_pid()
               AND k.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
             ORDER BY COALESCE(p.prepared, a.xact_start) LIMIT 1) l ON true
    UNION ALL
    SELECT 'backfill', NULL, CASE WHEN b.state = 'failed' THEN 'warning' END,
           CASE WHEN b.state = 'running' THEN extract(epoch FROM clock_timestamp() - b.error_since) END, 'blocked',
           COALESCE(b.state, 'none is stuck'), b.error_since,
           format('%s of table %s %s: %s', b.id, b.relation,
                  CASE b.state WHEN 'failed' THEN 'has failed' ELSE 'does not get on' END, left(b.error, 300)),
           CASE b.state WHEN 'failed' THEN format('SELECT outbox.resume_backfill(%s);  -- when that is mended; or outbox.cancel_backfill()', b.id)
                        ELSE 'SELECT * FROM outbox.stat_backfill;' END
    FROM (SELECT) one
         LEFT JOIN LATERAL (
             SELECT j.* FROM outbox.backfill_job j
             WHERE j.error IS NOT NULL AND j.state IN ('running', 'failed')
             ORDER BY j.state, j.error_since LIMIT 1) b ON true
    UNION ALL
    SELECT 'storage', NULL, NULL, s.bytes / 1024 / 1024, 'storage', pg_size_pretty(s.bytes), NULL,
           'events, parked and delayed ones take ' || pg_size_pretty(s.bytes), 'SELECT * FROM outbox.stat_storage;'
    FROM (SELECT sum(s.bytes) + pg_total_relation_size('outbox.parked') + pg_total_relation_size('outbox.delayed') AS bytes
          FROM segment s) s
    UNION ALL
    SELECT 'delayed', NULL, NULL, COALESCE(extract(epoch FROM clock_timestamp() - d.first), 0), 'lag',
           date_trunc('second', COALESCE(clock_timestamp() - d.first, '0'))::text, d.first,
           format('delayed events should have been published since %s', d.first),
           'SELECT relay, state, last_error FROM outbox.stat_relay;  -- one that publishes moves them'
    FROM (SELECT min(deliver_at) AS first FROM outbox.delayed WHERE deliver_at < clock_timestamp()) d
    UNION ALL
    SELECT 'ids', NULL, NULL, 100.0 * q.last_value / s.seqmax, 'ids',
           to_char(100.0 * q.last_value / s.seqmax, 'FM990.00" %"'), NULL,
           format('%s of %s ids are used up: somebody has set the sequence', q.last_value, s.seqmax),
           'SELECT last_value FROM outbox.event_id_seq;  -- a new database has them all'
    FROM outbox.event_id_seq q JOIN pg_sequence s ON s.seqrelid = 'outbox.event_id_seq'::regclass
    UNION ALL
    SELECT 'clock', NULL, NULL, extract(epoch FROM n.last - clock_timestamp()), 'clock',
           date_trunc('second', GREATEST(n.last - clock_timestamp(), '0'))::text, NULL,
           format('there are events of %s: the clock was ahead, or has been set back', n.last),
           'SELECT clock_timestamp();  -- compare it with another clock'
    FROM (SELECT GREATEST(max(s.last_at), (SELECT max(p.written_at) FROM outbox.relay r CROSS JOIN LATERAL (
                                               SELECT p.written_at FROM outbox.position p
                                               WHERE p.relay = r.name ORDER BY p.position DESC LIMIT 1) p),
                          pg_postmaster_start_time()) AS last
          FROM segment s) n;
END
$$;
REVOKE ALL ON FUNCTION outbox.health_of_storage() FROM PUBLIC;
COMMENT ON FUNCTION outbox.health_of_storage() IS
    'Internal: what outbox.health() finds out about tables, ids and the clock';

CREATE OR REPLACE FUNCTION outbox.health()
    RETURNS TABLE ("check" text, relay text, subscription text, status text, value text, threshold text,
                   since timestamptz, message text, command text)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $$
#variable_conflict use_column
BEGIN
    IF NOT (SELECT preloaded FROM outbox.launcher_status()) THEN
        RETURN QUERY SELECT 'launcher', NULL::text, NULL::text, 'critical', 'not preloaded', NULL::text, pg_postmaster_start_time(),
            'the library is not in shared_preload_libraries: nothing can be emitted or published',
            format('ALTER SYSTEM SET shared_preload_libraries = %s;  -- and restart the server',
                   (SELECT string_agg(quote_literal(trim(BOTH ' "' FROM name)), ', ')
                    FROM unnest(string_to_array(NULLIF(current_setting('shared_preload_libraries'), ''), ',')
                                || ARRAY['outbox']) AS name));
        RETURN;
    END IF;
    IF pg_is_in_recovery() THEN
        RETURN QUERY SELECT 'launcher', NULL::text, NULL::text, 'ok', 'standby', NULL::text, NULL::timestamptz,
            'nothing is published or consumed here before this server is promoted', NULL::text;
        RETURN;
    END IF;
    RETURN QUERY
        WITH finding AS MATERIALIZED (
            SELECT f.*, NULL::text AS subscription
            FROM (SELECT * FROM outbox.health_of_server()
                  UNION ALL SELECT * FROM outbox.health_of_relays()
                  UNION ALL SELECT * FROM outbox.health_of_storage()) f
            UNION ALL
            SELECT s."check", NULL, s.status, s.measure, s.threshold, s.value, s.since, s.message, s.command, s.subscription
            FROM outbox.health_of_subscriptions() s
        ), judged AS (
            SELECT f."check", f.relay, f.subscription, f.value, f.since, f.message, f.command, t.shown,
                   CASE WHEN f.status = 'critical' OR f.measure >= t.critical THEN 'critical'
                        WHEN f.status = 'warning' OR f.measure >= t.warning THEN 'warning'
                        ELSE 'ok' END AS verdict
            FROM finding f LEFT JOIN outbox.health_thresholds() t ON t.name = f.threshold
        )
        SELECT j."check", j.relay, j.subscription, j.verdict, j.value, j.shown,
               CASE WHEN j.verdict <> 'ok' THEN j.since END,
               CASE WHEN j.verdict <> 'ok' THEN j.message END,
               CASE WHEN j.verdict <> 'ok' THEN j.command END
        FROM judged j
        ORDER BY array_position('{critical,warning,ok}', j.verdict), j."check", j.relay NULLS FIRST,
                 j.subscription;
END
$$;
REVOKE ALL ON FUNCTION outbox.health() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION outbox.health() TO pg_monitor;
COMMENT ON FUNCTION outbox.health() IS
    'what is wrong, the worst first: a row for each check, and each relay or subscription where it is about one, with the command that helps; from when on it is a warning, or critical, is in the settings outbox.health_*';

-- One screen: so many lines of each kind, and each on one line.
CREATE OR REPLACE FUNCTION outbox.top() RETURNS TABLE (top text)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $$
DECLARE
    launcher record;
BEGIN
    SELECT * INTO launcher FROM outbox.launcher_status();
    RETURN QUERY SELECT format('outbox %s, database %s, %s', launcher.version, current_database(),
                               date_trunc('second', clock_timestamp()));
    IF launcher.preloaded THEN
        RETURN QUERY SELECT '' UNION ALL
            SELECT format('%-24s %-15s %12s %9s %9s %12s %10s %10s %9s %8s', 'relay', 'state', 'since', 'events/s',
                          'p99 ms', 'published', 'pending', 'lag', 'parked', 'dead');
        RETURN QUERY SELECT format('%-24s %-15s %12s %9s %9s %12s %10s %10s %9s %8s', left(r.relay, 24), r.state,
                                   date_trunc('second', clock_timestamp() - r.state_since), round(COALESCE(r.rate, 0)),
                                   round(r.commit_p99::numeric, 1), r.published, r.pending_events, date_trunc('second', make_interval(secs => r.lag_seconds)),
                                   r.retrying + r.waiting, r.dead_letters)
            FROM outbox.stat_relay r
            ORDER BY r.lag_seconds DESC, r.pending_events DESC, r.relay LIMIT 12;
        RETURN QUERY WITH subscription AS MATERIALIZED (
                SELECT s.subscription, min(s.state_since) AS since, sum(s.rate) AS rate, sum(s.handled) AS handled,
                       sum(s.lag_messages) AS behind, max(s.lag_seconds) AS lag, sum(s.retrying + s.waiting) AS parked,
                       sum(s.dead_letters) AS dead,
                       -- all the same, or what one of them does that does not consume
                       COALESCE(min(s.state) FILTER (WHERE s.state <> 'consuming'), 'consuming') AS state
                FROM outbox.stat_subscription s GROUP BY s.subscription
                ORDER BY lag DESC NULLS FIRST, behind DESC, s.subscription LIMIT 8)
            SELECT v.line FROM (VALUES (''), (format('%-24s %-15s %12s %9s %9s %12s %10s %10s %9s %8s', 'subscription', 'state', 'since',
                                                     'msgs/s', '', 'handled', 'behind', 'lag', 'parked', 'dead'))) v (line)
            WHERE EXISTS (SELECT FROM subscription) UNION ALL
            SELECT format('%-24s %-15s %12s %9s %9s %12s %10s %10s %9s %8s', left(s.subscription, 24), s.state,
                          date_trunc('second', clock_timestamp() - s.since), round(COALESCE(s.rate, 0)), '', s.handled,
                          COALESCE(s.behind::text, '?'), COALESCE(date_trunc('second', make_interval(secs => s.lag))::text, '?'),
                          s.parked, s.dead)
            FROM subscription s;
    END IF;
    RETURN QUERY WITH wrong AS MATERIALIZED (
            SELECT * FROM outbox.health() WITH ORDINALITY h WHERE h.status <> 'ok')
        SELECT '' UNION ALL
        SELECT CASE count(*) WHEN 0 THEN 'nothing is wrong' ELSE 'what is wrong: outbox.health() has all of it, and what helps' END
            FROM wrong UNION ALL
        (SELECT format('%-8s %-14s %-24s %s', w.status, w."check", COALESCE(left(COALESCE(w.relay, w.subscription), 24), ''),
                       left(regexp_replace(w.message, '[[:space:]]+', ' ', 'g'), 110))
         FROM wrong w ORDER BY w.ordinality LIMIT 8);
    IF NOT launcher.preloaded THEN
        RETURN;
    END IF;
    RETURN QUERY WITH worst AS MATERIALIZED (
            SELECT b.* FROM outbox.blocked b ORDER BY b.waiting DESC, b.since LIMIT 6)
        SELECT v.line FROM (VALUES (''), (format('%-24s %-30s %-30s %8s %s', 'blocked', 'topic', 'key', 'waiting', 'why'))) v (line)
        WHERE EXISTS (SELECT FROM worst) UNION ALL
        SELECT format('%-24s %-30s %-30s %8s %s', left(w.relay, 24), left(w.topic, 30),
                      left(regexp_replace(w.key, '[[:space:]]+', ' ', 'g'), 30), w.waiting,
                      left(regexp_replace(w.error, '[[:space:]]+', ' ', 'g'), 60))
        FROM worst w;
    RETURN QUERY WITH error AS MATERIALIZED (
            SELECT r.relay, r.last_error, r.last_error_at FROM outbox.stat_relay r WHERE r.last_error IS NOT NULL
            UNION ALL
            SELECT s.subscription, s.last_error, s.last_error_at FROM outbox.stat_subscription s WHERE s.last_error IS NOT NULL
            ORDER BY 3 DESC LIMIT 4)
        SELECT v.line FROM (VALUES (''), ('last errors')) v (line) WHERE EXISTS (SELECT FROM error) UNION ALL
        SELECT format('%s %-24s %s', date_trunc('second', e.last_error_at), left(e.relay, 24),
                      left(regexp_replace(e.last_error, '[[:space:]]+', ' ', 'g'), 100))
        FROM error e;
END
$$;
REVOKE ALL ON FUNCTION outbox.top() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION outbox.top() TO pg_monitor;
COMMENT ON FUNCTION outbox.top() IS
    'one screen for \watch of psql: what relays and subscriptions do, what is wrong, the worst keys and topics, the last errors';
