# Where outbox_emit() can be called from, and where it cannot: procedures that
# commit, DO blocks, exception blocks, triggers at commit, other people's
# rights, parallel queries, prepared transactions.
#
# Catches: events of one transaction of a procedure lost or published with the
# next; events of rolled-back blocks; a write that needs rights which the
# caller has not; an emit accepted where its event cannot be kept.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use Test::More;

my $mock = OutboxTest::Mock->new;
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1,
	conf => 'max_prepared_transactions = 2');
my $last_id = 0;

# The payloads of the events since the last call, in their order.
sub emits
{
	my ($sql, $expected, $name, %params) = @_;
	my ($status, $out, $err) = $node->psql('postgres', $sql, %params);
	my @events = events($node, 'postgres', "id > $last_id");
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$last_id = $events[-1]->{id} if @events;
	return is(join(' ', map { $_->{payload} } @events) . ($status ? $err : ''),
		$expected, $name);
}

# An error with a SQLSTATE, after which there is no event.
sub refused
{
	my ($sql, $sqlstate, $pattern, $name, %params) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	fails_with($node, 'postgres', $sql, $sqlstate, $pattern, $name, %params);
	return emits('', '', "$name: no event");
}
sub as { return (connstr => $node->connstr('postgres') . " user=$_[0]"); }

query(<<~'END');
	CREATE FUNCTION emit(payload text) RETURNS uuid LANGUAGE sql
		AS $$ SELECT outbox_emit('t', 'k', payload) $$;
	-- by turns: committed with a block that failed, and rolled back
	CREATE PROCEDURE work(n int) LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 1 .. n LOOP
			PERFORM emit('a' || i);
			BEGIN
				PERFORM emit('b' || i);
				RAISE division_by_zero;
			EXCEPTION WHEN division_by_zero THEN
				PERFORM emit('c' || i);
			END;
			BEGIN
				PERFORM emit('d' || i);
			EXCEPTION WHEN division_by_zero THEN NULL;
			END;
			IF i % 2 = 0 THEN ROLLBACK; ELSE COMMIT; END IF;
		END LOOP;
		PERFORM emit('end');
	END $$;
	END

# Procedures and DO.
emits('CALL work(4)', 'a1 c1 d1 a3 c3 d3 end', 'procedure');
my $session = $node->background_psql('postgres');
$session->query_safe('CALL work(2)') for 1 .. 2;
emits('', 'a1 c1 d1 end a1 c1 d1 end', 'again in one session');
$session->quit;
emits(<<~'END', 'x1 x2 x3 x4 x5', 'DO, published while it runs');
	DO $$
	BEGIN
		FOR i IN 1 .. 5 LOOP
			PERFORM emit('x' || i);
			COMMIT;
			ASSERT outbox.wait_published('2 minutes');
		END LOOP;
		PERFORM emit('never');
		ROLLBACK;
	END $$
	END
emits(
	'BEGIN; SELECT emit(\'1\'); COMMIT AND CHAIN; SELECT emit(\'2\'); ROLLBACK AND CHAIN; SELECT emit(\'3\'); COMMIT',
	'1 3', 'AND CHAIN');
emits(<<~'END', join(' ', grep { $_ % 3 } 1 .. 300), 'many subtransactions');
	DO $$
	BEGIN
		FOR i IN 1 .. 300 LOOP
			BEGIN
				PERFORM emit(i::text);
				IF i % 3 = 0 THEN RAISE division_by_zero; END IF;
			EXCEPTION WHEN division_by_zero THEN NULL;
			END;
		END LOOP;
	END $$
	END

# At commit, as long as SQL runs then.
query(<<~'END');
	CREATE TABLE item (v text);
	CREATE FUNCTION emit_item() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM emit(NEW.v);
		IF NEW.v = 'fails' THEN RAISE 'refused at commit'; END IF;
		RETURN NULL;
	END $$;
	CREATE CONSTRAINT TRIGGER emit_item AFTER INSERT ON item
		DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION emit_item();
	END
emits(
	"BEGIN; INSERT INTO item VALUES ('late'), ('later'); SELECT emit('early'); COMMIT",
	'early late later', 'deferred constraint trigger');
emits("INSERT INTO item VALUES ('alone')", 'alone', 'nothing else emits');
refused("BEGIN; SELECT emit('x'); INSERT INTO item VALUES ('fails'); COMMIT",
	'P0001', qr/refused at commit/, 'error at commit');
emits(
	"BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT emit('held ' || n) FROM generate_series(1, 2) n; COMMIT; CLOSE c",
	'held 1 held 2', 'cursor that is run at commit');

# Rights: only what outbox.grant_emit() gives, or less.
query(<<~'END');
	CREATE ROLE granted LOGIN;
	CREATE ROLE executes LOGIN;
	CREATE ROLE stranger LOGIN;
	SELECT outbox.grant_emit('granted');
	SELECT outbox.grant_emit('executes', '{t}');
	REVOKE EXECUTE ON FUNCTION outbox_emit(text, "any", text, jsonb, timestamptz, interval, timestamptz, uuid, text, text, text) FROM executes;
	REVOKE USAGE ON SCHEMA outbox FROM executes;
	CREATE FUNCTION for_all(payload text) RETURNS uuid
		LANGUAGE sql SECURITY DEFINER SET search_path = ''
		AS $$ SELECT public.outbox_emit('t', 'k', payload) $$;
	ALTER FUNCTION for_all OWNER TO executes;
	END
emits("SELECT emit('g'), outbox_emit('t', 7, '{}'::jsonb) IS NOT NULL; SELECT count(*) FROM outbox.emitted()",
	'g {}', 'role with outbox.grant_emit()', as('granted'));
emits("SELECT emit('e')", 'e', 'role without the schema', as('executes'));
emits("SELECT for_all('s')", 's', 'SECURITY DEFINER', as('stranger'));
emits("SET ROLE executes; SELECT emit('r'); RESET ROLE", 'r', 'SET ROLE');
emits("SET search_path = ''; SELECT public.outbox_emit('t', 'k', 'p')", 'p', 'no search path');
refused("SELECT outbox_emit('t', 'k', 'v')", '42501',
	qr/permission denied for function outbox_emit/, 'stranger', as('stranger'));
refused("SELECT outbox_emit('t', 7, 'v')", '42501',
	qr/permission denied for function outbox_emit/, 'other signature', as('executes'));
for my $what ('SELECT * FROM outbox.event', 'SELECT * FROM outbox.event_0',
	"INSERT INTO outbox.event_0 SELECT", "SELECT nextval('outbox.event_id_seq')",
	'UPDATE outbox.relay SET first_position = 0', "SELECT outbox.grant_emit('granted')")
{
	refused($what, '42501', qr/permission denied/, $what, as('granted'));
}

# Where it cannot be.
refused("BEGIN READ ONLY; SELECT emit('x'); COMMIT", '25006',
	qr/in a read-only transaction.*HINT:  Use a READ WRITE/s, 'READ ONLY');
refused("SET default_transaction_read_only = on; SELECT emit('x')", '25006',
	qr/read-only.*HINT: .*default_transaction_read_only/s, 'read-only by default');
refused("BEGIN; SELECT emit('x'); PREPARE TRANSACTION 'p'", '0A000',
	qr/cannot PREPARE.*HINT:  Use COMMIT/s, 'PREPARE TRANSACTION');
is(query('SELECT count(*) FROM pg_prepared_xacts'), 0, '... which is gone');
emits(<<~'END', 'after', 'PREPARE TRANSACTION without events is fine');
	BEGIN; SAVEPOINT s; SELECT emit('x'); ROLLBACK TO s; PREPARE TRANSACTION 'p';
	COMMIT PREPARED 'p';
	SELECT emit('after');
	END

# A function that says it is parallel safe, and is not.
my $force = $node->pg_version >= 16 ? 'debug_parallel_query' : 'force_parallel_mode';
query("CREATE FUNCTION liar() RETURNS uuid LANGUAGE plpgsql PARALLEL SAFE
	AS 'BEGIN RETURN outbox_emit(''t'', ''k'', ''v''); END'");
refused("SET $force = on; SELECT liar()", '25000',
	qr/during a parallel operation.*HINT: .*PARALLEL UNSAFE/s, 'parallel query');
emits("SET $force = on; SELECT outbox_emit('t', 'k', 'unsafe')", 'unsafe',
	'a function that says so is not run in parallel');
emits("BEGIN; SELECT emit('o'); SET $force = on; SELECT count(*) FROM item; COMMIT",
	'o', 'a parallel query beside');

# Other isolation levels, and arguments that are refused.
for my $level ('REPEATABLE READ', 'SERIALIZABLE')
{
	emits("BEGIN ISOLATION LEVEL $level; SELECT emit('i'); TABLE item; COMMIT", 'i', $level);
}
refused("SELECT outbox_emit(NULL, 'k', 'v')", '22004', qr/topic must not be null/, 'no topic');
refused("SELECT outbox_emit('a/b', 'k', 'v')", '22023', qr/HINT/, 'topic');
emits(
	"BEGIN; SELECT emit('1'); SAVEPOINT s; SELECT outbox_emit('', 'k', 'v'); ROLLBACK TO s; SELECT emit('2'); COMMIT",
	'1 2', 'an error to a savepoint', on_error_stop => 0);

# All of that, and nothing else, in Kafka.
ok(wait_published($node), 'published');
ok($consumer->drain, 'drained');
is(check_delivery([ events($node) ], [ $consumer->records ]), 0, 'nothing repeated');
clean_log($node, 'nothing unclean in the log', also => qr/resource|leak/);
$node->stop;
done_testing();
