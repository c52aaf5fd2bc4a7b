CREATE SCHEMA outbox;
REVOKE ALL ON SCHEMA outbox FROM PUBLIC;
GRANT USAGE ON SCHEMA outbox TO pg_monitor;
COMMENT ON SCHEMA outbox IS 'transactional outbox: events, relays and their state';
