-- Every error at the call, with SQLSTATE and hint.
\set ECHO queries
CREATE FUNCTION attempt(command text) RETURNS TABLE (sqlstate_ text, message text, detail text, hint text)
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE command;
    RETURN QUERY VALUES ('00000', 'no error', '', '');
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL,
        hint = PG_EXCEPTION_HINT;
    sqlstate_ := SQLSTATE;
    RETURN NEXT;
END
$$;
\x on
SELECT * FROM attempt($$SELECT outbox_emit(NULL, 'k', 'p')$$);
SELECT * FROM attempt($$SELECT outbox_emit('', 'k', 'p')$$);
SELECT * FROM attempt($$SELECT outbox_emit('.', 'k', 'p')$$);
SELECT * FROM attempt($$SELECT outbox_emit('..', 'k', 'p')$$);
SELECT * FROM attempt($$SELECT outbox_emit('...', 'k', 'p')$$);
SELECT * FROM attempt($$SELECT outbox_emit('a b', 'k', 'p')$$);
SELECT * FROM attempt($$SELECT outbox_emit('ä', 'k', 'p')$$);
SELECT * FROM attempt($$SELECT outbox_emit(repeat('t', 249), 'k', 'p')$$);
SELECT * FROM attempt($$SELECT outbox_emit(repeat('t', 250), 'k', 'p')$$);
SELECT * FROM attempt($$SELECT outbox_emit('t', 'k', 'p', '[]')$$);
SELECT * FROM attempt($$SELECT outbox_emit('t', 'k', 'p', '"text"')$$);
SELECT * FROM attempt($$SELECT outbox_emit('t', 'k', 'p', '{"a": {}}')$$);
SELECT * FROM attempt($$SELECT outbox_emit('t', 'k', 'p', '{"a": [1]}')$$);
SELECT * FROM attempt($$SELECT outbox_emit('t', 'k', 'p', '{"a": {"base64": "AP8="}, "b": {"base64": ""}}')$$);
SELECT * FROM attempt($$SELECT outbox_emit('t', 'k', 'p', '{"a": {"base64": "AP8="}, "b": {"base64": "AP8"}}')$$);
SELECT * FROM attempt($$SELECT outbox_emit('t', 'k', 'p', '{"a": {"base64": "A P8="}}')$$);
SELECT * FROM attempt($$SELECT outbox_emit('t', 'k', 'p', '{"a": {"base64": 1}}')$$);
SELECT * FROM attempt($$SELECT outbox_emit('t', 'k', 'p', '{"a": {"base64": "", "b": ""}}')$$);
SELECT * FROM attempt($$SELECT outbox_emit('t', 'k', 'p', '{"event_id": "x"}')$$);
SELECT * FROM attempt($$SELECT outbox_emit('t', 'k', 'p', '{"outbox_relay": "x"}')$$);
SELECT * FROM attempt($$SELECT outbox_emit('t', '{}'::jsonb, 'p')$$);
SELECT * FROM attempt($$SELECT outbox_emit('t', 'k', 1.5)$$);

-- the limit is on key, payload and headers together, as they are sent: event_id has 44 bytes
SHOW outbox.max_event_size;
SELECT * FROM attempt($$SELECT outbox_emit('t', NULL, repeat('x', 999956))$$);
SELECT * FROM attempt($$SELECT outbox_emit('t', 'k', repeat('x', 999956))$$);
SELECT * FROM attempt($$SELECT outbox_emit('t', NULL, repeat('x', 999947), '{"name": "value"}')$$);
SELECT * FROM attempt($$SELECT outbox_emit('t', NULL, NULL, jsonb_build_object('a', jsonb_build_object('base64', repeat('A', 1333272) || 'AA==')))$$);
SELECT * FROM attempt($$SELECT outbox_emit('t', NULL, NULL, jsonb_build_object('a', jsonb_build_object('base64', repeat('A', 1333272) || 'AAA=')))$$);
SELECT * FROM attempt($$SELECT outbox_emit('t', NULL, 'x', '{"a": 1e131071, "b": 1.5, "c": 1e-16383}')$$);
SELECT * FROM attempt($$SELECT outbox_emit('t', NULL, 'x', jsonb_object_agg('h' || i, 1e131071)) FROM generate_series(1, 8) i$$);
SELECT * FROM attempt($$SELECT outbox_emit('t', NULL, 'x', jsonb_object_agg('h' || i, 'v')) FROM generate_series(1, 1000) i$$);
SELECT * FROM attempt($$SELECT outbox_emit('t', NULL, 'x', jsonb_object_agg('h' || i, 'v')) FROM generate_series(1, 1001) i$$);

-- times of delivery
SELECT * FROM attempt($$SELECT outbox_emit('t', 'k', 'p', deliver_at => now(), deliver_after => '1 s')$$);
SELECT * FROM attempt($$SELECT outbox_emit('t', 'k', 'p', deliver_at => '2000-01-01 00:00+00', deliver_after => '1 s')$$);
SELECT * FROM attempt($$SELECT outbox_emit('t', 'k', 'p', deliver_at => 'infinity')$$);
SELECT * FROM attempt($$SELECT outbox_emit('t', 'k', 'p', deliver_after => '300000 years')$$);
SELECT * FROM attempt($$SELECT outbox_emit('t', 'k', 'p', deliver_at => '2100-01-02', expires_at => '2100-01-01')$$);
SELECT * FROM attempt($$SELECT outbox_emit('t', 'k', 'p', deliver_at => '2100-01-01', expires_at => '2100-01-01')$$);
SELECT * FROM attempt($$SELECT outbox_emit('t', 'k', 'p', deliver_after => '1 day', expires_at => now())$$);

-- functions for operators
SELECT * FROM attempt($$SELECT outbox.replay()$$);
SELECT * FROM attempt($$SELECT outbox.replay(first_id => 1, rate => 0)$$);
SELECT * FROM attempt($$SELECT outbox.replay(first_id => 1, rate => NULL)$$);
SELECT * FROM attempt($$SELECT outbox.replay(first_id => 1, to_topic => 'a b')$$);
SELECT * FROM attempt($$SELECT outbox.replay(first_id => 1, to_topic => '..')$$);
SELECT * FROM attempt($$SELECT outbox.replay(first_id => 1, to_topic => '')$$);
SELECT * FROM attempt($$SELECT outbox.discard()$$);
SELECT outbox.cancel_replay(1), outbox.cancel_delayed(gen_random_uuid());

-- transactions that cannot emit
BEGIN READ ONLY;
SELECT * FROM attempt($$SELECT outbox_emit('t', 'k', 'p')$$);
COMMIT;
\x off
\set VERBOSITY sqlstate
BEGIN;
SELECT outbox_emit('t', 'k', 'p') IS NOT NULL AS ok;
PREPARE TRANSACTION 'with_event';
-- nothing emitted any more, nothing to refuse
BEGIN;
SAVEPOINT s;
SELECT outbox_emit('t', 'k', 'p') IS NOT NULL AS ok;
ROLLBACK TO s;
PREPARE TRANSACTION 'without_event';
ROLLBACK PREPARED 'without_event';

-- emitted, and then the extension is dropped in the same transaction
\set VERBOSITY default
BEGIN;
SELECT outbox_emit('t', 'k', 'p') IS NOT NULL AS ok;
DROP EXTENSION outbox;
COMMIT;
SELECT extname FROM pg_extension WHERE extname = 'outbox';
DROP FUNCTION attempt;
