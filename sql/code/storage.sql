CREATE OR REPLACE FUNCTION outbox.segment_status(
        OUT segment integer, OUT is_current boolean,
        OUT first_id bigint, OUT first_at timestamptz,
        OUT last_id bigint, OUT last_at timestamptz)
    RETURNS SETOF record
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'outbox_segment_status';
REVOKE ALL ON FUNCTION outbox.segment_status() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION outbox.segment_status() TO pg_monitor;
COMMENT ON FUNCTION outbox.segment_status() IS
    'Internal: the segments of outbox.event: which is written to, and what each holds; see outbox.stat_storage';

CREATE OR REPLACE VIEW outbox.stat_storage AS
    WITH relay AS MATERIALIZED (
        SELECT r.relay, r.state, r.pid, r.written_position FROM outbox.stat_relay r
    )
    SELECT s.segment,
           s.is_current,
           s.first_id,
           s.first_at,
           s.last_id,
           s.last_at,
           pg_total_relation_size(format('outbox.event_%s', s.segment)::regclass)
               +
           pg_total_relation_size(format('outbox.position_%s', s.segment)::regclass)
               AS bytes,
           CASE WHEN s.last_id IS NULL THEN NULL
                WHEN w.none_runs THEN w.why
                WHEN w.written_position < s.last_id
                     AND (NOT s.is_current
                          OR GREATEST(s.first_at, w.written_at) + GREATEST('10 s',
                             current_setting('outbox.retention')::interval)
                             < now()) THEN w.why
                WHEN s.is_current THEN 'new events'
                WHEN j.id IS NOT NULL THEN format('replay %s', j.id)
                WHEN current_setting('outbox.retention') = '-1' THEN 'outbox.retention'
                WHEN GREATEST(s.last_at, p.written_at) + current_setting('outbox.retention')::interval
                     > now() THEN 'outbox.retention'
           END AS kept_for
    FROM outbox.segment_status() s
         LEFT JOIN LATERAL (
             SELECT r.relay, r.written_position,
                    format(CASE r.state WHEN 'publishing' THEN 'relay %s' ELSE 'relay %s (%s)' END,
                           r.relay, r.state) AS why,
                    NOT EXISTS (SELECT FROM relay WHERE pid IS NOT NULL OR state = 'idle') AS none_runs,
                    (SELECT max(p.written_at) FROM outbox.position p
                     WHERE p.relay = r.relay AND p.position = r.written_position) AS written_at
             FROM relay r
             ORDER BY r.written_position, r.relay LIMIT 1) w ON true
         LEFT JOIN LATERAL (
             SELECT j.id FROM outbox.replay_job j
             WHERE j.state = 'running' AND j.next_id <= s.last_id
             ORDER BY j.id LIMIT 1) j ON true
         LEFT JOIN LATERAL (
             SELECT p.written_at FROM outbox.position p
             WHERE p.relay = w.relay AND p.position >= s.last_id
             ORDER BY p.position LIMIT 1) p ON true;
REVOKE ALL ON outbox.stat_storage FROM PUBLIC;
GRANT SELECT ON outbox.stat_storage TO pg_monitor;
COMMENT ON VIEW outbox.stat_storage IS
    'the segments of outbox.event: what each holds, how large it is, and what keeps it';
COMMENT ON COLUMN outbox.stat_storage.is_current IS 'new events are written to it';
COMMENT ON COLUMN outbox.stat_storage.kept_for IS
    'why it is not emptied: new events (it is the current one), a relay (the one that is furthest behind, with its state unless it publishes), a replay, outbox.retention; null if it is empty, or will be as soon as nobody has locked it';
