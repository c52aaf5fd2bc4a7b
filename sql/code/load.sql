-- A dump has the rows of our tables. While a session loads them, no relay may
-- run: positions, events and what the relay makes events of come one by one, in
-- any order.

CREATE OR REPLACE FUNCTION outbox.keep_relay_away() RETURNS trigger
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'outbox_keep_relay_away';
REVOKE ALL ON FUNCTION outbox.keep_relay_away() FROM PUBLIC;
COMMENT ON FUNCTION outbox.keep_relay_away() IS
    'Internal: ends the relay, and lets it start again when this session has ended';

-- The row of a dump takes the place of the present one. CREATE EXTENSION has
-- made one for "default", which goes also if it is another relay that comes:
-- the dump may have no "default". If it has, that is another row than the one
-- of CREATE EXTENSION, or one that was made before this transaction.
CREATE OR REPLACE FUNCTION outbox.merge_relay() RETURNS trigger
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM outbox.relays_changed();
    DELETE FROM outbox.relay r
        WHERE r.name = NEW.name
           OR (NEW.created_at < now()
               AND r.name = 'default'
               AND r.xmin = (SELECT e.xmin FROM pg_extension e WHERE e.extname = 'outbox')
               AND (r.created_at >= now() OR r.xmin <> pg_current_xact_id()::xid));
    RETURN NEW;
END
$$;
REVOKE ALL ON FUNCTION outbox.merge_relay() FROM PUBLIC;
COMMENT ON FUNCTION outbox.merge_relay() IS 'Internal: lets a restored row of outbox.relay replace the present one';
CREATE OR REPLACE TRIGGER merge BEFORE INSERT ON outbox.relay
    FOR EACH ROW EXECUTE FUNCTION outbox.merge_relay();

-- What was not made just now comes from a dump.
CREATE OR REPLACE TRIGGER loading AFTER INSERT ON outbox.relay
    FOR EACH ROW WHEN (NEW.created_at < now())
    EXECUTE FUNCTION outbox.keep_relay_away();
CREATE OR REPLACE TRIGGER loading AFTER INSERT ON outbox.replay_job
    FOR EACH ROW WHEN (NEW.requested_at <> now())
    EXECUTE FUNCTION outbox.keep_relay_away();
CREATE OR REPLACE TRIGGER loading AFTER INSERT ON outbox.backfill_job
    FOR EACH ROW WHEN (NEW.requested_at <> now())
    EXECUTE FUNCTION outbox.keep_relay_away();
CREATE OR REPLACE TRIGGER loading AFTER INSERT ON outbox.subscription
    FOR EACH ROW WHEN (NEW.created_at < now())
    EXECUTE FUNCTION outbox.keep_relay_away();
CREATE OR REPLACE TRIGGER loading AFTER INSERT ON outbox.subscription_offset
    FOR EACH ROW WHEN (NEW.updated_at < now())
    EXECUTE FUNCTION outbox.keep_relay_away();
CREATE OR REPLACE TRIGGER loading BEFORE INSERT ON outbox.delayed
    FOR EACH STATEMENT EXECUTE FUNCTION outbox.keep_relay_away();
CREATE OR REPLACE TRIGGER loading BEFORE INSERT ON outbox.parked
    FOR EACH STATEMENT EXECUTE FUNCTION outbox.keep_relay_away();
CALL outbox.each_segment($$
    CREATE OR REPLACE TRIGGER loading BEFORE INSERT ON outbox.event_%1$s
        FOR EACH STATEMENT EXECUTE FUNCTION outbox.keep_relay_away()
$$);
CALL outbox.each_segment($$
    CREATE OR REPLACE TRIGGER loading BEFORE INSERT ON outbox.position_%1$s
        FOR EACH STATEMENT EXECUTE FUNCTION outbox.keep_relay_away()
$$);

-- What a dump has: all but the parents of the segments, which are empty
SELECT pg_extension_config_dump('outbox.relay', '');
SELECT pg_extension_config_dump('outbox.event_id_seq', '');
CALL outbox.each_segment($$ SELECT pg_extension_config_dump('outbox.event_%1$s', '') $$);
CALL outbox.each_segment($$ SELECT pg_extension_config_dump('outbox.position_%1$s', '') $$);
SELECT pg_extension_config_dump('outbox.delayed', '');
SELECT pg_extension_config_dump('outbox.parked', '');
SELECT pg_extension_config_dump('outbox.discarded', '');
SELECT pg_extension_config_dump('outbox.paused_topic', '');
SELECT pg_extension_config_dump('outbox.replay_job', '');
SELECT pg_extension_config_dump('outbox.replay_id_seq', '');
SELECT pg_extension_config_dump('outbox.audit_entry', '');
SELECT pg_extension_config_dump('outbox.audit_id_seq', '');
-- tables by their names, which temporary ones have in their session alone; what
-- dropped ones have left has none
SELECT pg_extension_config_dump('outbox.capture', 'WHERE relation::oid IN (SELECT oid FROM pg_catalog.pg_class WHERE relpersistence <> ''t'')');
SELECT pg_extension_config_dump('outbox.capture_id_seq', '');
SELECT pg_extension_config_dump('outbox.backfill_job', '');
SELECT pg_extension_config_dump('outbox.backfill_id_seq', '');
SELECT pg_extension_config_dump('outbox.topic_rule_entry', '');
SELECT pg_extension_config_dump('outbox.inbox_0', '');
SELECT pg_extension_config_dump('outbox.inbox_1', '');
SELECT pg_extension_config_dump('outbox.inbox_turn', '');
-- roles by their names; what dropped ones have left has none
SELECT pg_extension_config_dump('outbox.emit_right', 'WHERE role::oid IN (SELECT oid FROM pg_catalog.pg_roles)');
SELECT pg_extension_config_dump('outbox.receive_right', 'WHERE role::oid IN (SELECT oid FROM pg_catalog.pg_roles)');
SELECT pg_extension_config_dump('outbox.subscription', 'WHERE role::oid IN (SELECT oid FROM pg_catalog.pg_roles)');
SELECT pg_extension_config_dump('outbox.subscription_offset', '');
SELECT pg_extension_config_dump('outbox.inbox_parked', '');
SELECT pg_extension_config_dump('outbox.inbox_dead', '');
SELECT pg_extension_config_dump('outbox.inbox_dead_id_seq', '');
