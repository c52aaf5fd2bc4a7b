# outbox.receive(): each message takes effect once for each consumer.
#
# Catches: a message that is new twice, or never, whatever becomes of the
# transaction that received it first; two at once that both believe they are the
# first, also while the tables change over; ids that are forgotten too soon, or
# never, or not by a dump; a table that cannot be emptied because somebody holds
# a snapshot, or is emptied while it is in use; a replay that leaves a dead row
# for each message; two that wait for a third, and then for one another; an index
# of others that lacks rows; a consumer that others may use.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use Test::More;

my $node = outbox_node('main',
	extension => 1,
	conf => "outbox.inbox_retention = 1h\nautovacuum = off\n");
my $turn = 'SELECT coalesce((SELECT current FROM outbox.inbox_turn), 0)';

sub receive
{
	my ($id, $consumer) = @_;

	$consumer //= 'c';
	return query("SELECT outbox.receive('$consumer', '$id')");
}

# Tells the relay since when the current table is the current one.
sub since
{
	my ($age) = @_;

	query("UPDATE outbox.inbox_turn SET since = now() - interval '$age'");
	conf_reload($node);
	return;
}

# Lets the tables change over.
sub change_over
{
	my $is = query($turn);

	$node->poll_query_until('postgres', 'SELECT count(*) = 1 FROM outbox.inbox_turn')
	  or die 'the relay has not noticed';
	since('1 h');
	wait_until(undef, sub { query($turn) ne $is }, 'the tables do not change over');
	return;
}

# Runs SQL in the background; returns when it waits for a lock, or has ended.
sub start
{
	my ($sql) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir('receive') . '/out';
	my $psql = OutboxTest::Process->new(
		command => [
			'psql', '-XAtq', '-v', 'VERBOSITY=verbose', '-d', $node->connstr('postgres'), '-c', $sql
		],
		log => $file);

	wait_until(undef, sub {
			!$psql->is_running
			  || query("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'");
		}, 'it does not wait');
	return $psql;
}

sub answer
{
	my ($psql) = @_;

	$psql->wait;
	return $psql->log_tail;
}

note 'once';
is(receive('1'), 't', 'the first time');
is(receive('1'), 'f', 'a repetition');
is(receive('1', 'other'), 't', 'of another consumer');
is(receive($_), 't', 'an id of ' . length $_) for 'x' x 1000, "\x{c3}\x{a9}", ' ';
is(query(<<~'END'), "t\nf\nt\nf\nt\nt", 'in one transaction, and rolled back');
	BEGIN;
	SELECT outbox.receive('c', 'same');
	SELECT outbox.receive('c', 'same');
	SAVEPOINT s;
	SELECT outbox.receive('c', 'savepoint');
	SELECT outbox.receive('c', 'savepoint');
	ROLLBACK TO s;
	SELECT outbox.receive('c', 'savepoint');
	ROLLBACK;
	SELECT outbox.receive('c', 'same');
	END
my $old = $node->background_psql('postgres');
$old->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class');
is(receive('unseen'), 't', 'later than a snapshot');
is($old->query_safe("SELECT outbox.receive('c', 'unseen')"), 'f', '... it is known there, too');
$old->quit;

note 'at once';
for my $end ('COMMIT', 'ROLLBACK')
{
	my $first = $node->background_psql('postgres');

	$first->query_safe("BEGIN; SELECT outbox.receive('c', '$end')");
	my $second = start("SELECT outbox.receive('c', '$end')");
	ok($second->is_running, 'it waits for the first');
	$first->query_safe($end);
	is(answer($second), $end eq 'COMMIT' ? "f\n" : "t\n", "... and has its answer by $end");
	$first->quit;
}
my $first = $node->background_psql('postgres');
$first->query_safe(q{BEGIN; SELECT outbox.receive('c', 'three')});
my @others = map { start(q{SELECT outbox.receive('c', 'three')}) } 1, 2;
wait_until(undef, sub {
		query(q{SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'}) == 2;
	}, 'two do not wait');
$first->query_safe('ROLLBACK');
is(join('', sort map { answer($_) } @others), "f\nt\n", 'of two that wait, one has it');
$first->query_safe(q{BEGIN; INSERT INTO outbox.inbox_0 VALUES ('c', 'by SQL', now())});
my $beside = start(q{SELECT outbox.receive('c', 'by SQL')});
ok($beside->is_running, 'what SQL writes is waited for');
$first->query_safe('COMMIT');
is(answer($beside), "f\n", '... and known');
$first->quit;
query('CREATE TABLE effect (id text)');
pgbench($node, <<~'END', clients => 20, transactions => 100);
	\set id random(1, 200)
	BEGIN;
	INSERT INTO effect SELECT 'load ' || :id WHERE outbox.receive('c', 'load ' || :id);
	END;
	END
is(query('SELECT count(DISTINCT id), count(*) - count(DISTINCT id) FROM effect'),
	'200|0', 'of many at once, each has one effect');

is(query(<<~'END'), '1', 'repetitions leave one dead row');
	BEGIN;
	SELECT FROM generate_series(1, 100) WHERE outbox.receive('c', '1');
	SELECT n_tup_ins FROM pg_stat_xact_all_tables WHERE relid = 'outbox.inbox_0'::regclass;
	END;
	END

note 'in turn';
my $snapshot = $node->background_psql('postgres');
$snapshot->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM outbox.inbox_0');
is(query($turn), 0, 'the first table');
$snapshot->query_safe('COMMIT');
$snapshot->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class');
my $open = $node->background_psql('postgres');
$open->query_safe("BEGIN; SELECT outbox.receive('c', 'open')");
change_over();
is(receive('1'), 'f', 'known in the table before');
is(query(q{SELECT pg_relation_size('outbox.inbox_1')}), 0, '... which writes nothing');
is(receive('after'), 't', 'a new one');
is(query(q{SELECT count(*) FROM outbox.inbox_1 WHERE message_id IN ('1', 'after')}),
	1, '... is in the next one, alone');
my $waiting = start("SELECT outbox.receive('c', 'open')");
ok($waiting->is_running, 'one that was received before the change is waited for');
$open->query_safe('ROLLBACK');
is(answer($waiting), "t\n", '... and given back');
$open->query_safe("BEGIN; SELECT outbox.receive('c', 'late')");
crash($node);
$node->start;
is(receive('after'), 'f', 'known after a crash');
is(receive('late'), 't', 'but for what has not committed');
is(query($turn), 1, 'the same table');

$open = $node->background_psql('postgres');
$open->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pg_class');
change_over();
is(receive('after'), 'f', 'kept for one turn');
is(receive('1'), 't', 'forgotten after the second, though somebody holds a snapshot');
is(query('SELECT count(*) FROM outbox.inbox_0'), 1, 'space is freed');
$open->query_safe('COMMIT');
$open->query_safe(q{BEGIN; SELECT outbox.receive('c', 'in use')});
change_over();
since('1 h');
ok(stays(2, sub { query($turn) == 1 }), 'a table in use is not emptied');
since('0 h');
$open->query_safe('COMMIT');
is(receive('in use'), 'f', '... and what it holds is known');
$open->quit;

note 'a clock that was ahead';
query(q{UPDATE outbox.inbox_turn SET since = now() + interval '10 years'});
conf_reload($node);
wait_until(undef, sub { query('SELECT since <= clock_timestamp() FROM outbox.inbox_turn') eq 't' },
	'the table is kept for years');
pass('counts from now on');
is(receive('in use'), 'f', '... and nothing is forgotten');

note 'locks of others';
$open = $node->background_psql('postgres');
$open->query_safe('BEGIN; SELECT FROM outbox.inbox_turn FOR UPDATE');
conf_reload($node);
ok(stays(2, sub {
			query(q{SELECT count(*) FROM pg_stat_activity
				WHERE backend_type LIKE 'outbox relay%' AND wait_event_type = 'Lock'}) == 0;
		}), 'who has locked what is noted does not hold up the relay');
$open->quit;

note 'triggers of others';
query(<<~'END');
	CREATE TABLE log (id text);
	CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN INSERT INTO public.log VALUES (NEW.message_id); RETURN NULL; END $$;
	CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN NEW.message_id = 'x'; RETURN NEW; END $$;
	END
my @tables = map { "outbox.inbox_$_" } 0, 1;
query("CREATE TRIGGER others AFTER INSERT ON $_ FOR EACH ROW EXECUTE FUNCTION log()") for @tables;
is(receive($_), $_ eq 'logged' ? 't' : 'f', "received: $_") for 'logged', 'in use';
is(receive('logged'), 'f', '... again');
is(query('SELECT string_agg(id, $$ $$) FROM log'), 'logged', 'they know of what is new');
query("CREATE TRIGGER changes BEFORE INSERT ON $_ FOR EACH ROW EXECUTE FUNCTION change()") for @tables;
fails_with($node, 'postgres', q{SELECT outbox.receive('c', '4')}, '27000', qr/inbox_/, 'they may not change it');
query("DROP TRIGGER changes ON $_; DROP TRIGGER others ON $_") for @tables;

note 'indexes of others';
query("CREATE INDEX others_$_ ON $tables[$_] ((lower(message_id)))") for 0, 1;
is(receive($_), $_ eq 'Indexed' ? 't' : 'f', "received: $_") for 'Indexed', 'in use';
is(query(<<~'END'), '1|f', 'they have the row');
	SET enable_seqscan = off;
	SELECT (SELECT count(*) FROM outbox.inbox_0 WHERE lower(message_id) = 'indexed')
		+ (SELECT count(*) FROM outbox.inbox_1 WHERE lower(message_id) = 'indexed'),
		outbox.receive('c', 'Indexed');
	END
query("DROP INDEX outbox.others_$_") for 0, 1;

note 'rights and arguments';
query(q{CREATE ROLE app LOGIN; SELECT outbox.grant_receive('app', '{billing,mail.*}')});
my @app = (connstr => $node->connstr('postgres') . ' user=app');
for my $consumer ('billing', 'mail.out')
{
	my ($status, $out) = $node->psql('postgres', "SELECT outbox.receive('$consumer', '1')", @app);
	is("$status $out", '0 t', "for $consumer");
}
fails_with($node, 'postgres', "SELECT outbox.receive('c', '1')", '42501',
	qr/consumer "c".*grant_receive\('app', ARRAY\['c'\]\)/s, 'not for another', @app);
fails_with($node, 'postgres', 'SELECT FROM outbox.inbox_0', '42501', qr/inbox_0/, 'nor the table', @app);
is(query(q{SELECT string_agg(consumer, ' ' ORDER BY consumer) FROM outbox.receive_rights WHERE role = 'app'}),
	'billing mail.*', 'shown');
query(q{SELECT outbox.revoke_receive('app', '{mail.*}')});
fails_with($node, 'postgres', "SELECT outbox.receive('mail.out', '2')", '42501', qr/mail\.out/, 'revoked', @app);
query(q{SELECT outbox.revoke_receive('app'); DROP ROLE app});
fails_with($node, 'postgres', $_->[0], $_->[1], qr/$_->[2]/, $_->[0])
  for (
	[ q{SELECT outbox.receive(NULL, '1')}, '22004', 'consumer' ],
	[ q{SELECT outbox.receive('c', NULL)}, '22004', 'message_id' ],
	[ q{SELECT outbox.receive('c', '')}, '22023', '1 to 1000 bytes' ],
	[ q{SELECT outbox.receive('c', repeat('x', 1001))}, '22023', '1 to 1000 bytes' ],
	[ q{SELECT outbox.receive('a b', '1')}, '22023', 'illegal' ],
	[ q{BEGIN READ ONLY; SELECT outbox.receive('c', '1')}, '25006', 'read-only' ],
	[ q{SELECT outbox.grant_receive('postgres', '{a b}')}, '22023', 'a b' ]);

note 'a dump';
my $dump = PostgreSQL::Test::Utils::tempdir('dump') . '/dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, '-d', $node->connstr('postgres') ], 'dumped');
query('CREATE DATABASE copy', 'template1');
$node->command_ok([ 'pg_restore', '-d', $node->connstr('copy'), $dump ], 'restored');
is(query(q{SELECT outbox.receive('c', 'in use'), outbox.receive('c', 'not there')}, 'copy'),
	'f|t', 'ids are known');
is(query($turn, 'copy'), query($turn), 'in the same table');

note 'a move';
my $received = PostgreSQL::Test::Utils::tempdir('move') . '/received';
query('CREATE DATABASE green', 'template1');
query('CREATE EXTENSION outbox', 'green');
query("COPY (TABLE outbox.inbox_0 UNION ALL TABLE outbox.inbox_1) TO '$received'");
query("COPY outbox.inbox_0 FROM '$received'", 'green');
is(query(q{SELECT outbox.receive('c', 'in use'), outbox.receive('c', 'after'), outbox.receive('c', 'not there')}, 'green'),
	query(q{SELECT outbox.receive('c', 'in use'), outbox.receive('c', 'after'), outbox.receive('c', 'not there')}),
	'takes along what has been received');

note 'a relay that has ended for want of work';
my $mock = OutboxTest::Mock->new;
conf_reload($node, 'outbox.bootstrap_servers = ' . "'" . $mock->bootstrap . "'\noutbox.idle_timeout = 100");
query('CREATE DATABASE quiet', 'template1');
query('CREATE EXTENSION outbox', 'quiet');
my $state = 'SELECT state FROM outbox.stat_relay';
wait_until(undef, sub { query($state, 'quiet') eq 'idle' }, 'the relay does not end');
is(query(q{SELECT outbox.receive('c', '1')}, 'quiet'), 't', 'the first message of a database');
wait_until(undef, sub { query('SELECT count(*) FROM outbox.inbox_turn', 'quiet') == 1 },
	'the relay does not look after the inbox');
pass('the relay looks after the inbox');
wait_until(undef, sub { query($state, 'quiet') eq 'idle' }, 'the relay does not end again');
pass('and ends again');

clean_log($node, 'the log is clean', also => qr/segfault/);
done_testing();
