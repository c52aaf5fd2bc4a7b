-- DROP EXTENSION leaves nothing, and a new one goes on with higher ids.
SELECT max(id) > 0 AS used FROM outbox.event;
SELECT max(id) AS last_id FROM outbox.event \gset
DROP EXTENSION outbox;
SELECT nspname FROM pg_namespace WHERE nspname = 'outbox';
SELECT proname FROM pg_proc WHERE proname LIKE 'outbox%';
CREATE EXTENSION outbox;
SELECT outbox_emit('t', 'k', 'p') IS NOT NULL AS ok;
SELECT id > :last_id AS higher FROM outbox.event;
DROP EXTENSION outbox;

-- created and rolled back
BEGIN;
CREATE EXTENSION outbox;
SELECT outbox_emit('t', 'k', 'p') IS NOT NULL AS ok;
ROLLBACK;
SELECT extname FROM pg_extension WHERE extname = 'outbox';
