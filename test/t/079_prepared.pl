# PREPARE TRANSACTION with what relays are told of at commit, or kept away for;
# and a session that keeps the relay away for two reasons at once.
#
# Catches: a relay that stays away, or does not learn of it, until a restart,
# because the commit came from elsewhere; one that starts among rows that are
# being loaded, because the same session has ended some other work.

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
	conf => "max_prepared_transactions = 3\noutbox.retry_max_attempts = 1\n");

sub prepared { return query('SELECT count(*) FROM pg_prepared_xacts'); }

query("CREATE DATABASE $_") for qw(fresh renamed);
query('CREATE EXTENSION outbox', 'renamed');
query('CREATE TABLE ordinary (n int)');

note 'refused';
for (
	[ 'postgres', "SELECT outbox_emit('t', 'k', 'x')", 'emitted events' ],
	[ 'fresh', 'CREATE EXTENSION outbox', 'created, altered or dropped extension "outbox"' ],
	[ 'fresh', "CREATE EXTENSION outbox VERSION '1.0'", 'created, altered or dropped extension "outbox"' ],
	[ 'postgres', 'DROP EXTENSION outbox', 'created, altered or dropped extension "outbox"' ],
	[ 'postgres', 'SELECT outbox.requeue()', 'requeued, discarded, replayed or paused events' ],
	[ 'postgres', "SELECT outbox.discard(topic => 't')", 'requeued, discarded, replayed or paused events' ],
	[ 'postgres', 'SELECT outbox.replay(first_id => 1)', 'requeued, discarded, replayed or paused events' ],
	[ 'postgres', 'SAVEPOINT s; SELECT outbox.requeue(); RELEASE s', 'requeued, discarded, replayed or paused events' ],
	[ 'postgres', 'ALTER DATABASE renamed RENAME TO other', 'renamed a database' ],
	[ 'postgres', 'INSERT INTO outbox.delayed SELECT * FROM outbox.delayed', 'loaded rows into the outbox' ])
{
	my ($db, $work, $deed) = @$_;

	fails_with($node, $db, "BEGIN; $work; PREPARE TRANSACTION 'p'", '0A000',
		qr/cannot PREPARE a transaction that has \Q$deed\E/, $work);
}
is(prepared(), 0, 'nothing is prepared');

note 'what is nobody\'s harm';
for my $work (
	'INSERT INTO ordinary VALUES (1)',
	'SAVEPOINT s; SELECT outbox.requeue(); ROLLBACK TO s',
	'SAVEPOINT a; SAVEPOINT b; ALTER DATABASE renamed RENAME TO other; RELEASE b; ROLLBACK TO a',
	'CREATE EXTENSION amcheck',
	'SELECT outbox.cancel_delayed(gen_random_uuid())',
	'SELECT * FROM outbox.stat_relay')
{
	query("BEGIN; $work; PREPARE TRANSACTION 'p'");
	query("COMMIT PREPARED 'p'");
	pass($work);
}

note 'relays go on';
for my $db (qw(postgres renamed))
{
	wait_state($node, 'publishing', $db);
	query("SELECT outbox_emit('t', 'k', '$db')", $db);
	ok(wait_published($node, $db), "published: $db");
}
query('CREATE EXTENSION outbox', 'fresh');
wait_state($node, 'publishing', 'fresh');
ok($consumer->drain, 'drained');
is($consumer->events, 2, 'all has arrived');

note 'a session that loads rows, and renames a database meanwhile';
my $loader = $node->background_psql('postgres');
$loader->query_safe('INSERT INTO outbox.parked SELECT * FROM outbox.parked');
wait_until(undef, sub { outbox_pid($node, 'postgres') eq '' }, 'the relay ends');
my $from = log_end($node);
$loader->query_safe('ALTER DATABASE renamed RENAME TO other');
wait_until(undef, sub { outbox_pid($node, 'other') ne '' }, 'the relay of the other comes back');
ok(stays(1.5, sub { outbox_pid($node, 'postgres') eq '' }), 'the relay stays away');
$loader->quit;
wait_state($node, 'publishing');

note 'a session that ends in the middle of a rename';
my $renamer = $node->background_psql('postgres');
$renamer->query_safe('BEGIN; ALTER DATABASE other RENAME TO renamed');
wait_until(undef, sub { outbox_pid($node, 'other') eq '' }, 'the relay ends');
$renamer->quit;
wait_state($node, 'publishing', 'other');
clean_log($node, 'no crash');
$node->stop;
done_testing();
