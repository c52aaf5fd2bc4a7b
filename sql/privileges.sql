-- Everything is closed until it is granted.
\set VERBOSITY sqlstate
CREATE ROLE outbox_regress_nobody;
CREATE ROLE outbox_regress_app;
CREATE ROLE outbox_regress_monitor IN ROLE pg_monitor;

SET ROLE outbox_regress_nobody;
SELECT outbox_emit('t', 'k', 'p');
SELECT outbox_emit('t', 1, '{}'::jsonb);
SELECT outbox.emit('t', 'k', 'p');
SELECT * FROM outbox.emitted();
SELECT * FROM outbox.event;
SELECT * FROM outbox.stat_relay;
SELECT outbox.wait_published('0');
SELECT outbox.replay(first_id => 1);
SELECT outbox.cancel_replay(1);
SELECT outbox.create_relay('r');
SELECT outbox.alter_relay('default', on_failure => 'skip');
SELECT outbox.drop_relay('default');
SELECT outbox.cancel_delayed(gen_random_uuid());
SELECT outbox.grant_emit('outbox_regress_nobody');
SELECT outbox.revoke_emit('outbox_regress_app');
SELECT * FROM outbox.emit_rights;
SELECT * FROM outbox.event_status;
SELECT * FROM outbox.stat_replay;
SELECT * FROM outbox.stat_storage;
SELECT * FROM outbox.segment_status();
RESET ROLE;

SELECT outbox.grant_emit('outbox_regress_app');
SET ROLE outbox_regress_app;
BEGIN;
SELECT outbox_emit('priv', 'k', 'p') IS NOT NULL AS ok;
SELECT outbox_emit('priv', 1, '{}'::jsonb) IS NOT NULL AS ok;
SELECT outbox_emit('priv', 'k', '{}'::jsonb) IS NOT NULL AS ok;
SELECT outbox_emit('priv', 1, 'p') IS NOT NULL AS ok;
SELECT outbox_emit('priv', 1, 'p', deliver_at => '2100-01-01', expires_at => '2100-01-02') IS NOT NULL AS ok;
SELECT outbox.emit('priv', 'k', 'p') IS NOT NULL AS ok;
SELECT outbox.emit('priv', 1, '{}'::jsonb) IS NOT NULL AS ok;
SELECT outbox.emit('priv', 'k', '{}'::jsonb) IS NOT NULL AS ok;
SELECT outbox.emit(topic => 'priv', key => 1, payload => 'p', headers => '{"a": 1}') IS NOT NULL AS ok;
SELECT topic, key, deliver_at IS NOT NULL AS delayed, expires_at IS NOT NULL AS expires FROM outbox.emitted();
COMMIT;
-- writing is all it may do
SELECT count(*) FROM outbox.event;
SELECT count(*) FROM outbox.delayed;
SELECT outbox.cancel_delayed(gen_random_uuid());
SELECT outbox.replay(first_id => 1);
INSERT INTO outbox.event_0 (id, event_id, emitted_at, topic)
VALUES (1, gen_random_uuid(), now(), 't');
SELECT nextval('outbox.event_id_seq');
UPDATE outbox.relay SET first_position = 0;
SELECT outbox.grant_emit('outbox_regress_nobody');
SHOW outbox.kafka_properties;
RESET ROLE;
SELECT count(*) FROM outbox.event WHERE topic = 'priv';
SELECT topic, status, status_at = '2100-01-01' AS due FROM outbox.event_status WHERE status = 'delayed';
SELECT outbox.cancel_delayed(event_id) FROM outbox.delayed;

SET ROLE outbox_regress_monitor;
SELECT relay FROM outbox.stat_relay;
SELECT count(*) > 0 AS ok FROM outbox.event_status;
SELECT count(*) FROM outbox.stat_replay;
SELECT count(*) FROM outbox.stat_storage;
SELECT role, topic, granted_to FROM outbox.emit_rights WHERE role LIKE 'outbox_regress%' ORDER BY 1, 2;
SELECT outbox.replay(first_id => 1);
SELECT count(*) FROM outbox.event;
SELECT outbox_emit('t', 'k', 'p');
RESET ROLE;

-- EXECUTE alone is not enough; nor need it be all of what grant_emit() grants
GRANT EXECUTE ON FUNCTION outbox_emit(text, text, text, jsonb, timestamptz, interval, timestamptz, uuid, text, text, text) TO outbox_regress_nobody;
SET ROLE outbox_regress_nobody;
\set VERBOSITY default
SELECT outbox_emit('priv', 'k', 'p');
\set VERBOSITY sqlstate
RESET ROLE;
SELECT outbox.grant_emit('outbox_regress_nobody', '{priv,orders.*,*_log,a*b*c}');
REVOKE USAGE ON SCHEMA outbox FROM outbox_regress_nobody;
SET ROLE outbox_regress_nobody;
SELECT topic, outbox_emit(topic, 'k', 'p') IS NOT NULL AS ok
FROM unnest('{priv,orders.,orders.new,_log,change_log,abc,a.b.b.c}'::text[]) topic;
SELECT outbox_emit('orders', 'k', 'p');
SELECT outbox_emit('orders_new', 'k', 'p');
SELECT outbox_emit('private', 'k', 'p');
SELECT outbox_emit('pri', 'k', 'p');
SELECT outbox_emit('change_logs', 'k', 'p');
SELECT outbox_emit('abcd', 'k', 'p');
SELECT outbox_emit('acb', 'k', 'p');
RESET ROLE;
-- what cannot be granted
SELECT outbox.grant_emit('outbox_regress_app', '{}');
SELECT outbox.grant_emit('outbox_regress_app', '{a b}');
SELECT outbox.grant_emit('outbox_regress_app', '{..}');
SELECT outbox.grant_emit('outbox_regress_app', '{NULL}');
SELECT outbox.grant_emit('outbox_regress_app', ARRAY[repeat('x', 250)]);
SELECT outbox.grant_emit(NULL);
SELECT outbox.grant_emit('-');
SELECT outbox.grant_emit('4000000000');
SELECT outbox.revoke_emit('4000000000');
-- twice is as good as once; a pattern is revoked as it was granted
SELECT outbox.grant_emit('outbox_regress_nobody', '{orders.*,orders.*,more}');
SELECT outbox.revoke_emit('outbox_regress_nobody', '{more,orders.new}');
SELECT outbox.revoke_emit('outbox_regress_nobody', '{priv,*_log,a*b*c}');
SELECT role, topic, granted_to FROM outbox.emit_rights WHERE role LIKE 'outbox_regress%' ORDER BY 1, 2;
SET ROLE outbox_regress_nobody;
SELECT outbox_emit('priv', 'k', 'p');
RESET ROLE;
SELECT outbox.revoke_emit('outbox_regress_nobody', '{orders.*,more}');
SELECT outbox.revoke_emit('outbox_regress_nobody');
SELECT outbox.revoke_emit('outbox_regress_app');
SELECT role, topic, granted_to FROM outbox.emit_rights WHERE role LIKE 'outbox_regress%' ORDER BY 1, 2;

-- nothing of theirs is left
DROP ROLE outbox_regress_nobody;
DROP ROLE outbox_regress_app;
DROP ROLE outbox_regress_monitor;

-- ALTER DEFAULT PRIVILEGES does not open anything, and stays as it is
\set VERBOSITY terse
\set database :DBNAME
CREATE ROLE outbox_regress_default;
CREATE DATABASE outbox_regress_defaults;
\c outbox_regress_defaults
ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO outbox_regress_default, pg_monitor;
ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO outbox_regress_default;
ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO outbox_regress_default;
ALTER DEFAULT PRIVILEGES GRANT ALL ON TYPES TO outbox_regress_default;
ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO outbox_regress_default;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON FUNCTIONS TO PUBLIC;
SELECT count(*) FROM pg_default_acl WHERE defaclrole = current_user::regrole;
CREATE VIEW opened AS
    WITH members AS (
        SELECT d.classid, d.objid FROM pg_depend d
        JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
        WHERE e.extname = 'outbox' AND d.deptype = 'e'),
    acls AS (
        SELECT 'relation' AS kind, c.oid::regclass::text AS name, c.relkind, c.relacl AS acl, c.relowner AS owner
            FROM pg_class c JOIN members m ON m.classid = 'pg_class'::regclass AND m.objid = c.oid
        UNION ALL SELECT 'function', p.proname, NULL, COALESCE(p.proacl, acldefault('f', p.proowner)), p.proowner
            FROM pg_proc p JOIN members m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
        UNION ALL SELECT 'schema', n.nspname, NULL, n.nspacl, n.nspowner
            FROM pg_namespace n JOIN members m ON m.classid = 'pg_namespace'::regclass AND m.objid = n.oid)
    SELECT kind, name, CASE WHEN a.grantee = 0 THEN 'public' ELSE a.grantee::regrole::text END AS grantee, privilege_type
    FROM acls, aclexplode(acl) a
    WHERE a.grantee <> owner
      -- what monitors may see
      AND NOT (pg_get_userbyid(a.grantee) = 'pg_monitor'
               AND (kind = 'relation' AND relkind = 'v' AND privilege_type = 'SELECT'
                    OR kind = 'function' AND privilege_type = 'EXECUTE'
                    OR kind = 'schema' AND privilege_type = 'USAGE'));
CREATE EXTENSION outbox;
SELECT * FROM opened ORDER BY 1, 2, 3, 4;
SELECT count(*) FROM pg_default_acl WHERE defaclrole = current_user::regrole;
CREATE TABLE ordinary ();
SELECT has_table_privilege('outbox_regress_default', 'ordinary', 'TRUNCATE');
\c :database
DROP DATABASE outbox_regress_defaults;
DROP ROLE outbox_regress_default;
