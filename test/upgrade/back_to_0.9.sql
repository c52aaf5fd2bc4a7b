-- An older version of the extension, for the tests of ALTER EXTENSION UPDATE:
-- today's, and then this, which takes back what came later, in all
-- the ways in which an object can change. 0.9--1.0.sql is the way forward.

-- objects that 0.9 does not have
DROP VIEW outbox.event_status, outbox.stat_storage;
DROP FUNCTION outbox.skip_replicated() CASCADE;
UPDATE pg_extension SET extconfig = NULL, extcondition = NULL WHERE extname = 'outbox';
DROP TABLE outbox.discarded;
CALL outbox.each_segment($$ DROP INDEX outbox.event_%1$s_look $$);

-- a view that has fewer columns, and another definition
DROP VIEW outbox.stat_relay;
ALTER TABLE outbox.relay RENAME COLUMN first_position TO position;
ALTER TABLE outbox.relay ADD COLUMN position_at timestamptz NOT NULL DEFAULT now();
COMMENT ON COLUMN outbox.relay.position IS 'written about once a second';
CREATE VIEW outbox.stat_relay AS
    SELECT r.name AS relay, s.state, s.state_since, s.pid,
           COALESCE(s.position, r.position) AS position, r.position AS written_position, s.horizon,
           GREATEST(q.last_value - (NOT q.is_called)::integer - COALESCE(s.position, r.position), 0)
               AS pending_events,
           s.published, s.last_error, s.last_error_at
    FROM outbox.relay_status() s CROSS JOIN outbox.event_id_seq q, outbox.relay r;
REVOKE ALL ON outbox.stat_relay FROM PUBLIC;
GRANT SELECT ON outbox.stat_relay TO pg_monitor;
COMMENT ON VIEW outbox.stat_relay IS 'each relay';

-- a table that has fewer columns, and other indexes
ALTER TABLE outbox.parked DROP COLUMN expires_at, DROP COLUMN whole;
DROP INDEX outbox.parked_block;
CREATE INDEX parked_block ON outbox.parked (relay, topic, key, id) WHERE state <> 'dead';
ALTER TABLE outbox.parked DROP CONSTRAINT parked_pkey, ADD PRIMARY KEY (relay, id);

-- functions that have fewer arguments, columns of their result, or another body
DO $$
DECLARE
    emit record;
BEGIN
    FOR emit IN
        SELECT p.oid::regprocedure AS signature, p.oid::regproc::text AS name,
               p.proargtypes[1]::regtype AS key, p.proargtypes[2]::regtype AS payload
        FROM pg_proc p
        JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
        JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'outbox'
        WHERE p.proname IN ('outbox_emit', 'emit')
    LOOP
        EXECUTE format('DROP FUNCTION %s', emit.signature);
        EXECUTE format(
            'CREATE FUNCTION %s(topic text, key %s, payload %s, headers jsonb DEFAULT NULL) RETURNS uuid'
            ' LANGUAGE c PARALLEL UNSAFE AS ''MODULE_PATHNAME'', ''outbox_emit'';'
            'REVOKE ALL ON FUNCTION %1$s(text, %2$s, %3$s, jsonb) FROM PUBLIC',
            emit.name, emit.key, emit.payload);
    END LOOP;
END
$$;

DROP FUNCTION outbox.emitted();
CREATE FUNCTION outbox.emitted(
        OUT event_id uuid, OUT emitted_at timestamptz, OUT topic text,
        OUT key text, OUT payload bytea, OUT headers jsonb)
    RETURNS SETOF record
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'outbox_emitted';
REVOKE ALL ON FUNCTION outbox.emitted() FROM PUBLIC;

DROP FUNCTION outbox.requeue;
CREATE FUNCTION outbox.requeue(topic text)
    RETURNS TABLE (requeued_event_id uuid)
    LANGUAGE sql
AS 'SELECT event_id FROM outbox.dead_letter d WHERE d.topic = $1';
REVOKE ALL ON FUNCTION outbox.requeue(text) FROM PUBLIC;

CREATE OR REPLACE FUNCTION outbox.cancel_delayed(event_id uuid) RETURNS boolean
    LANGUAGE sql STABLE
AS 'SELECT false';
COMMENT ON FUNCTION outbox.cancel_delayed(uuid) IS NULL;
