-- Subscriptions are made, changed and dropped; what cannot be is refused at once.
\set SHOW_CONTEXT never
CREATE FUNCTION handle(m outbox.message) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION handle_text(m outbox.message) RETURNS text LANGUAGE sql AS $$ SELECT 'done' $$;
CREATE FUNCTION handle_set(m outbox.message) RETURNS SETOF text LANGUAGE sql AS $$ SELECT 'done' $$;
CREATE FUNCTION handle_integer(m outbox.message) RETURNS integer LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION handle_two(m outbox.message, n integer DEFAULT 1) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION handle_many(VARIADIC m outbox.message[]) RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION handle_row(m outbox.subscription_offset) RETURNS void LANGUAGE sql AS '';
CREATE PROCEDURE handle_by_procedure(m outbox.message) LANGUAGE sql AS '';
CREATE FUNCTION pg_temp.handle(m outbox.message) RETURNS void LANGUAGE sql AS '';

SELECT outbox.subscribe(NULL, '{a}', 'handle(outbox.message)');
SELECT outbox.subscribe('Orders', '{a}', 'handle(outbox.message)');
SELECT outbox.subscribe('-x', '{a}', 'handle(outbox.message)');
SELECT outbox.subscribe(repeat('x', 64), '{a}', 'handle(outbox.message)');
SELECT outbox.subscribe('s', NULL, 'handle(outbox.message)');
SELECT outbox.subscribe('s', '{}', 'handle(outbox.message)');
SELECT outbox.subscribe('s', array_fill('a'::text, ARRAY[101]), 'handle(outbox.message)');
SELECT outbox.subscribe('s', '{a,NULL}', 'handle(outbox.message)');
SELECT outbox.subscribe('s', '{a.*}', 'handle(outbox.message)');
SELECT outbox.subscribe('s', '{..}', 'handle(outbox.message)');
SELECT outbox.subscribe('s', ARRAY[E'a\n'], 'handle(outbox.message)');
SELECT outbox.subscribe('s', ARRAY[repeat('a', 250)], 'handle(outbox.message)');
SELECT outbox.subscribe('s', '{a,b,a}', 'handle(outbox.message)');
SELECT outbox.subscribe('s', '{a}', NULL);
SELECT outbox.subscribe('s', '{a}', 'missing(outbox.message)');
SELECT outbox.subscribe('s', '{a}', 0::oid::regprocedure);
SELECT outbox.subscribe('s', '{a}', 'handle_set(outbox.message)');
SELECT outbox.subscribe('s', '{a}', 'handle_integer(outbox.message)');
SELECT outbox.subscribe('s', '{a}', 'handle_two(outbox.message,integer)');
SELECT outbox.subscribe('s', '{a}', 'handle_many(outbox.message[])');
SELECT outbox.subscribe('s', '{a}', 'handle_row(outbox.subscription_offset)');
SELECT outbox.subscribe('s', '{a}', 'handle_by_procedure(outbox.message)');
SELECT outbox.subscribe('s', '{a}', 'pg_catalog.count("any")');
SELECT outbox.subscribe('s', '{a}', 'pg_temp.handle(outbox.message)');
SELECT outbox.subscribe('s', '{a}', 'handle(outbox.message)', start => 'now or never');
SELECT outbox.subscribe('s', '{a}', 'handle(outbox.message)', start => 'infinity');
SELECT outbox.subscribe('s', '{a}', 'handle(outbox.message)', start => '1969-12-31 23:59:59+00');
SELECT outbox.subscribe('s', '{a}', 'handle(outbox.message)', start => '2026-02-30');
SELECT outbox.subscribe('s', '{a}', 'handle(outbox.message)', start => NULL);
SELECT outbox.subscribe('s', '{a}', 'handle(outbox.message)', workers => 0);
SELECT outbox.subscribe('s', '{a}', 'handle(outbox.message)', workers => 100000);
SELECT outbox.subscribe('s', '{a}', 'handle(outbox.message)', on_failure => 'stop');
SELECT outbox.subscribe('s', '{a}', 'handle(outbox.message)', retry_base_delay => '9 ms');
SELECT outbox.subscribe('s', '{a}', 'handle(outbox.message)', retry_max_delay => '1 month');
SELECT outbox.subscribe('s', '{a}', 'handle(outbox.message)', retry_multiplier => 'NaN');
SELECT outbox.subscribe('s', '{a}', 'handle(outbox.message)', retry_max_attempts => -1);
SELECT outbox.subscribe('s', '{a}', 'handle(outbox.message)', handler_timeout => '-1 s');
SELECT outbox.subscribe('s', '{a}', 'handle(outbox.message)', handler_timeout => '10 us');
SELECT outbox.subscribe('s', '{a}', 'handle(outbox.message)', handler_timeout => NULL);
SELECT outbox.subscribe('s', '{a}', 'handle(outbox.message)', id_header => repeat('x', 1001));
SELECT outbox.subscribe('s', '{a}', 'handle(outbox.message)', on_gap => 'jump');
SELECT outbox.subscribe('s', '{a}', 'handle(outbox.message)', dead_letter_topic => 'a b');
SELECT outbox.subscribe('s', '{a}', 'handle(outbox.message)', cluster => '../x');
SELECT outbox.subscribe('s', '{a}', 'handle(outbox.message)', group_id => repeat('x', 250));
SELECT outbox.subscribe('s', '{a}', 'handle(outbox.message)', batch_size => 10001);
SELECT outbox.subscribe('s', '{a}', 'handle(outbox.message)', caller => current_user::regrole);
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT outbox.subscribe('s', '{a}', 'handle(outbox.message)');
ROLLBACK;

-- a time is read as the session writes it, and kept as anybody reads it
SET DateStyle = 'SQL, DMY';
SET TimeZone = 'Asia/Tokyo';
SELECT outbox.subscribe('s', '{a,b}', 'handle_text(outbox.message)', start => '03/02/2026 09:00', workers => 3,
	on_failure => 'block_partition', retry_base_delay => '1 s', retry_multiplier => 3, retry_max_delay => '1 min',
	retry_max_attempts => 5, handler_timeout => '0', id_header => 'x-id', on_gap => 'skip', dead_letter_topic => 'dead',
	cluster => 'other', group_id => 'group', batch_size => 1);
RESET DateStyle;
RESET TimeZone;
SELECT outbox.subscribe('t', '{a}', 'handle(outbox.message)');
\x
SELECT name, number, topics, handler, role::text = current_user AS as_caller, cluster, start, workers, on_failure,
	retry_base_delay, retry_multiplier, retry_max_delay, retry_max_attempts, handler_timeout, id_header, on_gap,
	dead_letter_topic, group_id, batch_size, paused_at FROM outbox.subscription ORDER BY number;
\x
SELECT outbox.subscribe('s', '{a}', 'handle(outbox.message)');

-- paused, and resumed
SELECT outbox.pause_subscription('missing');
SELECT outbox.pause_subscription('s', 'why');
\set VERBOSITY terse
SELECT outbox.pause_subscription();
\set VERBOSITY default
SELECT name, paused_by = current_user AS by_us, pause_reason FROM outbox.subscription ORDER BY number;
SELECT outbox.resume_subscription('missing');
SELECT outbox.resume_subscription('s');
SELECT outbox.resume_subscription('s');
SELECT outbox.resume_subscription();
SELECT outbox.resume_subscription();
SELECT count(*) FROM outbox.subscription WHERE paused_at IS NULL AND paused_by IS NULL AND pause_reason IS NULL;

-- the payload of a message
CREATE FUNCTION message(payload bytea) RETURNS outbox.message LANGUAGE sql AS
	$$ SELECT ROW('s', 'a', 1, 23, 'k', 'k', payload, '{}', now(), 'id', 1)::outbox.message $$;
SELECT outbox.payload_text(message('text')), outbox.payload_text(message('')) = '' AS empty,
	outbox.payload_text(message(NULL)) IS NULL AS tombstone;
SELECT outbox.payload_json(message('{"a": [1, null]}')), outbox.payload_json(message(NULL)) IS NULL AS tombstone;
SELECT outbox.payload_text(NULL) IS NULL AS no_message;
\set SHOW_CONTEXT always
SELECT outbox.payload_text(message('\xff'));
SELECT outbox.payload_text(message('\x610062'));
SELECT outbox.payload_json(message('{"a": '));
SELECT outbox.payload_json(message(''));
SELECT outbox.payload_json(ROW('s', 'a', NULL, 23, 'k', 'k', '{', '{}', now(), 'id', 1)::outbox.message);
\set SHOW_CONTEXT never

-- changed: what is left out stays
SELECT outbox.alter_subscription('missing');
SELECT outbox.alter_subscription('s', topics => '{}');
SELECT outbox.alter_subscription('s', workers => 33);
SELECT outbox.alter_subscription('s', handler => 'handle_set(outbox.message)');
SELECT outbox.alter_subscription('s', reset => '{workers}');
SELECT outbox.alter_subscription('s', reset => '{NULL}');
SELECT outbox.alter_subscription('s', caller => current_user::regrole);
INSERT INTO outbox.subscription_offset (subscription, topic, partition, next_offset, updated_at)
	SELECT s, t, 0, 7, now() FROM unnest('{s,t}'::text[]) s, unnest('{a,b}'::text[]) t;
SELECT outbox.alter_subscription('s', topics => '{c,a}', handler => 'handle(outbox.message)', workers => 2,
	handler_timeout => '5 s', start => 'earliest', reset => '{group_id,id_header,dead_letter_topic,retry_base_delay}');
\x
SELECT name, number, topics, handler, role::text = current_user AS as_caller, cluster, start, workers, on_failure,
	retry_base_delay, retry_multiplier, retry_max_delay, retry_max_attempts, handler_timeout, id_header, on_gap,
	dead_letter_topic, group_id, batch_size, paused_at FROM outbox.subscription WHERE name = 's';
\x
SELECT subscription, topic FROM outbox.subscription_partition ORDER BY 1, 2;
ALTER FUNCTION handle RENAME TO handle_no_more;
SELECT outbox.alter_subscription('s', batch_size => 2);
SELECT outbox.alter_subscription('s', role => current_user::regrole);
SELECT outbox.alter_subscription('s', handler => 'handle_text(outbox.message)');
ALTER FUNCTION handle_no_more RENAME TO handle;

-- another place
SELECT outbox.seek('missing', place => 'latest');
SELECT outbox.seek(NULL, place => 'latest');
SELECT outbox.seek('s');
SELECT outbox.seek('s', to_time => now(), place => 'latest');
SELECT outbox.seek('s', 5, topic => 'a');
SELECT outbox.seek('s', 5, partition => 0);
SELECT outbox.seek('s', -1, topic => 'a', partition => 0);
SELECT outbox.seek('s', 5, topic => 'b', partition => 0);
SELECT outbox.seek('s', 5, topic => 'a', partition => 1);
SELECT outbox.seek('s', place => 'latest', topic => 'c');
SELECT outbox.seek('s', place => 'here');
SELECT outbox.seek('s', to_time => 'infinity');
SELECT outbox.seek('s', to_time => '1969-01-01');
DELETE FROM outbox.subscription_offset;

-- what has failed
SELECT outbox.inbox_requeue(subscription => 'missing');
SELECT outbox.inbox_discard();
SELECT outbox.inbox_discard(subscription => 'missing');
SELECT outbox.inbox_discard(ids => '{1}', retrying => true);

-- as many as there can be, and as many workers of them all
SELECT outbox.subscribe('one_more', '{a}', 'handle(outbox.message)', workers => 30);
DO $$ BEGIN PERFORM outbox.subscribe('s' || i, '{a}', 'handle(outbox.message)') FROM generate_series(1, 29) i; END $$;
SELECT outbox.subscribe('one_more', '{a}', 'handle(outbox.message)');
SELECT outbox.alter_subscription('t', workers => 2);
SELECT outbox.alter_subscription('s', workers => 2, batch_size => 3);
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT outbox.alter_subscription('s', batch_size => 4);
SELECT outbox.alter_subscription('s', workers => 1);
ROLLBACK;
SELECT outbox.alter_subscription('s', workers => 1);
SELECT outbox.subscribe('s30', '{a}', 'handle(outbox.message)');
SELECT outbox.subscribe('one_more', '{a}', 'handle(outbox.message)');
DO $$ BEGIN PERFORM outbox.unsubscribe('s' || i) FROM generate_series(1, 30) i; END $$;

-- dropped: what has failed must be discarded; paused, so that nobody handles it
SELECT outbox.pause_subscription();
INSERT INTO outbox.subscription_offset (subscription, topic, partition, next_offset, updated_at)
	SELECT s, 'a', 0, 7, now() FROM unnest('{s,t}'::text[]) s;
INSERT INTO outbox.inbox_parked (subscription, topic, partition, "offset", headers)
	SELECT s, 'a', 0, 5, '{}' FROM unnest('{s,t}'::text[]) s;
INSERT INTO outbox.inbox_dead (subscription, topic, partition, "offset", headers, attempts)
	SELECT s, 'a', 0, 6, '{}', 3 FROM unnest('{s,t}'::text[]) s;
SELECT outbox.receive('s', 'id'), outbox.receive('t', 'id');
SELECT outbox.unsubscribe('s');
SELECT outbox.unsubscribe('s', discard => true);
SELECT outbox.unsubscribe('s');
SELECT outbox.unsubscribe(NULL);
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT outbox.unsubscribe('t', discard => true);
ROLLBACK;
SELECT (SELECT string_agg(subscription, ' ') FROM outbox.subscription_offset) AS offsets,
	(SELECT string_agg(subscription, ' ') FROM outbox.inbox_parked) AS parked,
	(SELECT string_agg(subscription, ' ') FROM outbox.inbox_dead) AS dead,
	outbox.receive('s', 'id') AS known_no_more, outbox.receive('t', 'id') AS known;
SELECT outbox.unsubscribe('t', discard => true);
SELECT function, arguments - 'caller' AS arguments, affected FROM outbox.audit
	WHERE function ~ 'subscri' ORDER BY id DESC LIMIT 2;
DROP FUNCTION handle, handle_text, handle_set, handle_integer, handle_two, handle_many, handle_row, message;
DROP PROCEDURE handle_by_procedure;
