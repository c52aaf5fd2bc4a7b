-- Only what commits is kept, in the order of the calls.
CREATE VIEW stored AS
    SELECT key, convert_from(payload, 'UTF8') AS payload
    FROM outbox.event WHERE topic = 'tx' ORDER BY id;
CREATE FUNCTION emit(key text, payload text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM outbox_emit('tx', key, payload);
END
$$;

BEGIN;
SELECT emit('rollback', '1');
ROLLBACK;
SELECT * FROM stored;

-- a transaction that has emitted cannot become read-only
BEGIN;
SELECT emit('read-only', '1');
SET TRANSACTION READ ONLY;
COMMIT;
SELECT * FROM stored;

-- savepoints: rolled back, released, nested, and rolled back after release
BEGIN;
SELECT emit('a', 'kept 1');
SAVEPOINT s1;
SELECT emit('a', 'dropped with s1');
SAVEPOINT s2;
SELECT emit('a', 'dropped with s1, inside s2');
RELEASE s2;
ROLLBACK TO s1;
SELECT emit('a', 'kept 2');
SAVEPOINT s3;
SELECT emit('a', 'kept 3');
SAVEPOINT s4;
SELECT emit('a', 'dropped with s4');
ROLLBACK TO s4;
SELECT emit('a', 'kept 4');
RELEASE s3;
SELECT emit('a', 'kept 5');
-- our own view of it, before anybody else's
SELECT topic, key, convert_from(payload, 'UTF8'), headers FROM outbox.emitted();
SELECT * FROM stored;
COMMIT;
SELECT * FROM stored;
SELECT * FROM outbox.emitted();

-- exception blocks
DO $$
BEGIN
    FOR i IN 1 .. 6 LOOP
        BEGIN
            PERFORM outbox_emit('tx', 'block', i::text);
            IF i % 2 = 0 THEN
                RAISE division_by_zero;
            END IF;
        EXCEPTION WHEN division_by_zero THEN
            NULL;
        END;
    END LOOP;
END
$$;
SELECT * FROM stored WHERE key = 'block';

-- a buffer that goes to disk, cut inside the file, and grown again
SET work_mem = '64kB';
BEGIN;
SELECT count(outbox_emit('tx', 'disk', 'kept ' || i)) FROM generate_series(1, 5000) i;
SAVEPOINT s;
SELECT count(outbox_emit('tx', 'disk', 'dropped ' || i)) FROM generate_series(1, 5000) i;
SELECT count(*) FROM outbox.emitted();
ROLLBACK TO s;
SELECT count(*) FROM outbox.emitted();
SELECT count(outbox_emit('tx', 'disk', 'kept ' || i)) FROM generate_series(5001, 6000) i;
COMMIT;
RESET work_mem;
SELECT count(*),
       bool_and(payload = 'kept ' || n) AS in_order
FROM (SELECT payload, row_number() OVER () AS n FROM stored WHERE key = 'disk') x;

-- a large event goes to TOAST and comes back
SELECT emit('large', string_agg(md5(i::text), '')) FROM generate_series(1, 20000) i;
SELECT key, length(payload) FROM stored WHERE key = 'large';

-- a deferred trigger runs before the events are written, and can emit
CREATE TABLE deferred (id int);
CREATE FUNCTION emit_deferred() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM outbox_emit('tx', 'deferred', 'at commit');
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER emit_deferred AFTER INSERT ON deferred
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION emit_deferred();
BEGIN;
INSERT INTO deferred VALUES (1);
SELECT emit('deferred', 'before');
COMMIT;
SELECT * FROM stored WHERE key = 'deferred';

-- a procedure that commits in a loop
CREATE PROCEDURE emit_and_commit() LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1 .. 4 LOOP
        PERFORM outbox_emit('tx', 'procedure', i::text);
        IF i % 2 = 0 THEN
            ROLLBACK;
        ELSE
            COMMIT;
        END IF;
    END LOOP;
    PERFORM outbox_emit('tx', 'procedure', 'last');
END
$$;
CALL emit_and_commit();
SELECT * FROM stored WHERE key = 'procedure';

-- names ascend in the order of the calls, and say when
SELECT bool_and(event_id > previous) AS ascending,
       bool_and(substr(event_id::text, 15, 1) = '7') AS version_7,
       bool_and(substr(event_id::text, 20, 1) IN ('8', '9', 'a', 'b')) AS variant,
       count(DISTINCT event_id) = count(*) AS unique_names
FROM (SELECT event_id, lag(event_id) OVER (ORDER BY id) AS previous
      FROM outbox.event WHERE topic = 'tx') x;

-- no row pays for a new summary of the range it is in: there is none yet
SELECT brin_summarize_range(format('outbox.event_%s_look', segment)::regclass, 0)
FROM outbox.segment_status() WHERE is_current;

DROP PROCEDURE emit_and_commit;
DROP TABLE deferred;
DROP FUNCTION emit_deferred;
DROP FUNCTION emit;
DROP VIEW stored;
