/* sql/outbox--1.0.sql */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION outbox" to load this file. \quit

-- the schema of outbox_emit() may be one in which others can create operators
SET LOCAL search_path = pg_catalog, pg_temp;

-- What is born here belongs to nobody but the owner: each object's privileges
-- are revoked from PUBLIC where it is created, and what ALTER DEFAULT PRIVILEGES
-- would grant to others is set aside while the script runs.

UPDATE pg_default_acl SET defaclrole = 0 WHERE defaclrole = current_user::regrole;

CREATE SCHEMA outbox;
REVOKE ALL ON SCHEMA outbox FROM PUBLIC;
GRANT USAGE ON SCHEMA outbox TO pg_monitor;
COMMENT ON SCHEMA outbox IS 'transactional outbox: events, relays and their state';


-- Tables

CREATE TABLE outbox.event (
    id bigint NOT NULL,
    event_id uuid NOT NULL,
    emitted_at timestamptz NOT NULL,
    topic text NOT NULL,
    key text,
    payload bytea,
    headers jsonb,
    -- rows are in the segments only
    CHECK (false) NO INHERIT
);
REVOKE ALL ON outbox.event FROM PUBLIC;
COMMENT ON TABLE outbox.event IS
    'the outbox: committed events, kept in segments; written by outbox_emit() only, never updated';
COMMENT ON COLUMN outbox.event.id IS 'place in the order in which events are published';
COMMENT ON COLUMN outbox.event.event_id IS 'name of the event in the world, by which consumers recognise a repetition';
COMMENT ON COLUMN outbox.event.emitted_at IS 'when outbox_emit() was called';
COMMENT ON COLUMN outbox.event.topic IS 'Kafka topic';
COMMENT ON COLUMN outbox.event.key IS 'Kafka key; events of one key stay in order';
COMMENT ON COLUMN outbox.event.payload IS 'Kafka value; null is a tombstone';
COMMENT ON COLUMN outbox.event.headers IS 'Kafka headers';

DO $$
BEGIN
    FOR segment IN 0 .. 7 LOOP
        EXECUTE pg_catalog.format(
            'CREATE TABLE outbox.event_%1$s (PRIMARY KEY (id)) INHERITS (outbox.event);'
            'REVOKE ALL ON outbox.event_%1$s FROM PUBLIC;'
            'COMMENT ON TABLE outbox.event_%1$s IS ''segment of outbox.event''',
            segment);
    END LOOP;
END
$$;

CREATE TABLE outbox.relay (
    name text PRIMARY KEY,
    position bigint NOT NULL DEFAULT 0,
    position_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
REVOKE ALL ON outbox.relay FROM PUBLIC;
COMMENT ON TABLE outbox.relay IS 'relays and how far each has published';
COMMENT ON COLUMN outbox.relay.name IS 'name of the relay';
COMMENT ON COLUMN outbox.relay.position IS
    'every event with an id up to here is acknowledged by Kafka; written about once a second';
COMMENT ON COLUMN outbox.relay.position_at IS 'when the position was written';

CREATE TABLE outbox.parked (
    relay text NOT NULL,
    id bigint NOT NULL,
    event_id uuid NOT NULL,
    emitted_at timestamptz NOT NULL,
    topic text NOT NULL,
    key text,
    payload bytea,
    headers jsonb,
    state text NOT NULL CHECK (state IN ('retrying', 'queued', 'dead')),
    blocking boolean NOT NULL,
    class text,
    error text,
    attempts integer NOT NULL DEFAULT 0,
    first_failed_at timestamptz,
    last_failed_at timestamptz,
    next_attempt_at timestamptz,
    announced_at timestamptz,
    PRIMARY KEY (relay, id)
);
CREATE INDEX parked_block ON outbox.parked (relay, topic, key, id) WHERE state <> 'dead';
CREATE INDEX parked_live ON outbox.parked (relay, id) WHERE state <> 'dead';
CREATE INDEX parked_retrying ON outbox.parked (relay, topic, id) WHERE state = 'retrying' AND class = 'topic';
CREATE INDEX parked_dead ON outbox.parked (relay, last_failed_at) WHERE state = 'dead';
CREATE INDEX parked_unannounced ON outbox.parked (relay, id) WHERE state = 'dead' AND announced_at IS NULL;
CREATE INDEX parked_event_id ON outbox.parked (event_id);
REVOKE ALL ON outbox.parked FROM PUBLIC;
COMMENT ON TABLE outbox.parked IS
    'events that could not be published: copies of those that are tried again, wait behind them, or are dead letters';
COMMENT ON COLUMN outbox.parked.relay IS 'relay that could not publish it';
COMMENT ON COLUMN outbox.parked.state IS
    'retrying: has failed, is tried again; queued: waits behind it; dead: is not tried again';
COMMENT ON COLUMN outbox.parked.blocking IS 'later events of its key wait for it';
COMMENT ON COLUMN outbox.parked.class IS
    'whose fault it is: topic, event (for now), size, invalid (for good)';
COMMENT ON COLUMN outbox.parked.error IS 'in the broker''s words';
COMMENT ON COLUMN outbox.parked.attempts IS 'how often it has been tried';
COMMENT ON COLUMN outbox.parked.announced_at IS 'when a copy went to outbox.dead_letter_topic';

CREATE SEQUENCE outbox.event_id_seq;
REVOKE ALL ON SEQUENCE outbox.event_id_seq FROM PUBLIC;
COMMENT ON SEQUENCE outbox.event_id_seq IS 'ids of events; locking it keeps DROP EXTENSION out';

CREATE FUNCTION outbox.first_id() RETURNS bigint
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'outbox_first_id_1_0';
SELECT pg_catalog.setval('outbox.event_id_seq', outbox.first_id(), false);
INSERT INTO outbox.relay (name, position)
    SELECT 'default', s.last_value OPERATOR(pg_catalog.-) 1 FROM outbox.event_id_seq s;
DROP FUNCTION outbox.first_id();


-- Emitting

-- One C function under four signatures: a literal or a parameter of unknown
-- type finds one with text in its place, whatever the other arguments are.

CREATE FUNCTION @extschema@.outbox_emit(topic text, key text, payload text, headers jsonb DEFAULT NULL)
    RETURNS uuid
    LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'outbox_emit';
REVOKE ALL ON FUNCTION @extschema@.outbox_emit(text, text, text, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION @extschema@.outbox_emit(text, text, text, jsonb) IS
    'emits an event with a payload of text in the current transaction';

CREATE FUNCTION @extschema@.outbox_emit(topic text, key text, payload "any", headers jsonb DEFAULT NULL)
    RETURNS uuid
    LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'outbox_emit';
REVOKE ALL ON FUNCTION @extschema@.outbox_emit(text, text, "any", jsonb) FROM PUBLIC;
COMMENT ON FUNCTION @extschema@.outbox_emit(text, text, "any", jsonb) IS
    'emits an event with a payload of jsonb, json, bytea or a row in the current transaction';

CREATE FUNCTION @extschema@.outbox_emit(topic text, key "any", payload text, headers jsonb DEFAULT NULL)
    RETURNS uuid
    LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'outbox_emit';
REVOKE ALL ON FUNCTION @extschema@.outbox_emit(text, "any", text, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION @extschema@.outbox_emit(text, "any", text, jsonb) IS
    'emits an event with a key of integer, bigint or uuid in the current transaction';

CREATE FUNCTION @extschema@.outbox_emit(topic text, key "any", payload "any", headers jsonb DEFAULT NULL)
    RETURNS uuid
    LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'outbox_emit';
REVOKE ALL ON FUNCTION @extschema@.outbox_emit(text, "any", "any", jsonb) FROM PUBLIC;
COMMENT ON FUNCTION @extschema@.outbox_emit(text, "any", "any", jsonb) IS
    'emits an event with a key of integer, bigint or uuid, and a payload of jsonb, json, bytea or a row, in the current transaction';

CREATE FUNCTION outbox.emitted(
        OUT event_id uuid, OUT emitted_at timestamptz, OUT topic text,
        OUT key text, OUT payload bytea, OUT headers jsonb)
    RETURNS SETOF record
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'outbox_emitted_1_0';
REVOKE ALL ON FUNCTION outbox.emitted() FROM PUBLIC;
COMMENT ON FUNCTION outbox.emitted() IS
    'events that the current transaction has emitted and not rolled back, in order';

CREATE FUNCTION outbox.grant_emit(role regrole) RETURNS void
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
        WHERE e.extname = 'outbox' AND p.proname = 'outbox_emit'
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', signature, role);
    END LOOP;
    EXECUTE format('GRANT USAGE ON SCHEMA outbox TO %s', role);
    EXECUTE format('GRANT EXECUTE ON FUNCTION outbox.emitted() TO %s', role);
END
$$;
REVOKE ALL ON FUNCTION outbox.grant_emit(regrole) FROM PUBLIC;
COMMENT ON FUNCTION outbox.grant_emit(regrole) IS
    'lets a role call outbox_emit(), under all its signatures, and outbox.emitted()';


-- Looking

CREATE FUNCTION outbox.relay_status(
        OUT state text, OUT state_since timestamptz, OUT pid integer,
        OUT "position" bigint, OUT horizon bigint, OUT published bigint,
        OUT last_error text, OUT last_error_at timestamptz)
    RETURNS record
    LANGUAGE c VOLATILE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'outbox_relay_status_1_0';
REVOKE ALL ON FUNCTION outbox.relay_status() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION outbox.relay_status() TO pg_monitor;
COMMENT ON FUNCTION outbox.relay_status() IS
    'the relay of this database as it is now; see outbox.stat_relay';

CREATE VIEW outbox.stat_relay AS
    SELECT s.relay,
           s.state,
           s.state_since,
           s.pid,
           COALESCE(s.position, r.position) AS position,
           r.position AS written_position,
           s.horizon,
           GREATEST(q.last_value - (NOT q.is_called)::integer - COALESCE(s.position, r.position), 0)
               AS pending_events,
           s.published,
           s.last_error,
           s.last_error_at,
           (SELECT count(*) FROM outbox.parked p WHERE p.relay = s.relay AND p.state <> 'dead') AS parked,
           (SELECT count(*) FROM outbox.parked p WHERE p.relay = s.relay AND p.state = 'dead') AS dead_letters
    FROM (SELECT 'default'::text AS relay, * FROM outbox.relay_status()) s
    CROSS JOIN outbox.event_id_seq q
    -- a relay without its row cannot work, and is shown all the same
    LEFT JOIN outbox.relay r ON r.name = s.relay;
REVOKE ALL ON outbox.stat_relay FROM PUBLIC;
GRANT SELECT ON outbox.stat_relay TO pg_monitor;
COMMENT ON VIEW outbox.stat_relay IS 'each relay: what it is doing and how far it is';
COMMENT ON COLUMN outbox.stat_relay.state IS
    'publishing, unavailable (no broker answers), unauthenticated (credentials refused), halted (outbox.on_failure), unconfigured (settings are missing or refused), starting, stopped, disabled';
COMMENT ON COLUMN outbox.stat_relay.position IS
    'every event with an id up to here is acknowledged by Kafka, or parked';
COMMENT ON COLUMN outbox.stat_relay.written_position IS 'where a relay goes on after a crash';
COMMENT ON COLUMN outbox.stat_relay.horizon IS 'events with an id below are committed or gone for good';
COMMENT ON COLUMN outbox.stat_relay.pending_events IS
    'events not yet acknowledged; transactions that failed in their commit may be counted in';
COMMENT ON COLUMN outbox.stat_relay.parked IS 'events being retried, or queued behind one that is';
COMMENT ON COLUMN outbox.stat_relay.dead_letters IS 'events that are not tried again; see outbox.dead_letter';
COMMENT ON COLUMN outbox.stat_relay.published IS 'events acknowledged since the server started';

CREATE FUNCTION outbox.wait_published(timeout interval DEFAULT '1 minute') RETURNS boolean
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'outbox_wait_published_1_0';
REVOKE ALL ON FUNCTION outbox.wait_published(interval) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION outbox.wait_published(interval) TO pg_monitor;
COMMENT ON FUNCTION outbox.wait_published(interval) IS
    'waits until everything committed before the call is acknowledged by Kafka, or parked; false if that takes longer';


-- Failures

CREATE VIEW outbox.dead_letter AS
    SELECT relay, id, event_id, emitted_at, topic, key, payload, headers,
           class, error, attempts, first_failed_at, last_failed_at
    FROM outbox.parked WHERE state = 'dead';
REVOKE ALL ON outbox.dead_letter FROM PUBLIC;
COMMENT ON VIEW outbox.dead_letter IS
    'events that are not tried again; see outbox.requeue() and outbox.discard()';

CREATE VIEW outbox.blocked AS
    WITH live AS (
        SELECT p.*,
               EXISTS (SELECT FROM outbox.parked t
                       WHERE t.relay = p.relay AND t.topic = p.topic
                         AND t.state = 'retrying' AND t.class = 'topic') AS by_topic
        FROM outbox.parked p
        WHERE p.state <> 'dead'
    ), block AS (
        SELECT relay, topic, CASE WHEN NOT by_topic THEN key END AS key,
               CASE WHEN by_topic THEN 'topic' WHEN blocking AND key IS NOT NULL THEN 'key' ELSE 'event' END AS scope,
               CASE WHEN NOT by_topic AND NOT (blocking AND key IS NOT NULL) THEN id END AS single,
               count(*) - 1 AS waiting,
               min(first_failed_at) AS since,
               min(next_attempt_at) AS next_attempt_at,
               min(id) FILTER (WHERE state = 'retrying') AS culprit
        FROM live
        GROUP BY 1, 2, 3, 4, 5
    )
    SELECT b.relay, b.scope, b.topic, b.key, p.event_id, p.class, p.error, p.attempts,
           b.since, b.waiting, b.next_attempt_at
    FROM block b LEFT JOIN outbox.parked p ON p.relay = b.relay AND p.id = b.culprit;
REVOKE ALL ON outbox.blocked FROM PUBLIC;
GRANT SELECT ON outbox.blocked TO pg_monitor;
COMMENT ON VIEW outbox.blocked IS
    'what is kept from being published: each blocked topic, key or event, by which event, and how many wait behind it';

CREATE FUNCTION outbox.parked_changed() RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'outbox_parked_changed_1_0';
REVOKE ALL ON FUNCTION outbox.parked_changed() FROM PUBLIC;
COMMENT ON FUNCTION outbox.parked_changed() IS
    'lets the relay look at outbox.parked again once the transaction has committed';

CREATE FUNCTION outbox.requeue(
        event_id uuid DEFAULT NULL, topic text DEFAULT NULL, key text DEFAULT NULL,
        class text DEFAULT NULL, failed_since timestamptz DEFAULT NULL,
        failed_before timestamptz DEFAULT NULL)
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
            SET state = 'queued', attempts = 0, next_attempt_at = NULL, announced_at = NULL
            WHERE p.state = 'dead'
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
REVOKE ALL ON FUNCTION outbox.requeue(uuid, text, text, text, timestamptz, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION outbox.requeue(uuid, text, text, text, timestamptz, timestamptz) IS
    'publishes dead letters after all, in order; without an argument, all of them';

CREATE FUNCTION outbox.discard(
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
            RETURNING p.id, p.event_id, p.topic, p.key)
        SELECT d.event_id, d.topic, d.key FROM discarded d ORDER BY d.id;
END
$$;
REVOKE ALL ON FUNCTION outbox.discard(uuid, text, text, text, timestamptz, timestamptz, boolean) FROM PUBLIC;
COMMENT ON FUNCTION outbox.discard(uuid, text, text, text, timestamptz, timestamptz, boolean) IS
    'removes dead letters for good; with retrying, also events that are still tried or wait behind one';


-- what was set aside
UPDATE pg_default_acl SET defaclrole = current_user::regrole WHERE defaclrole = 0;
