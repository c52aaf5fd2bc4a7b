# Strangers delay nobody: while a transaction that has emitted stays open, a
# snapshot is held, a statement runs forever and a prepared transaction waits,
# the events of others are published at once, and those of the open one when it
# commits.
#
# Catches: a relay that reads up to the oldest running transaction
# (pg_snapshot_xmin), and a place in the order that is taken at the emit instead
# of the commit.

use strict;
use warnings;

use OutboxTest;
use Test::More;
use Time::HiRes qw(time);

my $prompt = 10;    # seconds, on a busy machine; a stall lasts forever
my $rounds = 40;

my $mock = OutboxTest::Mock->new(topics => { t => 1 });
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1,
	conf => 'max_prepared_transactions = 2');
$node->safe_psql('postgres', 'CREATE TABLE plain (n int)');

note 'the strangers';
my $open = $node->background_psql('postgres');
$open->query_safe(q{BEGIN; SELECT outbox_emit('t', 'k', 'from the open one')});
my $doomed = $node->background_psql('postgres');
$doomed->query_safe(q{BEGIN; SELECT outbox_emit('t', 'k', 'never')});
$doomed->query_safe('SAVEPOINT s; INSERT INTO plain VALUES (0)');
my $snapshot = $node->background_psql('postgres');
$snapshot->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
$snapshot->query_safe('SELECT count(*) FROM outbox.event');
$snapshot->query_safe('INSERT INTO plain VALUES (1)');
my $statement = pgbench($node, <<~'END', background => 1);
	INSERT INTO plain VALUES (2) \; SELECT pg_sleep(3600);
	END
$node->safe_psql('postgres', <<~'END');
	BEGIN;
	INSERT INTO plain VALUES (3);
	PREPARE TRANSACTION 'waiting';
	END

my $strangers = <<~'END';
	SELECT count(*) FROM pg_stat_activity
	WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND
		(backend_xid IS NOT NULL OR backend_xmin IS NOT NULL OR
			state = 'idle in transaction')
	END
$node->poll_query_until('postgres', $strangers, '4')
  or die 'the strangers are not there';

note 'everybody else';
my $session = $node->background_psql('postgres');
my ($slowest, $published) = (0, 0);
for my $i (1 .. $rounds)
{
	my $start = time;
	my $answer = $session->query_safe(<<~END);
		SELECT outbox_emit('t', 'k', 'round $i') AS id \\gset
		SELECT outbox.wait_published('$prompt s');
		END
	last if $answer ne 't';
	$published++;
	$slowest = time - $start if time - $start > $slowest;
}
is($published, $rounds, 'events of others are published meanwhile');
note sprintf 'slowest: %.3f s', $slowest;
is($consumer->wait_for($rounds) && $consumer->count, $rounds, 'and only these');

is($session->query_safe($strangers), 4, 'the strangers are still there');
is($session->query_safe(
		'SELECT pg_snapshot_xmin(pg_current_snapshot())::text::int <'
		  . ' (SELECT max(xmin::text::int) FROM outbox.event)'),
	't', 'and are older than the events that were published');
is($session->query_safe(
		'SELECT position = horizon - 1 AND pending_events = 0'
		  . ' FROM outbox.stat_relay'),
	't', 'nothing is pending');

note 'the strangers end';
$doomed->query_safe('ROLLBACK');
$open->query_safe(q{SELECT outbox_emit('t', 'k', 'second of the open one')});
$open->query_safe('COMMIT');
$snapshot->query_safe(q{SELECT outbox_emit('t', 'k', 'from the snapshot')});
$snapshot->query_safe('COMMIT');
$statement->stop;
$session->query_safe(q{COMMIT PREPARED 'waiting'});
is($session->query_safe("SELECT outbox.wait_published('$prompt s')"),
	't', 'published');
ok($consumer->drain, 'read');
is_deeply(
	[ map { $_->{payload} } $consumer->records ],
	[
		(map { "round $_" } 1 .. $rounds),
		'from the open one',
		'second of the open one',
		'from the snapshot'
	],
	'events come in the order of the commits');

note 'an operator who holds the row of the relay is not waited for';
$open->query_safe('BEGIN; SELECT FROM outbox.relay FOR UPDATE');
for my $i (1 .. 3)
{
	my $published = $session->query_safe(<<~END);
		SELECT outbox_emit('t', 'k', 'locked $i') AS id \\gset
		SELECT outbox.wait_published('$prompt s');
		END
	is($published, 't', "published, $i");
	# long enough for the position to become due
	$node->poll_query_until('postgres', <<~'END') or die 'not due';
		SELECT max(written_at) < clock_timestamp() - interval '1.2 s' FROM outbox.position
		END
}
is( $node->safe_psql('postgres', <<~'END'),
	SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'outbox relay'
		AND (xact_start IS NOT NULL OR backend_xmin IS NOT NULL)
	END
	0, 'nor holds the relay a transaction');
$open->query_safe('COMMIT');
ok( $node->poll_query_until('postgres',
		'SELECT written_position = position FROM outbox.stat_relay'),
	'the position is written when the row is free');

note 'a transaction that has emitted cannot be prepared';
my ($rc, undef, $error) = $node->psql('postgres',
	q{BEGIN; SELECT outbox_emit('t', 'k', 'never'); PREPARE TRANSACTION 'p'});
is($rc, 3, 'refused');
like($error, qr/cannot PREPARE a transaction that has emitted events/,
	'with the reason');
ok(wait_published($node) && $consumer->drain, 'afterwards');
is($consumer->count, $rounds + 6, 'nothing of it is published');
is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_prepared_xacts'),
	0, 'nor prepared');

$_->quit for $session, $open, $doomed, $snapshot;
$node->stop;
done_testing();
