/* sql/outbox--1.0--1.1.sql */

-- complain if script is sourced in psql, rather than via ALTER EXTENSION
\echo Use "ALTER EXTENSION outbox UPDATE TO '1.1'" to load this file. \quit

-- the schema of outbox_emit() may be one in which others can create operators
SET LOCAL search_path = pg_catalog, pg_temp;

-- until the end, as in 1.0: default privileges must not reach what is born here
UPDATE pg_default_acl SET defaclrole = 0 WHERE defaclrole = current_user::regrole;

-- 1.1: storage for years. Segments are used in turn and emptied, positions are
-- appended instead of updated, events can be delayed, expire and be replayed,
-- and a dump has all that is needed to go on.

-- Events

ALTER TABLE outbox.event ADD COLUMN expires_at timestamptz;
COMMENT ON COLUMN outbox.event.expires_at IS 'not published after this time';

-- For operators who look for an event by its name, key, topic or time. A
-- btree on keys would cost each event a random write; this costs a tenth of
-- an emit, and leaves out all but a few pages. Events that were delayed are
-- older than their neighbours: several ranges of times keep them apart.
-- A row in a range of pages that is summarized costs a new summary, more than
-- all the rest of an emit. Nobody summarizes the last range, but for the first
-- one of an empty table: so that is undone, here and when it is emptied.
DO $$
BEGIN
    FOR segment IN 0 .. 7 LOOP
        EXECUTE pg_catalog.format(
            'CREATE INDEX event_%1$s_look ON outbox.event_%1$s'
            ' USING brin (emitted_at pg_catalog.timestamptz_minmax_multi_ops,'
            ' event_id pg_catalog.uuid_minmax_multi_ops,'
            ' key pg_catalog.text_bloom_ops (n_distinct_per_range = -0.2),'
            ' topic pg_catalog.text_bloom_ops (n_distinct_per_range = 100))'
            ' WITH (pages_per_range = 32)',
            segment);
        PERFORM pg_catalog.brin_desummarize_range(
            pg_catalog.format('outbox.event_%s_look', segment)::pg_catalog.regclass, 0);
    END LOOP;
END
$$;

CREATE TABLE outbox.delayed (
    id bigint PRIMARY KEY,
    event_id uuid NOT NULL,
    emitted_at timestamptz NOT NULL,
    topic text NOT NULL,
    key text,
    payload bytea,
    headers jsonb,
    expires_at timestamptz,
    deliver_at timestamptz NOT NULL
);
CREATE INDEX delayed_due ON outbox.delayed (deliver_at, id);
CREATE INDEX delayed_event_id ON outbox.delayed (event_id);
REVOKE ALL ON outbox.delayed FROM PUBLIC;
COMMENT ON TABLE outbox.delayed IS
    'committed events that are not due yet; the relay moves them into outbox.event when they are';
COMMENT ON COLUMN outbox.delayed.id IS 'order among those that are due at the same time; it gets another id then';
COMMENT ON COLUMN outbox.delayed.deliver_at IS 'when it is due';


-- Relays and their positions

-- A row that is updated every second would bloat while somebody holds a
-- snapshot. Rows are appended instead, to one of eight tables, that is
-- emptied together with the segment of the same number.

ALTER TABLE outbox.relay RENAME COLUMN position TO first_position;
ALTER TABLE outbox.relay DROP COLUMN position_at;
COMMENT ON TABLE outbox.relay IS 'relays';
-- nobody else does it for so few rows, and plans would expect a thousand
ANALYZE outbox.relay;
COMMENT ON COLUMN outbox.relay.first_position IS
    'where the relay begins as long as it has no row in outbox.position';

CREATE TABLE outbox.position (
    relay text NOT NULL,
    position bigint NOT NULL,
    written_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    -- rows are in the segments only
    CHECK (false) NO INHERIT
);
REVOKE ALL ON outbox.position FROM PUBLIC;
COMMENT ON TABLE outbox.position IS
    'how far each relay was, and when, about once a second; the highest position is the present one';
COMMENT ON COLUMN outbox.position.position IS
    'every event with an id up to here was acknowledged by Kafka, or parked';
COMMENT ON COLUMN outbox.position.written_at IS 'when that was written';

DO $$
BEGIN
    FOR segment IN 0 .. 7 LOOP
        EXECUTE pg_catalog.format(
            'CREATE TABLE outbox.position_%1$s () INHERITS (outbox.position);'
            'CREATE INDEX position_%1$s_look ON outbox.position_%1$s (relay, position) INCLUDE (written_at);'
            'REVOKE ALL ON outbox.position_%1$s FROM PUBLIC;'
            'COMMENT ON TABLE outbox.position_%1$s IS ''segment of outbox.position''',
            segment);
    END LOOP;
END
$$;

-- Replaced, not made anew: it keeps its privileges, and the views of others
-- that are built on it.
CREATE OR REPLACE VIEW outbox.stat_relay AS
    SELECT COALESCE(r.name, 'default') AS relay,
           s.state,
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
           (SELECT count(*) FROM outbox.parked p WHERE p.relay = r.name AND p.state <> 'dead') AS parked,
           (SELECT count(*) FROM outbox.parked p WHERE p.relay = r.name AND p.state = 'dead') AS dead_letters,
           (SELECT count(*) FROM outbox.parked p
            WHERE p.relay = r.name AND p.state = 'dead' AND p.class = 'expired') AS expired,
           (SELECT count(*) FROM outbox.delayed) AS delayed
    FROM outbox.relay_status() s
         CROSS JOIN outbox.event_id_seq q
         LEFT JOIN outbox.relay r ON r.name = 'default'
         LEFT JOIN LATERAL (
             SELECT GREATEST(max(p.position), r.first_position) AS position
             FROM outbox.position p WHERE p.relay = r.name) w ON true;
COMMENT ON VIEW outbox.stat_relay IS 'each relay: what it is doing and how far it is';
COMMENT ON COLUMN outbox.stat_relay.state IS
    'publishing, unavailable (no broker answers), untrusted (a certificate of theirs), unauthenticated (credentials refused), halted (outbox.on_failure), failing (an error is in the way, see last_error; it is tried again), unconfigured (settings are missing or refused), incompatible (library and extension are of different versions), starting, stopped, disabled';
COMMENT ON COLUMN outbox.stat_relay.position IS
    'every event with an id up to here is acknowledged by Kafka, or parked';
COMMENT ON COLUMN outbox.stat_relay.written_position IS 'where a relay goes on after a crash';
COMMENT ON COLUMN outbox.stat_relay.horizon IS 'events with an id below are committed or gone for good';
COMMENT ON COLUMN outbox.stat_relay.pending_events IS
    'events not yet acknowledged; transactions that failed in their commit may be counted in';
COMMENT ON COLUMN outbox.stat_relay.parked IS 'events being retried, or queued behind one that is';
COMMENT ON COLUMN outbox.stat_relay.dead_letters IS 'events that are not tried again; see outbox.dead_letter';
COMMENT ON COLUMN outbox.stat_relay.expired IS 'dead letters that had expired before their turn';
COMMENT ON COLUMN outbox.stat_relay.delayed IS 'events that are not due yet';
COMMENT ON COLUMN outbox.stat_relay.published IS 'events acknowledged since the server started';


-- Replays

CREATE SEQUENCE outbox.replay_id_seq;
REVOKE ALL ON SEQUENCE outbox.replay_id_seq FROM PUBLIC;
COMMENT ON SEQUENCE outbox.replay_id_seq IS 'ids of replays';

CREATE TABLE outbox.replay_job (
    id bigint PRIMARY KEY DEFAULT pg_catalog.nextval('outbox.replay_id_seq'),
    requested_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    requested_by name NOT NULL DEFAULT session_user,
    first_id bigint NOT NULL,
    last_id bigint NOT NULL,
    since timestamptz,
    until timestamptz,
    topic text,
    key text,
    to_topic text,
    new_timestamp boolean NOT NULL,
    rate integer NOT NULL CHECK (rate > 0),
    state text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'done', 'cancelled')),
    next_id bigint NOT NULL,
    next_at timestamptz NOT NULL DEFAULT '-infinity',
    replayed bigint NOT NULL DEFAULT 0,
    finished_at timestamptz
);
CREATE INDEX replay_job_running ON outbox.replay_job (id) WHERE state = 'running';
REVOKE ALL ON outbox.replay_job FROM PUBLIC;
COMMENT ON TABLE outbox.replay_job IS 'replays, with their conditions and how far they are; see outbox.stat_replay';
COMMENT ON COLUMN outbox.replay_job.new_timestamp IS
    'the copies carry the time when they are made instead of their events'' time';
COMMENT ON COLUMN outbox.replay_job.rate IS 'events a second';
COMMENT ON COLUMN outbox.replay_job.next_id IS 'events up to here have been looked at';
COMMENT ON COLUMN outbox.replay_job.next_at IS 'when to go on, by its rate';

CREATE FUNCTION outbox.replay(
        first_id bigint DEFAULT NULL, last_id bigint DEFAULT NULL,
        since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL,
        topic text DEFAULT NULL, key text DEFAULT NULL,
        to_topic text DEFAULT NULL, rate integer DEFAULT 1000,
        new_timestamp boolean DEFAULT false)
    RETURNS bigint
    LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    job bigint;
    published bigint;
    oldest bigint;
BEGIN
    IF first_id IS NULL AND last_id IS NULL AND since IS NULL AND until IS NULL
       AND topic IS NULL AND key IS NULL THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'outbox.replay() needs at least one condition',
            HINT = 'To replay all that is kept, write first_id => 1.';
    END IF;
    IF rate IS NULL OR rate <= 0 THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'rate must be greater than zero',
            HINT = 'Give the number of events to replay in a second.';
    END IF;
    IF to_topic !~ '^[a-zA-Z0-9._-]{1,249}$' OR to_topic IN ('.', '..') THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('"%s" cannot be the name of a topic', to_topic),
            HINT = 'Kafka allows 249 letters and digits of ASCII, ".", "_" and "-".';
    END IF;
    SELECT min(r.position) INTO published FROM outbox.stat_relay r;
    SELECT min(e.id) INTO oldest FROM outbox.event e;
    INSERT INTO outbox.replay_job (first_id, last_id, next_id, since, until, topic, key, to_topic, new_timestamp, rate)
        VALUES (GREATEST(first_id, oldest, 1), LEAST(last_id, published),
                GREATEST(first_id, oldest, 1), since, until, topic, key, to_topic,
                COALESCE(new_timestamp, false), rate)
        RETURNING id INTO job;
    PERFORM outbox.parked_changed();
    RETURN job;
END
$$;
REVOKE ALL ON FUNCTION outbox.replay(bigint, bigint, timestamptz, timestamptz, text, text, text, integer, boolean) FROM PUBLIC;
COMMENT ON FUNCTION outbox.replay(bigint, bigint, timestamptz, timestamptz, text, text, text, integer, boolean) IS
    'publishes events once more that have been published, with the header outbox_replay; watch it in outbox.stat_replay';

CREATE FUNCTION outbox.cancel_replay(id bigint) RETURNS boolean
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE outbox.replay_job j SET state = 'cancelled', finished_at = clock_timestamp()
        WHERE j.id = cancel_replay.id AND j.state = 'running';
    RETURN FOUND;
END
$$;
REVOKE ALL ON FUNCTION outbox.cancel_replay(bigint) FROM PUBLIC;
COMMENT ON FUNCTION outbox.cancel_replay(bigint) IS
    'ends a replay; false if there is none with that id, or it has ended';

CREATE VIEW outbox.stat_replay AS
    SELECT id, state, requested_at, requested_by, first_id, last_id, since, until,
           topic, key, to_topic, new_timestamp, rate, replayed,
           CASE WHEN state = 'done' OR last_id < first_id THEN 100
                ELSE pg_catalog.round(100.0 * (next_id - first_id) / (last_id - first_id + 1), 1)
           END AS percent,
           finished_at
    FROM outbox.replay_job;
REVOKE ALL ON outbox.stat_replay FROM PUBLIC;
GRANT SELECT ON outbox.stat_replay TO pg_monitor;
COMMENT ON VIEW outbox.stat_replay IS 'replays and how far they are';
COMMENT ON COLUMN outbox.stat_replay.replayed IS 'events that have been emitted again';
COMMENT ON COLUMN outbox.stat_replay.percent IS 'how much of the range of ids has been looked at';


-- Failures

ALTER TABLE outbox.parked ADD COLUMN expires_at timestamptz;
COMMENT ON COLUMN outbox.parked.expires_at IS 'not published after this time';
ALTER TABLE outbox.parked ADD COLUMN whole boolean NOT NULL DEFAULT true;
COMMENT ON COLUMN outbox.parked.whole IS
    'false for a dead letter of which not all could be read: it cannot be requeued';
COMMENT ON COLUMN outbox.parked.announced_at IS
    'when a copy went to outbox.dead_letter_topic; infinity if none can';

-- While something is blocked, rows are added all the time. What tells them
-- apart comes first: a key by its hash, because it may be too long for an
-- index. Names of events grow, so that BRIN is good enough. A replay looks by
-- id alone, to leave out what is parked, of whatever relay.
DROP INDEX outbox.parked_block, outbox.parked_live, outbox.parked_event_id;
ALTER TABLE outbox.parked DROP CONSTRAINT parked_pkey, ADD PRIMARY KEY (id, relay);
CREATE INDEX parked_block ON outbox.parked (hashtextextended(key, 0), topic, relay, id) WHERE state <> 'dead';
CREATE INDEX parked_live ON outbox.parked (id, relay) WHERE state <> 'dead';
CREATE INDEX parked_event_id ON outbox.parked USING brin (event_id) WITH (pages_per_range = 32);
CREATE INDEX parked_expires ON outbox.parked (relay, expires_at) WHERE state <> 'dead' AND expires_at IS NOT NULL;
COMMENT ON COLUMN outbox.parked.class IS
    'whose fault it is: topic, event (for now), size, invalid (for good), or expired';

CREATE TABLE outbox.discarded (
    relay text NOT NULL,
    id bigint NOT NULL,
    discarded_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    PRIMARY KEY (id, relay)
);
REVOKE ALL ON outbox.discarded FROM PUBLIC;
COMMENT ON TABLE outbox.discarded IS
    'dead letters that have been removed while their events are kept: those have not been published';

-- Events that expired have blocked nothing; requeued, they come before later
-- ones of their key like any other.
CREATE FUNCTION outbox.requeue(
        event_id uuid DEFAULT NULL, topic text DEFAULT NULL, key text DEFAULT NULL,
        class text DEFAULT NULL, failed_since timestamptz DEFAULT NULL,
        failed_before timestamptz DEFAULT NULL, new_timestamp boolean DEFAULT false)
    RETURNS TABLE (requeued_event_id uuid, requeued_topic text, requeued_key text)
    LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    PERFORM outbox.parked_changed();
    RETURN QUERY
        WITH requeued AS (
            UPDATE outbox.parked p
            SET state = 'queued', attempts = 0, next_attempt_at = NULL, announced_at = NULL,
                expires_at = NULL,
                blocking = p.blocking
                    OR (p.class = 'expired'
                        AND current_setting('outbox.on_failure', true) IS DISTINCT FROM 'skip'),
                emitted_at = CASE WHEN requeue.new_timestamp THEN clock_timestamp()
                                  ELSE p.emitted_at END
            WHERE p.state = 'dead' AND p.whole
              AND (requeue.event_id IS NULL OR p.event_id = requeue.event_id)
              AND (requeue.topic IS NULL OR p.topic = requeue.topic)
              AND (requeue.key IS NULL OR p.key = requeue.key)
              AND (requeue.class IS NULL OR p.class = requeue.class)
              AND (requeue.failed_since IS NULL OR p.last_failed_at >= requeue.failed_since)
              AND (requeue.failed_before IS NULL OR p.last_failed_at < requeue.failed_before)
            RETURNING p.id, p.event_id, p.topic, p.key)
        SELECT r.event_id, r.topic, r.key FROM requeued r ORDER BY r.id;
END
$$;
REVOKE ALL ON FUNCTION outbox.requeue(uuid, text, text, text, timestamptz, timestamptz, boolean) FROM PUBLIC;
COMMENT ON FUNCTION outbox.requeue(uuid, text, text, text, timestamptz, timestamptz, boolean) IS
    'publishes dead letters after all, in order; without an argument, all of them; with new_timestamp, with the time of the call instead of that of outbox_emit()';

-- The old one goes further below, or stays under another name, if an object of
-- the application is built on it.
CREATE OR REPLACE FUNCTION outbox.requeue(
        event_id uuid DEFAULT NULL, topic text DEFAULT NULL, key text DEFAULT NULL,
        class text DEFAULT NULL, failed_since timestamptz DEFAULT NULL,
        failed_before timestamptz DEFAULT NULL)
    RETURNS TABLE (requeued_event_id uuid, requeued_topic text, requeued_key text)
    LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN QUERY SELECT * FROM outbox.requeue($1, $2, $3, $4, $5, $6, false);
END
$$;

CREATE OR REPLACE FUNCTION outbox.discard(
        event_id uuid DEFAULT NULL, topic text DEFAULT NULL, key text DEFAULT NULL,
        class text DEFAULT NULL, failed_since timestamptz DEFAULT NULL,
        failed_before timestamptz DEFAULT NULL, retrying boolean DEFAULT false)
    RETURNS TABLE (discarded_event_id uuid, discarded_topic text, discarded_key text)
    LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    IF event_id IS NULL AND topic IS NULL AND key IS NULL AND class IS NULL
       AND failed_since IS NULL AND failed_before IS NULL THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'outbox.discard() needs at least one condition',
            HINT = 'To discard all dead letters, write failed_before => now().';
    END IF;
    PERFORM outbox.parked_changed();
    RETURN QUERY
        WITH discarded AS (
            DELETE FROM outbox.parked p
            WHERE (p.state = 'dead' OR discard.retrying)
              AND (discard.event_id IS NULL OR p.event_id = discard.event_id)
              AND (discard.topic IS NULL OR p.topic = discard.topic)
              AND (discard.key IS NULL OR p.key = discard.key)
              AND (discard.class IS NULL OR p.class = discard.class)
              AND (discard.failed_since IS NULL OR p.last_failed_at >= discard.failed_since)
              AND (discard.failed_before IS NULL OR p.last_failed_at < discard.failed_before)
            RETURNING p.relay, p.id, p.event_id, p.topic, p.key),
        noted AS (
            INSERT INTO outbox.discarded (relay, id) SELECT d.relay, d.id FROM discarded d
            ON CONFLICT DO NOTHING)
        SELECT d.event_id, d.topic, d.key FROM discarded d ORDER BY d.id;
END
$$;


-- Storage

CREATE FUNCTION outbox.segment_status(
        OUT segment integer, OUT is_current boolean,
        OUT first_id bigint, OUT first_at timestamptz,
        OUT last_id bigint, OUT last_at timestamptz)
    RETURNS SETOF record
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'outbox_segment_status_1_1';
REVOKE ALL ON FUNCTION outbox.segment_status() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION outbox.segment_status() TO pg_monitor;
COMMENT ON FUNCTION outbox.segment_status() IS
    'the segments of outbox.event: which is written to, and what each holds; see outbox.stat_storage';

CREATE VIEW outbox.stat_storage AS
    SELECT s.segment,
           s.is_current,
           s.first_id,
           s.first_at,
           s.last_id,
           s.last_at,
           pg_catalog.pg_total_relation_size(pg_catalog.format('outbox.event_%s', s.segment)::regclass)
               OPERATOR(pg_catalog.+)
           pg_catalog.pg_total_relation_size(pg_catalog.format('outbox.position_%s', s.segment)::regclass)
               AS bytes,
           CASE WHEN s.last_id IS NULL THEN NULL
                WHEN w.pid IS NULL THEN pg_catalog.format('relay %s', w.relay)
                WHEN w.written_position < s.last_id
                     AND (NOT s.is_current
                          OR GREATEST(s.first_at, w.written_at) + GREATEST('10 s',
                             pg_catalog.current_setting('outbox.retention')::interval)
                             < pg_catalog.now()) THEN pg_catalog.format('relay %s', w.relay)
                WHEN s.is_current THEN 'new events'
                WHEN j.id IS NOT NULL THEN pg_catalog.format('replay %s', j.id)
                WHEN pg_catalog.current_setting('outbox.retention') = '-1' THEN 'outbox.retention'
                WHEN GREATEST(s.last_at, p.written_at) + pg_catalog.current_setting('outbox.retention')::interval
                     > pg_catalog.now() THEN 'outbox.retention'
           END AS kept_for
    FROM outbox.segment_status() s
         LEFT JOIN LATERAL (
             SELECT r.relay, r.pid, r.written_position,
                    (SELECT max(p.written_at) FROM outbox.position p
                     WHERE p.relay = r.relay AND p.position = r.written_position) AS written_at
             FROM outbox.stat_relay r
             ORDER BY r.written_position LIMIT 1) w ON true
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
    'why it is not emptied: new events (it is the current one), a relay (which is behind, or does not run), a replay, outbox.retention; null if it is empty, or will be as soon as nobody has locked it';


-- Emitting

-- The functions get more arguments, or columns. Roles that could call the old
-- ones can call the new ones.

CREATE FUNCTION @extschema@.outbox_emit(
        topic text, key text, payload text, headers jsonb DEFAULT NULL,
        deliver_at timestamptz DEFAULT NULL, deliver_after interval DEFAULT NULL,
        expires_at timestamptz DEFAULT NULL)
    RETURNS uuid
    LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'outbox_emit';
REVOKE ALL ON FUNCTION @extschema@.outbox_emit(text, text, text, jsonb, timestamptz, interval, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION @extschema@.outbox_emit(text, text, text, jsonb, timestamptz, interval, timestamptz) IS
    'emits an event with a payload of text in the current transaction';

CREATE FUNCTION @extschema@.outbox_emit(
        topic text, key text, payload "any", headers jsonb DEFAULT NULL,
        deliver_at timestamptz DEFAULT NULL, deliver_after interval DEFAULT NULL,
        expires_at timestamptz DEFAULT NULL)
    RETURNS uuid
    LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'outbox_emit';
REVOKE ALL ON FUNCTION @extschema@.outbox_emit(text, text, "any", jsonb, timestamptz, interval, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION @extschema@.outbox_emit(text, text, "any", jsonb, timestamptz, interval, timestamptz) IS
    'emits an event with a payload of jsonb, json, bytea or a row in the current transaction';

CREATE FUNCTION @extschema@.outbox_emit(
        topic text, key "any", payload text, headers jsonb DEFAULT NULL,
        deliver_at timestamptz DEFAULT NULL, deliver_after interval DEFAULT NULL,
        expires_at timestamptz DEFAULT NULL)
    RETURNS uuid
    LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'outbox_emit';
REVOKE ALL ON FUNCTION @extschema@.outbox_emit(text, "any", text, jsonb, timestamptz, interval, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION @extschema@.outbox_emit(text, "any", text, jsonb, timestamptz, interval, timestamptz) IS
    'emits an event with a key of integer, bigint or uuid in the current transaction';

CREATE FUNCTION @extschema@.outbox_emit(
        topic text, key "any", payload "any", headers jsonb DEFAULT NULL,
        deliver_at timestamptz DEFAULT NULL, deliver_after interval DEFAULT NULL,
        expires_at timestamptz DEFAULT NULL)
    RETURNS uuid
    LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'outbox_emit';
REVOKE ALL ON FUNCTION @extschema@.outbox_emit(text, "any", "any", jsonb, timestamptz, interval, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION @extschema@.outbox_emit(text, "any", "any", jsonb, timestamptz, interval, timestamptz) IS
    'emits an event with a key of integer, bigint or uuid, and a payload of jsonb, json, bytea or a row, in the current transaction';

ALTER FUNCTION outbox.emitted() RENAME TO emitted_1_0;
CREATE FUNCTION outbox.emitted(
        OUT event_id uuid, OUT emitted_at timestamptz, OUT topic text,
        OUT key text, OUT payload bytea, OUT headers jsonb,
        OUT expires_at timestamptz, OUT deliver_at timestamptz)
    RETURNS SETOF record
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'outbox_emitted_1_1';
REVOKE ALL ON FUNCTION outbox.emitted() FROM PUBLIC;
COMMENT ON FUNCTION outbox.emitted() IS
    'events that the current transaction has emitted and not rolled back, in order';

-- An old function that a view or another object of the application is built on
-- stays, under another name.
DO $$
DECLARE
    old record;
    acl record;
BEGIN
    FOR old IN
        WITH members AS (
            SELECT p.* FROM pg_catalog.pg_proc p
            JOIN pg_catalog.pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
                AND d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass
            JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid AND e.extname = 'outbox')
        SELECT p.oid, p.oid::regprocedure AS signature, p.proname, p.proacl, p.proowner,
               n.oid::regprocedure AS replacement
        FROM members p
        JOIN members n ON n.pronamespace = p.pronamespace
        WHERE (p.oid = 'outbox.emitted_1_0()'::regprocedure AND n.oid = 'outbox.emitted()'::regprocedure)
           OR (p.proname = 'outbox_emit' AND p.pronargs = 4
               AND n.proname = 'outbox_emit' AND n.pronargs = 7
               AND n.proargtypes[1] = p.proargtypes[1]
               AND n.proargtypes[2] = p.proargtypes[2])
           OR (p.proname = 'requeue' AND p.pronargs = 6
               AND n.proname = 'requeue' AND n.pronargs = 7)
    LOOP
        FOR acl IN
            SELECT a.grantee, a.is_grantable FROM pg_catalog.aclexplode(old.proacl) a
            WHERE a.grantee <> old.proowner
        LOOP
            EXECUTE pg_catalog.format('GRANT EXECUTE ON FUNCTION %s TO %s%s', old.replacement,
                CASE WHEN acl.grantee = 0 THEN 'PUBLIC' ELSE acl.grantee::regrole::text END,
                CASE WHEN acl.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END);
        END LOOP;
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                       WHERE d.refclassid = 'pg_proc'::regclass AND d.refobjid = old.oid) THEN
            EXECUTE pg_catalog.format('DROP FUNCTION %s', old.signature);
        ELSIF old.proname <> 'emitted_1_0' THEN
            EXECUTE pg_catalog.format('ALTER FUNCTION %s RENAME TO %I', old.signature,
                old.proname || '_1_0');
        END IF;
    END LOOP;
END
$$;

-- The same functions under the schema outbox, where nobody else can define a
-- closer one, and which goes with nothing but the extension.
DO $$
DECLARE
    twin record;
    acl record;
BEGIN
    FOR twin IN
        SELECT p.proowner, p.proacl, p.probin,
               pg_catalog.pg_get_function_arguments(p.oid) AS arguments,
               pg_catalog.obj_description(p.oid, 'pg_proc') AS comment,
               pg_catalog.format('outbox.emit(text, %s, %s, jsonb, timestamptz, interval, timestamptz)',
                   p.proargtypes[1]::regtype, p.proargtypes[2]::regtype) AS signature
        FROM pg_catalog.pg_proc p
        JOIN pg_catalog.pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
            AND d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass
        JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid AND e.extname = 'outbox'
        WHERE p.proname = 'outbox_emit' AND p.pronargs = 7
    LOOP
        EXECUTE pg_catalog.format(
            'CREATE FUNCTION outbox.emit(%s) RETURNS uuid'
            ' LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE AS %L, ''outbox_emit''',
            twin.arguments, twin.probin);
        EXECUTE pg_catalog.format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', twin.signature);
        EXECUTE pg_catalog.format('COMMENT ON FUNCTION %s IS %L', twin.signature, twin.comment);
        FOR acl IN
            SELECT a.grantee, a.is_grantable FROM pg_catalog.aclexplode(twin.proacl) a
            WHERE a.grantee <> twin.proowner
        LOOP
            EXECUTE pg_catalog.format('GRANT EXECUTE ON FUNCTION %s TO %s%s', twin.signature,
                CASE WHEN acl.grantee = 0 THEN 'PUBLIC' ELSE acl.grantee::regrole::text END,
                CASE WHEN acl.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END);
        END LOOP;
    END LOOP;
END
$$;

CREATE OR REPLACE FUNCTION outbox.grant_emit(role regrole) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    signature regprocedure;
BEGIN
    FOR signature IN
        SELECT d.objid::regprocedure
        FROM pg_depend d
        JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
        JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
        WHERE e.extname = 'outbox' AND p.proname IN ('outbox_emit', 'emit', 'emitted')
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', signature, role);
    END LOOP;
    EXECUTE format('GRANT USAGE ON SCHEMA outbox TO %s', role);
END
$$;
COMMENT ON FUNCTION outbox.grant_emit(regrole) IS
    'lets a role call outbox_emit() and outbox.emit(), under all their signatures, and outbox.emitted()';

CREATE FUNCTION outbox.cancel_delayed(event_id uuid) RETURNS boolean
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM outbox.delayed d WHERE d.event_id = cancel_delayed.event_id;
    RETURN FOUND;
END
$$;
REVOKE ALL ON FUNCTION outbox.cancel_delayed(uuid) FROM PUBLIC;
COMMENT ON FUNCTION outbox.cancel_delayed(uuid) IS
    'removes an event that is not due yet; false if there is none';


-- Looking for events

CREATE VIEW outbox.event_status AS
    SELECT e.event_id, e.id, e.topic, e.key, e.emitted_at, r.relay,
           CASE WHEN p.state = 'dead' AND p.class = 'expired' THEN 'expired'
                WHEN p.state = 'dead' THEN 'dead'
                WHEN p.id IS NOT NULL THEN 'retrying'
                WHEN d.id IS NOT NULL THEN 'discarded'
                WHEN e.id <= r.position THEN 'published'
                ELSE 'pending' END AS status,
           CASE WHEN p.id IS NOT NULL THEN p.last_failed_at
                WHEN d.id IS NOT NULL THEN d.discarded_at
                ELSE (SELECT w.written_at FROM outbox.position w
                      WHERE w.relay = r.relay AND w.position >= e.id
                      ORDER BY w.position LIMIT 1) END AS status_at,
           p.next_attempt_at, p.attempts, p.error
    FROM outbox.event e
         CROSS JOIN outbox.stat_relay r
         -- for each event by index: the planner would read all of them
         LEFT JOIN LATERAL (
             SELECT p.* FROM outbox.parked p
             WHERE p.relay = r.relay AND p.id = e.id OFFSET 0) p ON true
         LEFT JOIN LATERAL (
             SELECT d.* FROM outbox.discarded d
             WHERE d.relay = r.relay AND d.id = e.id OFFSET 0) d ON true
    -- true; the planner thinks that it needs all pages for a key that is
    -- everywhere, unless there is a condition on what is in order, too
    WHERE e.emitted_at > '-infinity'
    UNION ALL
    SELECT p.event_id, p.id, p.topic, p.key, p.emitted_at, p.relay,
           CASE WHEN p.state = 'dead' AND p.class = 'expired' THEN 'expired'
                WHEN p.state = 'dead' THEN 'dead'
                ELSE 'retrying' END,
           p.last_failed_at, p.next_attempt_at, p.attempts, p.error
    FROM outbox.parked p
    WHERE NOT EXISTS (SELECT FROM outbox.event e WHERE e.id = p.id)
    UNION ALL
    SELECT d.event_id, NULL, d.topic, d.key, d.emitted_at, NULL,
           'delayed', d.deliver_at, NULL, NULL, NULL
    FROM outbox.delayed d;
REVOKE ALL ON outbox.event_status FROM PUBLIC;
GRANT SELECT ON outbox.event_status TO pg_monitor;
COMMENT ON VIEW outbox.event_status IS
    'what became of each event that is kept; filter by event_id, key, topic, emitted_at or id';
COMMENT ON COLUMN outbox.event_status.status IS
    'delayed (not due yet), pending, published, retrying (has failed, or waits behind one that has), dead, expired, discarded';
COMMENT ON COLUMN outbox.event_status.status_at IS
    'since when; for published, to about a second; for delayed, when it is due';


-- Dump and restore

-- While a session loads rows, no relay may run: positions, events and what the
-- relay makes events of come one by one, in any order.
CREATE FUNCTION outbox.keep_relay_away() RETURNS trigger
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'outbox_keep_relay_away_1_1';
REVOKE ALL ON FUNCTION outbox.keep_relay_away() FROM PUBLIC;
COMMENT ON FUNCTION outbox.keep_relay_away() IS
    'ends the relay, and lets it start again when this session has ended';

-- The row of the relay is there already when that of the dump comes.
CREATE FUNCTION outbox.merge_relay() RETURNS trigger
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    UPDATE outbox.relay r SET first_position = NEW.first_position WHERE r.name = NEW.name;
    RETURN CASE WHEN NOT FOUND THEN NEW END;
END
$$;
REVOKE ALL ON FUNCTION outbox.merge_relay() FROM PUBLIC;
COMMENT ON FUNCTION outbox.merge_relay() IS 'lets a restored row of outbox.relay replace the present one';
CREATE TRIGGER merge BEFORE INSERT ON outbox.relay
    FOR EACH ROW EXECUTE FUNCTION outbox.merge_relay();

-- A job that was not made just now comes from a dump.
CREATE TRIGGER loading AFTER INSERT ON outbox.replay_job
    FOR EACH ROW WHEN (NEW.requested_at OPERATOR(pg_catalog.<>) pg_catalog.now())
    EXECUTE FUNCTION outbox.keep_relay_away();

DO $$
DECLARE
    name text;
BEGIN
    FOR name IN
        SELECT pg_catalog.format('%s_%s', t, n)
        FROM pg_catalog.unnest(ARRAY['event', 'position']) t, pg_catalog.generate_series(0, 7) n
        UNION ALL VALUES ('delayed'), ('parked')
    LOOP
        EXECUTE pg_catalog.format(
            'CREATE TRIGGER loading BEFORE INSERT ON outbox.%s'
            ' FOR EACH STATEMENT EXECUTE FUNCTION outbox.keep_relay_away()',
            name);
        PERFORM pg_catalog.pg_extension_config_dump(
            pg_catalog.format('outbox.%s', name)::regclass, '');
    END LOOP;
    FOREACH name IN ARRAY ARRAY['relay', 'discarded', 'replay_job',
                                'event_id_seq', 'replay_id_seq'] LOOP
        PERFORM pg_catalog.pg_extension_config_dump(
            pg_catalog.format('outbox.%s', name)::regclass, '');
    END LOOP;
END
$$;


-- Logical replication

-- Core does not bring rows of ours, see src/subscription.c; other tools might.
CREATE FUNCTION outbox.skip_replicated() RETURNS trigger
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'outbox_skip_replicated_1_1';
REVOKE ALL ON FUNCTION outbox.skip_replicated() FROM PUBLIC;
COMMENT ON FUNCTION outbox.skip_replicated() IS
    'skips rows that come from another database by logical replication';

DO $$
DECLARE
    name regclass;
BEGIN
    FOR name IN
        SELECT c.oid FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid
            AND d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass
        JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid AND e.extname = 'outbox'
        WHERE c.relkind = 'r'
    LOOP
        EXECUTE pg_catalog.format(
            'CREATE TRIGGER replicated BEFORE INSERT OR UPDATE OR DELETE ON %1$s'
            ' FOR EACH ROW EXECUTE FUNCTION outbox.skip_replicated();'
            'CREATE TRIGGER replicated_truncate BEFORE TRUNCATE ON %1$s'
            ' FOR EACH STATEMENT EXECUTE FUNCTION outbox.skip_replicated();'
            'ALTER TABLE %1$s ENABLE REPLICA TRIGGER replicated,'
            ' ENABLE REPLICA TRIGGER replicated_truncate',
            name);
    END LOOP;
END
$$;


-- what was set aside
UPDATE pg_default_acl SET defaclrole = current_user::regrole WHERE defaclrole = 0;
