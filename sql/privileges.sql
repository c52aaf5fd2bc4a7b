-- Everything is closed until it is granted.
\set VERBOSITY sqlstate
CREATE ROLE outbox_regress_nobody;
CREATE ROLE outbox_regress_app;
CREATE ROLE outbox_regress_monitor IN ROLE pg_monitor;

SET ROLE outbox_regress_nobody;
SELECT outbox_emit('t', 'k', 'p');
SELECT outbox_emit('t', 1, '{}'::jsonb);
SELECT * FROM outbox.emitted();
SELECT * FROM outbox.event;
SELECT * FROM outbox.stat_relay;
SELECT outbox.wait_published('0');
RESET ROLE;

SELECT outbox.grant_emit('outbox_regress_app');
SET ROLE outbox_regress_app;
BEGIN;
SELECT outbox_emit('priv', 'k', 'p') IS NOT NULL AS ok;
SELECT outbox_emit('priv', 1, '{}'::jsonb) IS NOT NULL AS ok;
SELECT outbox_emit('priv', 'k', '{}'::jsonb) IS NOT NULL AS ok;
SELECT outbox_emit('priv', 1, 'p') IS NOT NULL AS ok;
SELECT topic, key FROM outbox.emitted();
COMMIT;
-- writing is all it may do
SELECT count(*) FROM outbox.event;
INSERT INTO outbox.event_0 (id, event_id, emitted_at, topic)
VALUES (1, gen_random_uuid(), now(), 't');
SELECT nextval('outbox.event_id_seq');
UPDATE outbox.relay SET position = 0;
SELECT outbox.grant_emit('outbox_regress_nobody');
SHOW outbox.kafka_properties;
RESET ROLE;
SELECT count(*) FROM outbox.event WHERE topic = 'priv';

SET ROLE outbox_regress_monitor;
SELECT relay FROM outbox.stat_relay;
SELECT count(*) FROM outbox.event;
SELECT outbox_emit('t', 'k', 'p');
RESET ROLE;

-- EXECUTE alone is enough to emit, without USAGE on the schema outbox
GRANT EXECUTE ON FUNCTION outbox_emit(text, text, text, jsonb) TO outbox_regress_nobody;
SET ROLE outbox_regress_nobody;
SELECT outbox_emit('priv', 'k', 'p') IS NOT NULL AS ok;
RESET ROLE;

DROP OWNED BY outbox_regress_nobody, outbox_regress_app;
DROP ROLE outbox_regress_nobody;
DROP ROLE outbox_regress_app;
DROP ROLE outbox_regress_monitor;
