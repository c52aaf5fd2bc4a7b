-- The extension's objects: all described, none open to PUBLIC.
CREATE EXTENSION outbox;
SELECT extname, extversion, extnamespace::regnamespace FROM pg_extension WHERE extname = 'outbox';

-- members without a comment
SELECT pg_describe_object(classid, objid, 0) AS without_comment
FROM pg_depend d
WHERE refclassid = 'pg_extension'::regclass
  AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'outbox')
  AND deptype = 'e'
  AND obj_description(objid, (SELECT relname FROM pg_class WHERE oid = classid)) IS NULL
  AND classid <> 'pg_type'::regclass
ORDER BY 1;

-- what PUBLIC may do
SELECT p.oid::regprocedure AS open_function
FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
WHERE d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'outbox')
  AND (p.proacl IS NULL OR p.proacl::text ~ '[{,]=');
SELECT c.oid::regclass AS open_relation
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'outbox' AND c.relkind IN ('r', 'v', 'S')
  AND c.relacl::text ~ '[{,]=';

-- the table that the library writes, whose rows are in the segments only
SELECT attname, format_type(atttypid, atttypmod), attnotnull
FROM pg_attribute WHERE attrelid = 'outbox.event'::regclass AND attnum > 0
ORDER BY attnum;
SELECT inhrelid::regclass AS segment
FROM pg_inherits WHERE inhparent = 'outbox.event'::regclass ORDER BY 1;
\set VERBOSITY sqlstate
INSERT INTO outbox.event (id, event_id, emitted_at, topic)
VALUES (1, gen_random_uuid(), now(), 't');
\set VERBOSITY default

SELECT relay, position, pending_events, published FROM outbox.stat_relay;

-- what is for applications and operators; the rest is marked as internal
SELECT pg_describe_object(classid, objid, 0) AS public
FROM pg_depend
WHERE refclassid = 'pg_extension'::regclass
  AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'outbox')
  AND deptype = 'e' AND classid IN ('pg_proc'::regclass, 'pg_class'::regclass)
  AND obj_description(objid, (SELECT relname FROM pg_class WHERE oid = classid)) !~ '^(Internal: |segment of )'
ORDER BY pg_describe_object(classid, objid, 0) COLLATE "C";
