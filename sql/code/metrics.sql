-- Every figure that Prometheus is given, whoever carries it there: contrib/ has
-- query files for exporters, which read these rows, and outbox.metrics() is the
-- same as text. A name is one of the queries of contrib/postgres-exporter and
-- one of its columns, so metrics with other labels have another name in front.
-- Labels are bounded: neither events nor keys, and topics as far as
-- outbox.stat_topic tells them apart. What is not known is NaN. To compile the
-- statements would take much longer than they do.
CREATE OR REPLACE FUNCTION outbox.metrics_rows(
        OUT name text, OUT type text, OUT help text, OUT labels jsonb, OUT value double precision)
    RETURNS SETOF record
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET extra_float_digits = 1
    SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    is_standby boolean := pg_is_in_recovery();
    is_up boolean;
    is_known boolean;
BEGIN
    -- a standby publishes nothing, and nobody is to be alerted of that
    SELECT l.pid IS NOT NULL, l.preloaded AND NOT is_standby INTO is_up, is_known FROM outbox.launcher_status() l;
    RETURN QUERY
    WITH relay AS MATERIALIZED (
        SELECT r.* FROM outbox.stat_relay r WHERE is_known
    ), worker AS MATERIALIZED (
        SELECT s.* FROM outbox.stat_subscription s WHERE is_known
    ), figures AS MATERIALIZED (
        SELECT r.relay, f.* FROM relay r CROSS JOIN LATERAL outbox.relay_figures(r.relay) f
    ), histogram AS MATERIALIZED (
        -- a bucket for each power of two from 0.1 ms on: four times as many series would tell little more
        SELECT f.relay, k.*, COALESCE(h.seconds, 'Infinity') AS seconds, COALESCE(h.events, 0) AS events
        FROM figures f
             CROSS JOIN LATERAL (VALUES
                 ('commit', 'outbox_relay_commit_to_ack_seconds', 'Time from commit to acknowledgement.', f.commit_seconds),
                 ('sent', 'outbox_relay_sent_to_ack_seconds', 'Time from sending to acknowledgement.', f.sent_seconds)
             ) AS k (until, name, help, sum)
             LEFT JOIN LATERAL outbox.relay_histogram(f.relay, k.until) WITH ORDINALITY AS h (seconds, events, n)
                 ON h.n % 4 = 0 AND h.seconds > 0.0001
    ), storage AS MATERIALIZED (
        SELECT s.bytes, s.first_at FROM outbox.stat_storage s WHERE is_known
    ), metric AS (
        SELECT NULL::jsonb AS labels, m.*
        FROM (SELECT max(r.position + r.pending_events) AS emitted, max(r.delayed) AS delayed FROM relay r) d
             CROSS JOIN (SELECT sum(s.bytes) AS bytes, min(s.first_at) AS first_at FROM storage s) s
             CROSS JOIN LATERAL (VALUES
            ('outbox_up', 'gauge', 'Whether the launcher of outbox runs, which starts the relays.',
             is_up::integer),
            ('outbox_emitted_total', 'counter', 'Events that transactions have emitted; those of transactions that failed in their commit may be counted in.',
             d.emitted),
            ('outbox_delayed_events', 'gauge', 'Events that are not due yet.', d.delayed),
            ('outbox_storage_bytes', 'gauge', 'Size of the segments of outbox.event on disk, with indexes.', s.bytes),
            ('outbox_storage_oldest_event_seconds', 'gauge', 'Age of the oldest event that is kept; 0 if none is.',
             COALESCE(GREATEST(extract(epoch FROM clock_timestamp() - s.first_at), 0), 0))
        ) AS m (name, type, help, value)
        WHERE NOT is_standby
        UNION ALL
        SELECT jsonb_build_object('relay', r.relay), m.*
        FROM relay r JOIN figures f ON f.relay = r.relay CROSS JOIN LATERAL (VALUES
            ('outbox_relay_up', 'gauge', 'Whether the relay has a process, or needs none since there is nothing to do.',
             (r.pid IS NOT NULL OR r.state = 'idle')::integer),
            ('outbox_relay_published_total', 'counter', 'Events that the brokers have acknowledged.', r.published),
            ('outbox_relay_published_bytes_total', 'counter', 'Bytes of their keys, payloads and headers.', COALESCE(r.published_bytes, 0)),
            ('outbox_relay_dead_letters_made_total', 'counter', 'Dead letters that have been made.', COALESCE(f.dead_letters, 0)),
            ('outbox_relay_pending_events', 'gauge', 'Events that are not acknowledged yet.', r.pending_events),
            ('outbox_relay_lag_seconds', 'gauge', 'Age of the oldest event that is not published; 0 if there is none.', r.lag_seconds),
            ('outbox_relay_retrying', 'gauge', 'Events that have failed, and are tried again.', r.retrying),
            ('outbox_relay_waiting', 'gauge', 'Events that wait behind one that is tried again, for a paused topic, or were requeued.', r.waiting),
            ('outbox_relay_dead_letters', 'gauge', 'Events that are not tried again.', r.dead_letters),
            ('outbox_relay_queue_events', 'gauge', 'Events that the client library has, sent or not.', r.queue_events),
            ('outbox_relay_queue_bytes', 'gauge', 'Bytes of these.', r.queue_bytes),
            ('outbox_relay_round_trip_seconds', 'gauge', 'Round trip of a request to the slowest broker, on average.', r.round_trip_ms / 1000),
            ('outbox_relay_throttle_seconds', 'gauge', 'How long brokers let the client wait, on average.', r.throttle_ms / 1000)
        ) AS m (name, type, help, value)
        UNION ALL
        SELECT jsonb_build_object('relay', r.relay, 'state', s.state), 'outbox_relay_state_active', 'gauge',
               'Whether this is the state of the relay: 1 for one of its states, 0 for the others.',
               (s.state = r.state)::integer
        FROM relay r CROSS JOIN unnest('{publishing,unavailable,untrusted,unauthenticated,halted,paused,failing,unconfigured,incompatible,starting,idle,stopped,disabled}'::text[]) AS s (state)
        UNION ALL
        SELECT jsonb_build_object('relay', f.relay, 'class', c.class), 'outbox_relay_failures_total', 'counter',
               'Attempts to publish an event that have failed, by whose fault it was.', COALESCE(c.failures, 0)
        FROM figures f CROSS JOIN LATERAL (VALUES
            ('cluster', f.failures_cluster), ('login', f.failures_login), ('topic', f.failures_topic),
            ('event', f.failures_event), ('size', f.failures_size), ('invalid', f.failures_invalid)
        ) AS c (class, failures)
        UNION ALL
        SELECT jsonb_build_object('subscription', s.subscription), m.*
        FROM (SELECT w.subscription, min((w.pid IS NOT NULL)::integer) AS up, sum(w.partitions) AS partitions,
                     sum(w.handled) AS handled, sum(w.repeated) AS repeated, sum(w.failed) AS failed,
                     CASE WHEN bool_and(w.lag_messages IS NOT NULL) THEN sum(w.lag_messages) END AS lag_messages,
                     CASE WHEN bool_and(w.lag_seconds IS NOT NULL) THEN max(w.lag_seconds) END AS lag_seconds,
                     sum(w.retrying) AS retrying, sum(w.waiting) AS waiting, sum(w.dead_letters) AS dead_letters, sum(w.gaps) AS gaps
              FROM worker w GROUP BY w.subscription) s
             CROSS JOIN LATERAL (VALUES
            ('outbox_subscription_up', 'gauge', 'Whether all workers of the subscription have a process.', s.up),
            ('outbox_subscription_partitions', 'gauge', 'Partitions that it reads.', s.partitions),
            ('outbox_subscription_handled_total', 'counter', 'Messages whose effects are committed, or that the function has discarded.', COALESCE(s.handled, 0)),
            ('outbox_subscription_repeated_total', 'counter', 'Messages that were known, and have been passed over.', COALESCE(s.repeated, 0)),
            ('outbox_subscription_failures_total', 'counter', 'Attempts to handle a message that have failed.', COALESCE(s.failed, 0)),
            ('outbox_subscription_lag_messages', 'gauge', 'Messages that the brokers have and that are not handled.', s.lag_messages),
            ('outbox_subscription_lag_seconds', 'gauge', 'Age of the oldest of them; 0 if there is none.', s.lag_seconds),
            ('outbox_subscription_retrying', 'gauge', 'Messages that have failed, and are tried again.', s.retrying),
            ('outbox_subscription_waiting', 'gauge', 'Messages that wait behind one that is tried again, or were requeued.', s.waiting),
            ('outbox_subscription_dead_letters', 'gauge', 'Messages that are not tried again.', s.dead_letters),
            ('outbox_subscription_gaps', 'gauge', 'Partitions that stand still because messages are missing where they are to go on.', s.gaps)
        ) AS m (name, type, help, value)
        UNION ALL
        SELECT jsonb_build_object('subscription', w.subscription, 'worker', w.worker::text, 'state', s.state), 'outbox_subscription_state_active', 'gauge',
               'Whether this is the state of a worker of the subscription: 1 for one of its states, 0 for the others.',
               (s.state = w.state)::integer
        FROM worker w CROSS JOIN unnest('{consuming,gap,unavailable,untrusted,unauthenticated,halted,paused,failing,unconfigured,incompatible,starting,stopped,disabled}'::text[]) AS s (state)
        UNION ALL
        (SELECT jsonb_build_object('relay', h.relay)
                || CASE WHEN p.part = '_bucket' THEN jsonb_build_object('le', replace(h.seconds::text, 'Infinity', '+Inf')) ELSE '{}' END,
                h.name || p.part, 'histogram', h.help,
                CASE WHEN p.part = '_sum' THEN COALESCE(h.sum, 0) ELSE h.events END
         FROM histogram h JOIN unnest('{_bucket,_sum,_count}'::text[]) WITH ORDINALITY AS p (part, n)
              ON p.part = '_bucket' OR h.seconds = 'Infinity'
         ORDER BY h.name, h.relay, p.n, h.seconds)
        UNION ALL
        SELECT jsonb_build_object('relay', t.relay, 'topic', COALESCE(t.topic, '(other)')), m.*
        FROM outbox.stat_topic t CROSS JOIN LATERAL (VALUES
            ('outbox_topic_published_total', 'counter', 'Events of a topic that the brokers have acknowledged.', t.published),
            ('outbox_topic_published_bytes_total', 'counter', 'Bytes of their keys, payloads and headers.', t.bytes),
            ('outbox_topic_failures_total', 'counter', 'Attempts to publish an event of the topic that have failed.', t.failures),
            ('outbox_topic_dead_letters_total', 'counter', 'Dead letters of the topic that have been made.', t.dead_letters)
        ) AS m (name, type, help, value)
        WHERE is_known
        UNION ALL
        SELECT jsonb_strip_nulls(jsonb_build_object('check', h."check", 'relay', h.relay, 'subscription', h.subscription)), 'outbox_health_status', 'gauge',
               'What outbox.health() says of a check: 0 if all is well, 1 for a warning, 2 if it is critical.',
               array_position('{ok,warning,critical}', h.status) - 1
        FROM outbox.health() h
    )
    SELECT m.name, m.type, m.help,
           jsonb_build_object('database', current_database()) || COALESCE(m.labels, '{}'),
           COALESCE(m.value, 'NaN')::double precision
    FROM metric m;
END
$$;
REVOKE ALL ON FUNCTION outbox.metrics_rows() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION outbox.metrics_rows() TO pg_monitor;
COMMENT ON FUNCTION outbox.metrics_rows() IS
    'all figures of this database, its relays, topics and subscriptions, a row for each metric and its labels, with names and types of Prometheus; for exporters';

CREATE OR REPLACE FUNCTION outbox.metric_labels(labels jsonb) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'outbox_metric_labels';
REVOKE ALL ON FUNCTION outbox.metric_labels(jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION outbox.metric_labels(jsonb) TO pg_monitor;
COMMENT ON FUNCTION outbox.metric_labels(jsonb) IS
    'Internal: labels of a metric as Prometheus reads them; see outbox.metrics()';

CREATE OR REPLACE FUNCTION outbox.metrics() RETURNS text
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
    SET extra_float_digits = 1
AS $$
BEGIN
    RETURN string_agg(f.text, '' ORDER BY f.n)
    FROM (
        SELECT min(m.n) AS n,
               format(E'# HELP %1$s %2$s\n# TYPE %1$s %3$s\n', m.family, min(m.help), min(m.type))
               || string_agg(format(E'%s{%s} %s\n', m.name, m.labels, m.value), '' ORDER BY m.n) AS text
        FROM (
            SELECT r.n, r.name, r.type, r.help,
                   CASE WHEN r.type = 'histogram' THEN regexp_replace(r.name, '_(bucket|sum|count)$', '') ELSE r.name END
                       AS family,
                   outbox.metric_labels(r.labels) AS labels,
                   CASE r.value WHEN 'Infinity' THEN '+Inf' WHEN '-Infinity' THEN '-Inf' ELSE r.value::text END AS value
            FROM outbox.metrics_rows() WITH ORDINALITY AS r (name, type, help, labels, value, n)) m
        GROUP BY m.family) f;
END
$$;
REVOKE ALL ON FUNCTION outbox.metrics() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION outbox.metrics() TO pg_monitor;
COMMENT ON FUNCTION outbox.metrics() IS
    'the same as outbox.metrics_rows(), in the text format of Prometheus';
