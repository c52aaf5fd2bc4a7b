-- What relays have counted: figures.c. The views are built upon these.

CREATE OR REPLACE FUNCTION outbox.relay_figures(
        IN relay text,
        OUT stats_reset timestamptz, OUT rate double precision, OUT published bigint, OUT published_bytes bigint,
        OUT failures_cluster bigint, OUT failures_login bigint, OUT failures_topic bigint,
        OUT failures_event bigint, OUT failures_size bigint, OUT failures_invalid bigint,
        OUT dead_letters bigint, OUT expired bigint,
        OUT commit_count bigint, OUT commit_seconds double precision,
        OUT commit_p50 double precision, OUT commit_p95 double precision, OUT commit_p99 double precision,
        OUT sent_count bigint, OUT sent_seconds double precision,
        OUT sent_p50 double precision, OUT sent_p95 double precision, OUT sent_p99 double precision,
        OUT queue_events bigint, OUT queue_bytes bigint,
        OUT round_trip_ms double precision, OUT round_trip_p99_ms double precision,
        OUT throttle_ms double precision, OUT throttle_max_ms double precision)
    RETURNS record
    LANGUAGE c VOLATILE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'outbox_relay_figures';
REVOKE ALL ON FUNCTION outbox.relay_figures(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION outbox.relay_figures(text) TO pg_monitor;
COMMENT ON FUNCTION outbox.relay_figures(text) IS
    'Internal: what a relay has counted since stats_reset; see outbox.stat_relay';

CREATE OR REPLACE FUNCTION outbox.relay_histogram(
        relay text, until text, OUT seconds double precision, OUT events bigint)
    RETURNS SETOF record
    LANGUAGE c VOLATILE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'outbox_relay_histogram';
REVOKE ALL ON FUNCTION outbox.relay_histogram(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION outbox.relay_histogram(text, text) TO pg_monitor;
COMMENT ON FUNCTION outbox.relay_histogram(text, text) IS
    'Internal: how many events a relay had acknowledged within so many seconds from their commit, or from when they were sent';

CREATE OR REPLACE FUNCTION outbox.topic_figures(
        IN relay text,
        OUT topic text, OUT published bigint, OUT bytes bigint, OUT failures bigint, OUT dead_letters bigint,
        OUT last_published_at timestamptz, OUT last_failed_at timestamptz)
    RETURNS SETOF record
    LANGUAGE c VOLATILE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'outbox_topic_figures';
REVOKE ALL ON FUNCTION outbox.topic_figures(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION outbox.topic_figures(text) TO pg_monitor;
COMMENT ON FUNCTION outbox.topic_figures(text) IS 'Internal: the same for each topic; see outbox.stat_topic';

CREATE OR REPLACE VIEW outbox.stat_topic AS
    SELECT r.name AS relay, t.topic, t.published, t.bytes, t.failures, t.dead_letters,
           t.last_published_at, t.last_failed_at
    FROM outbox.relay r CROSS JOIN LATERAL outbox.topic_figures(r.name) t;
REVOKE ALL ON outbox.stat_topic FROM PUBLIC;
GRANT SELECT ON outbox.stat_topic TO pg_monitor;
COMMENT ON VIEW outbox.stat_topic IS
    'what each relay has done with the events of each topic, since stats_reset of outbox.stat_relay';
COMMENT ON COLUMN outbox.stat_topic.topic IS
    'as it is in outbox.event; null: all topics beyond the first hundred, and dead letters whose topic was not looked at';
COMMENT ON COLUMN outbox.stat_topic.published IS 'events that the brokers have acknowledged';
COMMENT ON COLUMN outbox.stat_topic.bytes IS 'of their keys, payloads and headers';
COMMENT ON COLUMN outbox.stat_topic.failures IS 'attempts that have failed';
COMMENT ON COLUMN outbox.stat_topic.dead_letters IS 'dead letters that have been made';

CREATE OR REPLACE FUNCTION outbox.reset_figures(relay text) RETURNS boolean
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'outbox_reset_figures';
REVOKE ALL ON FUNCTION outbox.reset_figures(text) FROM PUBLIC;
COMMENT ON FUNCTION outbox.reset_figures(text) IS 'Internal: see outbox.stat_reset()';

CREATE OR REPLACE FUNCTION outbox.stat_reset(relay text DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    affected bigint;
BEGIN
    PERFORM outbox.require_relay(relay);
    SELECT count(*) FILTER (WHERE outbox.reset_figures(r.name)) INTO affected
        FROM outbox.relay r WHERE relay IS NULL OR r.name = relay;
    PERFORM outbox.write_audit('stat_reset', jsonb_build_object('relay', relay), affected);
END
$$;
REVOKE ALL ON FUNCTION outbox.stat_reset(text) FROM PUBLIC;
COMMENT ON FUNCTION outbox.stat_reset(text) IS
    'lets the figures of a relay, or of all, begin anew: counters and times of outbox.stat_relay and outbox.stat_topic';
