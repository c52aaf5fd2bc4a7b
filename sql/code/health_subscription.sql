-- Of the workers of a subscription, the one that is worst off counts.
CREATE OR REPLACE FUNCTION outbox.health_of_subscriptions()
    RETURNS TABLE ("check" text, subscription text, status text, measure double precision, threshold text,
                   value text, since timestamptz, message text, command text)
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH launcher AS MATERIALIZED (
        SELECT * FROM outbox.launcher_status()
    ), worker AS MATERIALIZED (
        SELECT s.*,
               -- one that has never run: since when it could have
               COALESCE(s.state_since, GREATEST(pg_postmaster_start_time(), l.since, s.created_at)) AS changed_at,
               CASE WHEN count(*) OVER (PARTITION BY s.subscription) > 1 THEN format('worker %s: ', s.worker) ELSE '' END AS who,
               format('SELECT worker, state, last_error FROM outbox.stat_subscription WHERE subscription = %L;', s.subscription) AS look
        FROM outbox.stat_subscription s CROSS JOIN launcher l
    ), subscription AS (
        SELECT w.subscription, min(w.look) AS look, sum(w.dead_letters) AS dead_letters, sum(w.gaps) AS gaps,
               sum(w.retrying) AS retrying, max(w.lag_seconds) AS lag_seconds,
               min(w.paused_at) AS paused_at, min(w.paused_by) AS paused_by, min(w.pause_reason) AS pause_reason
        FROM worker w GROUP BY w.subscription
    ), state AS (
        SELECT DISTINCT ON (w.subscription, k."check")
               w.*, k."check", k.is_it,
               CASE WHEN w.state = 'stopped' AND l.pid IS NULL THEN 'there is no launcher that would start it'
                    WHEN w.state = 'stopped' AND l.keeper_restores
                    THEN format('process %s has loaded rows into the outbox: the subscriber waits for the end of its session', l.keeper_pid)
                    WHEN w.state = 'stopped' AND l.keeper_pid IS NOT NULL
                    THEN format('process %s changes the database or the extension, which has no subscriber meanwhile', l.keeper_pid)
                    WHEN w.state = 'halted' THEN 'a message has failed, and on_failure is halt'
                    ELSE w.last_error END AS reason,
               l.pid AS launcher_pid, l.keeper_pid
        FROM worker w CROSS JOIN launcher l
             CROSS JOIN LATERAL (VALUES
                 ('subscription', w.state IN ('disabled', 'stopped', 'starting', 'failing', 'halted')),
                 ('settings', w.state = 'unconfigured'),
                 ('cluster', w.state IN ('unavailable', 'untrusted', 'unauthenticated'))) AS k ("check", is_it)
        ORDER BY w.subscription, k."check", k.is_it DESC, w.changed_at, w.worker
    )
    SELECT 'subscription', s.subscription, CASE WHEN s.state = 'disabled' THEN 'warning' END,
           CASE WHEN s.is_it AND s.state <> 'disabled'
                THEN extract(epoch FROM clock_timestamp() - s.changed_at) END::double precision, 'down',
           s.state, s.changed_at,
           CASE WHEN s.state <> 'disabled' THEN s.who || s.reason
                WHEN current_setting('outbox.enabled')::boolean THEN 'outbox.databases does not name this database'
                ELSE 'outbox.enabled is off' END,
           CASE WHEN s.state = 'disabled' AND current_setting('outbox.enabled')::boolean
                THEN format('ALTER SYSTEM SET outbox.databases = %L; SELECT pg_reload_conf();',
                            concat_ws(', ', current_setting('outbox.databases'), quote_ident(current_database())))
                WHEN s.state = 'disabled' THEN 'ALTER SYSTEM SET outbox.enabled = on; SELECT pg_reload_conf();'
                WHEN s.state = 'stopped' AND s.keeper_pid IS NOT NULL AND s.launcher_pid IS NOT NULL
                THEN format('SELECT pg_terminate_backend(%s);', s.keeper_pid)
                WHEN s.state = 'stopped' AND strpos(s.last_error, 'outbox.max_subscribers') > 0
                THEN format('ALTER SYSTEM SET outbox.max_subscribers = %s;  -- and restart the server',
                            current_setting('outbox.max_subscribers')::integer + 8)
                WHEN s.state = 'stopped' AND strpos(s.last_error, 'max_worker_processes') > 0
                THEN format('ALTER SYSTEM SET max_worker_processes = %s;  -- and restart the server',
                            current_setting('max_worker_processes')::integer + 16)
                WHEN s.state = 'halted'
                THEN format('SELECT * FROM outbox.inbox_retry WHERE subscription = %L;  -- outbox.inbox_discard() gives one up', s.subscription)
                ELSE s.look END
    FROM state s WHERE s."check" = 'subscription'
    UNION ALL
    SELECT 'settings', s.subscription, CASE WHEN s.is_it THEN 'critical' END, NULL, NULL,
           CASE WHEN s.is_it THEN s.state END, s.changed_at, s.who || COALESCE(s.last_error, 'no brokers are set'),
           'SELECT pg_reload_conf();  -- when they are corrected'
    FROM state s WHERE s."check" = 'settings'
    UNION ALL
    SELECT 'cluster', s.subscription, NULL,
           CASE WHEN s.is_it THEN extract(epoch FROM clock_timestamp() - s.changed_at) END, 'down',
           CASE WHEN s.is_it OR s.state IN ('consuming', 'gap') THEN s.state END, s.changed_at, s.who || s.last_error,
           CASE s.state WHEN 'unavailable' THEN s.look || '  -- it goes on by itself when they are back'
                        ELSE 'SELECT pg_reload_conf();  -- when settings, certificates or logins are corrected' END
    FROM state s WHERE s."check" = 'cluster'
    UNION ALL
    SELECT 'lag_seconds', s.subscription, NULL, s.lag_seconds, 'subscription_lag',
           COALESCE(date_trunc('second', o.age)::text, 'not known'), clock_timestamp() - o.age,
           format('its oldest message that is not handled is %s old', date_trunc('second', o.age)), s.look
    FROM subscription s CROSS JOIN LATERAL (SELECT make_interval(secs => s.lag_seconds) AS age) o
    UNION ALL
    SELECT 'gap', s.subscription, CASE WHEN s.gaps > 0 THEN 'critical' END, NULL, NULL, s.gaps::text, g.gap_since,
           format('topic %s, partition %s: %s', g.topic, g.partition, g.gap),
           format('SELECT outbox.seek(%L, place => ''earliest'', topic => %L, partition => %s);  -- goes on without what is missing',
                  s.subscription, g.topic, g.partition)
    FROM subscription s
         LEFT JOIN LATERAL (
             SELECT i.topic, i.partition, i.gap, i.gap_since FROM outbox.subscription_offset i
             WHERE i.subscription = s.subscription AND i.gap IS NOT NULL
             ORDER BY i.gap_since LIMIT 1) g ON true
    UNION ALL
    SELECT 'retrying', s.subscription, NULL, extract(epoch FROM clock_timestamp() - f.first_failed_at), 'blocked',
           s.retrying::text, f.first_failed_at,
           format('%s messages have failed and are tried again, first of all %s/%s/%s: %s', s.retrying,
                  f.topic, f.partition, f."offset", left(f.error, 300)),
           format('SELECT * FROM outbox.inbox_retry WHERE subscription = %L;  -- outbox.inbox_discard() gives one up', s.subscription)
    FROM subscription s
         LEFT JOIN LATERAL (
             SELECT p.topic, p.partition, p."offset", p.error, p.first_failed_at FROM outbox.inbox_parked p
             WHERE p.subscription = s.subscription AND p.attempts > 0
             ORDER BY p.first_failed_at LIMIT 1) f ON true
    UNION ALL
    SELECT 'dead_letters', s.subscription, NULL, s.dead_letters, 'dead_letters', s.dead_letters::text, f.last_failed_at,
           format('%s messages were given up, the last one %s/%s/%s: %s', s.dead_letters,
                  f.topic, f.partition, f."offset", left(f.error, 300)),
           format('SELECT id, topic, partition, "offset", key, sqlstate, error FROM outbox.inbox_dead_letter WHERE subscription = %L;  -- then outbox.inbox_requeue() or outbox.inbox_discard()', s.subscription)
    FROM subscription s
         LEFT JOIN LATERAL (
             SELECT d.topic, d.partition, d."offset", d.error, d.last_failed_at FROM outbox.inbox_dead d
             WHERE d.subscription = s.subscription
             ORDER BY d.last_failed_at DESC LIMIT 1) f ON true
    UNION ALL
    SELECT 'paused', s.subscription, NULL, extract(epoch FROM clock_timestamp() - s.paused_at), 'paused',
           CASE WHEN s.paused_at IS NOT NULL THEN 'subscription' END, s.paused_at,
           format('by %s%s', s.paused_by, ': ' || s.pause_reason),
           format('SELECT outbox.resume_subscription(%L);', s.subscription)
    FROM subscription s;
END
$$;
REVOKE ALL ON FUNCTION outbox.health_of_subscriptions() FROM PUBLIC;
COMMENT ON FUNCTION outbox.health_of_subscriptions() IS
    'Internal: what outbox.health() finds out about each subscription';
