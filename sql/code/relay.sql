CREATE OR REPLACE FUNCTION outbox.relays_changed() RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'outbox_relays_changed';
REVOKE ALL ON FUNCTION outbox.relays_changed() FROM PUBLIC;
COMMENT ON FUNCTION outbox.relays_changed() IS
    'Internal: lets the relays look at outbox.relay again once the transaction has committed';

CREATE OR REPLACE FUNCTION outbox.topic_matches(topic text, topics text[], excluding text[]) RETURNS boolean
    LANGUAGE c IMMUTABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'outbox_topic_matches';
REVOKE ALL ON FUNCTION outbox.topic_matches(text, text[], text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION outbox.topic_matches(text, text[], text[]) TO pg_monitor;
COMMENT ON FUNCTION outbox.topic_matches(text, text[], text[]) IS
    'Internal: whether a topic matches one of some patterns (null: any topic does), and none of others; a * stands for any characters';

CREATE OR REPLACE FUNCTION outbox.relay_status(
        IN relay text DEFAULT 'default',
        OUT state text, OUT state_since timestamptz, OUT pid integer,
        OUT "position" bigint, OUT horizon bigint, OUT published bigint,
        OUT last_error text, OUT last_error_at timestamptz)
    RETURNS record
    LANGUAGE c VOLATILE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'outbox_relay_status';
REVOKE ALL ON FUNCTION outbox.relay_status(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION outbox.relay_status(text) TO pg_monitor;
COMMENT ON FUNCTION outbox.relay_status(text) IS
    'Internal: a relay of this database as it is now; see outbox.stat_relay';

CREATE OR REPLACE VIEW outbox.stat_relay AS
    SELECT r.name AS relay,
           CASE WHEN s.state = 'stopped' AND r.paused_at IS NOT NULL THEN 'paused' ELSE s.state END AS state,
           s.state_since,
           s.pid,
           COALESCE(s.position, w.position) AS position,
           w.position AS written_position,
           s.horizon,
           GREATEST(q.last_value - (NOT q.is_called)::integer - COALESCE(s.position, w.position), 0)
               AS pending_events,
           s.published,
           s.last_error,
           s.last_error_at,
           (SELECT count(*) FROM outbox.parked p WHERE p.relay = r.name AND p.state = 'retrying') AS retrying,
           (SELECT count(*) FROM outbox.parked p WHERE p.relay = r.name AND p.state = 'waiting') AS waiting,
           (SELECT count(*) FROM outbox.parked p WHERE p.relay = r.name AND p.state = 'dead') AS dead_letters,
           (SELECT count(*) FROM outbox.parked p
            WHERE p.relay = r.name AND p.state = 'dead' AND p.class = 'expired') AS expired,
           (SELECT count(*) FROM outbox.delayed) AS delayed,
           r.paused_at,
           r.paused_by,
           r.pause_reason,
           -- Nothing volatile here: event_status would no longer use indexes. A
           -- copy of a replay is as old as its event. Where the next ones are
           -- none of its own, the age of those that have been looked at is the
           -- highest that there can be.
           (SELECT COALESCE(GREATEST(extract(epoch FROM statement_timestamp()
                       - COALESCE(min(e.emitted_at) FILTER (WHERE e.its),
                                  max(e.emitted_at) FILTER (WHERE e.n = 100))), 0), 0)
            FROM (SELECT e.emitted_at, row_number() OVER (ORDER BY e.id) AS n,
                         outbox.topic_matches(e.topic, r.topics, r.excluding)
                         AND COALESCE(NOT e.headers ?| '{outbox_replay,outbox_relay}', true) AS its
                  FROM outbox.event e
                  WHERE e.id > COALESCE(s.position, w.position) ORDER BY e.id LIMIT 100) e)::double precision
               AS lag_seconds,
           f.stats_reset,
           f.rate,
           f.published_bytes,
           f.failures_cluster + f.failures_login + f.failures_topic + f.failures_event + f.failures_size
               + f.failures_invalid AS failures,
           f.commit_p50, f.commit_p95, f.commit_p99,
           f.sent_p50, f.sent_p95, f.sent_p99,
           f.queue_events, f.queue_bytes,
           f.round_trip_ms, f.round_trip_p99_ms,
           f.throttle_ms, f.throttle_max_ms
    FROM (SELECT name, first_position, paused_at, paused_by, pause_reason, topics, excluding FROM outbox.relay
          UNION ALL
          -- one that has lost its row is shown, with the error that it causes
          SELECT 'default', NULL, NULL, NULL, NULL, NULL, NULL WHERE NOT EXISTS (SELECT FROM outbox.relay)) r
         CROSS JOIN LATERAL outbox.relay_status(r.name) s
         CROSS JOIN LATERAL outbox.relay_figures(r.name) f
         CROSS JOIN outbox.event_id_seq q
         LEFT JOIN LATERAL (
             SELECT GREATEST(max(p.position), r.first_position) AS position
             FROM outbox.position p WHERE p.relay = r.name) w ON true;
REVOKE ALL ON outbox.stat_relay FROM PUBLIC;
GRANT SELECT ON outbox.stat_relay TO pg_monitor;
COMMENT ON VIEW outbox.stat_relay IS 'each relay: what it is doing and how far it is';
COMMENT ON COLUMN outbox.stat_relay.state IS
    'publishing, unavailable (no broker answers), untrusted (a certificate of theirs), unauthenticated (credentials refused), halted (outbox.on_failure), paused (outbox.pause()), failing (an error is in the way, see last_error; it is tried again), unconfigured (settings are missing or refused), incompatible (library and extension are of different versions), starting, idle (nothing to do: outbox.idle_timeout), stopped, disabled';
COMMENT ON COLUMN outbox.stat_relay.position IS
    'every event with an id up to here is acknowledged by Kafka, or parked';
COMMENT ON COLUMN outbox.stat_relay.written_position IS 'where a relay goes on after a crash';
COMMENT ON COLUMN outbox.stat_relay.horizon IS 'events with an id below are committed or gone for good';
COMMENT ON COLUMN outbox.stat_relay.pending_events IS
    'events not yet acknowledged; transactions that failed in their commit may be counted in';
COMMENT ON COLUMN outbox.stat_relay.retrying IS 'events that have failed, and are tried again';
COMMENT ON COLUMN outbox.stat_relay.waiting IS 'events that wait behind one that is retrying, or have been requeued';
COMMENT ON COLUMN outbox.stat_relay.dead_letters IS 'events that are not tried again; see outbox.dead_letter';
COMMENT ON COLUMN outbox.stat_relay.expired IS 'dead letters that had expired before their turn';
COMMENT ON COLUMN outbox.stat_relay.delayed IS 'events that are not due yet';
COMMENT ON COLUMN outbox.stat_relay.paused_at IS 'when it was paused; null if it is not';
COMMENT ON COLUMN outbox.stat_relay.lag_seconds IS
    'age of the oldest event that is not published, since outbox_emit() was called; 0 if there is none';
COMMENT ON COLUMN outbox.stat_relay.stats_reset IS
    'since when is counted what follows; null if it has not run since the server started';
COMMENT ON COLUMN outbox.stat_relay.rate IS 'events acknowledged a second, over the last ten';
COMMENT ON COLUMN outbox.stat_relay.published_bytes IS 'of keys, payloads and headers';
COMMENT ON COLUMN outbox.stat_relay.failures IS 'attempts to publish an event that have failed';
COMMENT ON COLUMN outbox.stat_relay.commit_p50 IS
    'half of the events were acknowledged within so many ms from their commit; of one that waited long, from the call of outbox_emit()';
COMMENT ON COLUMN outbox.stat_relay.commit_p95 IS 'likewise 95 percent';
COMMENT ON COLUMN outbox.stat_relay.commit_p99 IS 'likewise 99 percent';
COMMENT ON COLUMN outbox.stat_relay.sent_p50 IS 'half of them within so many ms from when the client library had them';
COMMENT ON COLUMN outbox.stat_relay.sent_p95 IS 'likewise 95 percent';
COMMENT ON COLUMN outbox.stat_relay.sent_p99 IS 'likewise 99 percent';
COMMENT ON COLUMN outbox.stat_relay.queue_events IS 'events that the client library has, sent or not';
COMMENT ON COLUMN outbox.stat_relay.queue_bytes IS 'memory that the window takes';
COMMENT ON COLUMN outbox.stat_relay.round_trip_ms IS 'of a request with events, on average, lately';
COMMENT ON COLUMN outbox.stat_relay.round_trip_p99_ms IS 'of 99 percent of them';
COMMENT ON COLUMN outbox.stat_relay.throttle_ms IS 'how long requests waited for a quota, on average';
COMMENT ON COLUMN outbox.stat_relay.throttle_max_ms IS 'at most';
COMMENT ON COLUMN outbox.stat_relay.published IS 'events acknowledged since the server started';

CREATE OR REPLACE FUNCTION outbox.wait_published(
        timeout interval DEFAULT '1 minute', relay text DEFAULT NULL)
    RETURNS boolean
    LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'outbox_wait_published';
REVOKE ALL ON FUNCTION outbox.wait_published(interval, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION outbox.wait_published(interval, text) TO pg_monitor;
COMMENT ON FUNCTION outbox.wait_published(interval, text) IS
    'waits until everything committed before the call is acknowledged by Kafka, or parked: by all relays, or by one; false if that takes longer';
