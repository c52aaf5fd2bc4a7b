# outbox.publish_table(): formats, conditions, versions, attributes of events,
# and TRUNCATE.
#
# Catches: a row that a condition has let go of, and that stays for who reads; a
# condition that means something else in another session, or is injected; a
# change that is left out since another one, of a column that is not published,
# came before; a format that lacks a part; a plan that is used after it is old;
# a TRUNCATE that nobody hears of.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use Test::More;

my $node = outbox_node('main', extension => 1, conf => 'outbox.enabled = off');

# The events of a transaction that is rolled back, with some columns of them
sub emitted
{
	my ($sql, $columns) = @_;

	$columns //= q{COALESCE(key, 'null') || ' ' || COALESCE(convert_from(payload, 'UTF8'), 'gone')};
	return query("BEGIN; $sql; SELECT $columns FROM outbox.emitted(); ROLLBACK");
}

# Published anew, and in no other way
sub publish
{
	my ($arguments) = @_;

	query("SELECT outbox.unpublish_table(r) FROM (SELECT DISTINCT relation FROM outbox.published_table WHERE relation = 'orders'::regclass) p (r)");
	query("SELECT outbox.publish_table('orders', 'x', $arguments)");
	return;
}

query(<<~'END');
	CREATE TABLE orders (id integer PRIMARY KEY, status text, n integer);
	INSERT INTO orders VALUES (1, 'new', 1), (2, 'paid', 2);
	END

note 'before and after';
publish("format => 'before_after', columns => '{id,n}', rename => '{\"n\": \"N\"}'");
is(emitted("INSERT INTO orders VALUES (3, 'new', 3); UPDATE orders SET n = 7 WHERE id = 1; UPDATE orders SET id = 9 WHERE id = 2; DELETE FROM orders WHERE id = 3"), <<~'END' =~ s/\n$//r, 'each operation');
	3 {"op":"insert","before":null,"after":{"id":3,"N":3}}
	1 {"op":"update","before":{"id":1,"N":1},"after":{"id":1,"N":7}}
	2 {"op":"delete","before":{"id":2,"N":2},"after":null}
	2 gone
	9 {"op":"insert","before":null,"after":{"id":9,"N":2}}
	3 {"op":"delete","before":{"id":3,"N":3},"after":null}
	3 gone
	END
publish("format => 'before_after', tombstones => false, columns => '{id}'");
is(emitted('DELETE FROM orders WHERE id = 1'), '1 {"op":"delete","before":{"id":1},"after":null}', 'without a tombstone');
publish("format => 'before_after', key => '{}', columns => '{id}'");
is(emitted('DELETE FROM orders WHERE id = 1'), 'null {"op":"delete","before":{"id":1},"after":null}', 'without a key');

note 'debezium';
publish("format => 'debezium'");
my $source = "payload -> 'source' ->> 'db' || ' ' || (payload -> 'source' ->> 'schema') || ' ' || (payload -> 'source' ->> 'table')";
my @debezium = split /\n/, query(<<~END);
	BEGIN;
	UPDATE orders SET n = 7 WHERE id = 1; DELETE FROM orders WHERE id = 2; INSERT INTO orders (id) VALUES (4);
	SELECT key, payload ->> 'op', payload -> 'before' ->> 'n', payload -> 'after' ->> 'n', $source,
		(payload -> 'source' ->> 'txId')::xid8 = pg_current_xact_id(),
		abs((payload ->> 'ts_ms')::numeric - extract(epoch FROM clock_timestamp()) * 1000) < 60000,
		payload -> 'source' ->> 'connector', payload -> 'source' ->> 'snapshot'
	FROM (SELECT key, convert_from(payload, 'UTF8')::jsonb AS payload, event_id FROM outbox.emitted()) e ORDER BY event_id;
	ROLLBACK
	END
is_deeply(\@debezium, [
	'1|u|1|7|postgres public orders|t|t|outbox|false',
	'2|d|2||postgres public orders|t|t|outbox|false',
	'2||||||||',
	'4|c|||postgres public orders|t|t|outbox|false'
], 'its envelope');
query('CREATE SCHEMA s; ALTER TABLE orders SET SCHEMA s; ALTER SCHEMA s RENAME TO other; ALTER TABLE other.orders RENAME TO o');
like(emitted('DELETE FROM other.o WHERE id = 1'), qr/"schema":"other","table":"o"/, 'of a table that was renamed');
like(emitted('DELETE FROM other.o WHERE id = 1; ALTER SCHEMA other RENAME TO again; DELETE FROM again.o'),
	qr/"schema":"other".*"schema":"again"/s, '... between two changes');
query('ALTER TABLE other.o RENAME TO orders; ALTER TABLE other.orders SET SCHEMA public');

note 'a function';
query(<<~'END');
	CREATE FUNCTION payload(operation text, before jsonb, after jsonb) RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		IF after ->> 'status' = 'secret' THEN RETURN NULL; END IF;
		RETURN concat_ws('/', operation, before ->> 'n', after ->> 'n');
	END $$;
	CREATE FUNCTION raw(text, jsonb, jsonb) RETURNS bytea LANGUAGE sql AS $$ SELECT '\x00ff'::bytea $$;
	CREATE FUNCTION strict(text, jsonb, jsonb) RETURNS text STRICT LANGUAGE sql AS $$ SELECT 'x' $$;
	CREATE FUNCTION collect(jsonb, text, jsonb, jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT $4 $$;
	CREATE AGGREGATE collect(text, jsonb, jsonb) (sfunc = collect, stype = jsonb);
	CREATE FUNCTION number(text, jsonb, jsonb) RETURNS integer LANGUAGE sql AS $$ SELECT 1 $$;
	CREATE ROLE writer; GRANT INSERT ON orders TO writer; REVOKE EXECUTE ON FUNCTION payload FROM PUBLIC;
	END
publish("format => 'public.payload'");
is(emitted("UPDATE orders SET n = 7 WHERE id = 1; INSERT INTO orders VALUES (5, 'secret', 1); DELETE FROM orders WHERE id = 2"),
	"1 update/1/7\n2 delete/2\n2 gone", 'makes the payload, or none');
is(emitted('SET LOCAL ROLE writer; INSERT INTO orders (id, n) VALUES (6, 6); RESET ROLE'), '6 insert/6', 'whoever writes');
query('CREATE SCHEMA closed; ALTER FUNCTION payload SET SCHEMA closed');
publish("format => 'closed.payload'");
is(emitted('SET LOCAL ROLE writer; INSERT INTO orders (id, n) VALUES (6, 6); RESET ROLE'), '6 insert/6', '... also without USAGE on its schema');
query('DROP FUNCTION closed.payload');
fails_with($node, 'postgres', 'DELETE FROM orders WHERE id = 1', '42883',
	qr/the function that makes payloads of "orders" is not there any more/, 'gone');
query('CREATE FUNCTION closed.payload(text, jsonb, jsonb) RETURNS integer LANGUAGE sql AS $$ SELECT 1 $$');
fails_with($node, 'postgres', 'DELETE FROM orders WHERE id = 1', '42883', qr/not there any more/, 'another one, which makes no payloads');
query("CREATE FUNCTION payload(text, before jsonb, after jsonb) RETURNS text LANGUAGE sql AS \$\$ SELECT concat_ws('/', \$1, before ->> 'n', after ->> 'n') \$\$");
publish("format => 'public.raw'");
is(emitted('DELETE FROM orders WHERE id = 1', 'payload'), '\x00ff' . "\n", 'of bytes');
query("CREATE OR REPLACE FUNCTION raw(text, jsonb, jsonb) RETURNS bytea LANGUAGE sql AS \$\$ SELECT '\\x01'::bytea \$\$");
is(emitted('DELETE FROM orders WHERE id = 1', 'payload'), '\x01' . "\n", 'replaced');

note 'a condition';
publish("condition => 'status = ''paid'' AND n > 0'");
is(emitted("UPDATE orders SET n = n + 1"), '2 {"id":2,"status":"paid","n":3}', 'rows of which it is not true are not published');
is(emitted("UPDATE orders SET status = 'paid' WHERE id = 1"), '1 {"id":1,"status":"paid","n":1}', 'one that comes in');
is(emitted("UPDATE orders SET n = -1"), '2 gone', 'one that goes out');
is(emitted("UPDATE orders SET n = NULL"), '2 gone', '... by null');
is(emitted("UPDATE orders SET status = 'paid', id = id + 10"), qq(11 {"id":11,"status":"paid","n":1}\n2 gone\n12 {"id":12,"status":"paid","n":2}),
	'with another key');
is(emitted("DELETE FROM orders; INSERT INTO orders VALUES (8, 'new', 1), (9, 'paid', 1)"),
	qq(2 gone\n9 {"id":9,"status":"paid","n":1}), 'deleted and inserted');
fails_with($node, 'postgres', 'BEGIN; ALTER TABLE orders RENAME status TO state; UPDATE orders SET n = 5', '42703',
	qr/column "status" does not exist/, 'a column of it that is gone');
query(<<~'END');
	CREATE FUNCTION odd(n integer) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
		$$ BEGIN IF n = 99 THEN RAISE division_by_zero; END IF; RETURN n % 2 = 1; END $$;
	CREATE FUNCTION odd_sql(n integer) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$ SELECT odd(n) $$;
	CREATE SCHEMA trap; CREATE FUNCTION trap.lower(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'trap' $$;
	END
publish("condition => 'public.odd(n) AND lower(status) <> ''trap'''");
is(emitted("SET LOCAL search_path = trap, public, pg_catalog; UPDATE orders SET n = n + 2"),
	'1 {"id":1,"status":"new","n":3}', 'means the same with any search_path');
# an error in the middle leaves it as it was
is(emitted("SAVEPOINT a; DO \$\$ BEGIN UPDATE orders SET n = 99; EXCEPTION WHEN division_by_zero THEN NULL; END \$\$; UPDATE orders SET n = n + 4"),
	'1 {"id":1,"status":"new","n":5}', 'after an error in it');
is( query(<<~'END'), 't', '... and takes no memory that it keeps');
	BEGIN;
	DO $$ BEGIN FOR i IN 1..1000 LOOP
		BEGIN UPDATE orders SET n = 99 WHERE id = 1; EXCEPTION WHEN division_by_zero THEN NULL; END;
	END LOOP; END $$;
	SELECT count(*) < 100 FROM pg_backend_memory_contexts WHERE name = 'ExecutorState';
	ROLLBACK
	END
is(emitted("UPDATE orders SET n = n + 4; COMMIT; BEGIN; UPDATE orders SET n = n - 4; UPDATE orders SET n = 13 WHERE id = 1"),
	qq(1 {"id":1,"status":"new","n":1}\n1 {"id":1,"status":"new","n":13}), 'in the next transaction');

note 'a version, and attributes';
publish("version => '2', type => 'order', source => '/shop', content_type => 'application/json'");
is(emitted('DELETE FROM orders WHERE id = 1', 'topic, headers, type, source, content_type'),
	'x|{"version": "2"}|order|/shop|application/json', 'in a header');
publish("version => 'v2', version_in => 'topic'");
is(emitted('DELETE FROM orders WHERE id = 1', 'topic, headers, type'), 'x.v2||', 'in the topic');

note 'TRUNCATE';
publish("columns => '{id}'");
fails_with($node, 'postgres', 'TRUNCATE orders', '0A000', qr/cannot truncate a table that is published to topic "x"/, 'refused');
publish("on_truncate => 'ignore'");
is(emitted('TRUNCATE orders'), '', 'ignored');
publish("format => 'before_after', on_truncate => 'event'");
is(emitted('TRUNCATE orders'), 'null {"op":"truncate","before":null,"after":null}', 'an event');
publish("format => 'debezium', on_truncate => 'event'");
like(emitted('TRUNCATE orders'), qr/^null \{"before":null,"after":null,"source":.*"op":"t",/, "... Debezium's");
publish("format => 'public.payload', on_truncate => 'event'");
is(emitted('TRUNCATE orders'), 'null truncate', "... a function's");
query("SELECT outbox.unpublish_table('orders')");
is(emitted('TRUNCATE orders'), '', 'not published any more');

note 'a change that another one hides';
query(<<~'END');
	CREATE TABLE hidden (id integer PRIMARY KEY, told text, untold integer);
	INSERT INTO hidden VALUES (1, 'a', 0), (2, 'a', 0);
	CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN UPDATE hidden SET untold = untold + 1 WHERE untold < 2; RETURN NULL; END $$;
	CREATE TRIGGER touch AFTER UPDATE OF told ON hidden FOR EACH ROW EXECUTE FUNCTION touch();
	SELECT outbox.publish_table('hidden', 'x', columns => '{id,told}');
	END
my %last = map { /^(\d) (.*)/ } split /\n/, emitted("UPDATE hidden SET told = 'b'");
is_deeply(\%last, { 1 => '{"id":1,"told":"b"}', 2 => '{"id":2,"told":"b"}' }, 'is told all the same');

note 'a function that changes what is published itself';
query(<<~'END');
	CREATE TABLE nested (id integer PRIMARY KEY, n integer);
	CREATE FUNCTION nested_payload(operation text, before jsonb, after jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		IF (after ->> 'n')::integer > 0 THEN
			INSERT INTO nested VALUES ((after ->> 'id')::integer + 1, (after ->> 'n')::integer - 1);
			EXECUTE 'ALTER TABLE nested ALTER n SET STATISTICS ' || (after ->> 'n');
		END IF;
		RETURN after;
	END $$;
	CREATE TABLE log (id serial PRIMARY KEY, n integer);
	CREATE FUNCTION noted(n integer) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
	BEGIN IF n > 0 THEN PERFORM note(n); END IF; RETURN true; END $$;
	CREATE FUNCTION note(n integer) RETURNS void LANGUAGE sql AS $$ INSERT INTO log (n) VALUES (n - 1) $$;
	SELECT outbox.publish_table('nested', 'x', format => 'public.nested_payload');
	SELECT outbox.publish_table('log', 'x', condition => 'public.noted(n)');
	END
fails_with($node, 'postgres', 'INSERT INTO nested VALUES (1, 1)', '55006', qr/being used by active queries/, 'and the table: not while it is in use');
query("CREATE OR REPLACE FUNCTION nested_payload(operation text, before jsonb, after jsonb) RETURNS jsonb LANGUAGE plpgsql AS \$\$ BEGIN"
	  . " PERFORM outbox.publish_table('orders', 'y' || (after ->> 'id')); INSERT INTO nested SELECT (after ->> 'id')::integer + 1, (after ->> 'n')::integer - 1 WHERE (after ->> 'n')::integer > 0; RETURN after; END \$\$");
is(emitted('INSERT INTO nested VALUES (1, 3)'), qq(4 {"n": 0, "id": 4}\n3 {"n": 1, "id": 3}\n2 {"n": 2, "id": 2}\n1 {"n": 3, "id": 1}),
	'and outbox.capture: plans are old while they are in use');
is(emitted('INSERT INTO log (id, n) VALUES (10, 3)', 'count(*)'), 4, 'in a condition that lies');
query(<<~'END');
	CREATE TABLE counted (id integer PRIMARY KEY, n integer);
	CREATE FUNCTION counted(operation text, before jsonb, after jsonb) RETURNS jsonb LANGUAGE plpgsql AS
		$$ BEGIN UPDATE counted SET n = n + 1 WHERE id = (after ->> 'id')::integer AND n < 3; RETURN after; END $$;
	SELECT outbox.publish_table('counted', 'x', format => 'public.counted');
	END
is(emitted('INSERT INTO counted VALUES (1, 1)'), '1 {"n": 3, "id": 1}', 'and the row itself: the last one counts');

note 'refused';
fails_with($node, 'postgres', q{CREATE FUNCTION pg_temp.payload(text, jsonb, jsonb) RETURNS text LANGUAGE sql AS $$ SELECT $1 $$;
	SELECT outbox.publish_table('orders', 'x', format => 'pg_temp.payload')}, '42P13', qr/payload\(text,jsonb,jsonb\) cannot make payloads/, 'a temporary function');
for (
	[ "format => 'nix'", '42883', qr/format cannot be "nix"/ ],
	[ "format => NULL", '42883', qr/format cannot be "null"/ ],
	[ "format => 'public.strict'", '42P13', qr/must not be STRICT/ ],
	[ "format => 'public.number'", '42P13', qr/must return jsonb, json, text or bytea/ ],
	[ "format => 'public.collect'", '42P13', qr/collect\(text,jsonb,jsonb\) cannot make payloads/ ],
	[ "tombstones => false", '22023', qr/format row has tombstones/ ],
	[ "on_truncate => 'event'", '22023', qr/format row has tombstones/ ],
	[ "on_truncate => 'what'", '22023', qr/on_truncate cannot be "what"/ ],
	[ "version => '1', version_in => 'body'", '22023', qr/version cannot be put there/ ],
	[ "version => 'a b', version_in => 'topic'", '22023', qr/cannot be the name of a topic/ ],
	[ "type => ''", '22023', qr/type/ ],
	[ "source => ''", '22023', qr/source/ ],
	[ "condition => 'nix > 1'", '42703', qr/column "nix" does not exist/ ],
	[ "condition => 'n'", '42804', qr/must be type boolean/ ],
	[ "condition => ''", '42601', qr/is not a condition/ ],
	[ "condition => 'true FROM pg_class'", '42601', qr/is not a condition/ ],
	[ "condition => 'true; DROP TABLE orders'", '42601', qr/syntax error/ ],
	[ "condition => 'true, false'", '42601', qr/is not a condition/ ],
	[ "condition => 'true LIMIT 1'", '42601', qr/is not a condition/ ],
	[ "condition => 'EXISTS (SELECT FROM pg_class)'", '0A000', qr/subquery/ ],
	[ "condition => 'count(*) > 1'", '42803', qr/aggregate/ ],
	[ "condition => 'random() > 0.5'", '0A000', qr/must be immutable/ ],
	[ "condition => 'status::timestamptz > now()'", '0A000', qr/must be immutable/ ],
	[ "condition => 'odd(n)'", '42883', qr/function odd\(integer\) does not exist/ ],
	[ "condition => 'ctid IS NULL'", '0A000', qr/system columns/ ])
{
	my ($arguments, $sqlstate, $message) = @$_;

	fails_with($node, 'postgres', "SELECT outbox.publish_table('orders', 'x', $arguments)", $sqlstate, $message, $arguments);
}
ok(clean_log($node, 'no crash'), 'the log');

$node->stop;
done_testing();
