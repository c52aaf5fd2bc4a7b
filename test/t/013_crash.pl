# Crashes of the server: every process of it is killed at once, under load, and
# it recovers.  Nothing that is committed is lost.  Nothing is published that
# recovery has undone: with synchronous_commit = off a commit is visible before
# it is durable.
#
# Catches: a position that runs ahead of what Kafka has acknowledged, and a
# relay that publishes what it sees without waiting until the WAL is flushed.
#
# The mock broker and the consumer outlive the server.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use PostgreSQL::Test::Utils;
use Test::More;

my $mock = OutboxTest::Mock->new;
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1);
$node->safe_psql('postgres', <<~'END');
	CREATE TABLE ledger (event_id uuid);
	CREATE TABLE plain (n int);
	END

my $script = <<~'END';
	\set key random(1, 20)
	\set fate random(1, 5)
	BEGIN;
	INSERT INTO ledger
		SELECT outbox_emit('crash', :key, n::text) FROM generate_series(1, :fate) n;
	\if :fate = 5
	ROLLBACK;
	\else
	COMMIT;
	\endif
	END

# Starts load and kills the server when so many events have been published.
sub crash_under_load
{
	my ($events, %opt) = @_;
	my $load = pgbench($node, $script,
		clients => 4, rate => 500, duration => 600, background => 1);

	$consumer->wait_for($consumer->count + $events)
	  or die 'the load is not published: ' . $load->log_tail;
	wait_for_backlog($opt{backlog}) if $opt{backlog};
	crash($node);
	$load->stop;
	$mock->command('up') if $opt{backlog};
	$node->start;
	return;
}

# Events that wait for the broker, more than come between two writes of the
# position: it must not be beyond them.
sub wait_for_backlog
{
	my ($events) = @_;

	$mock->command('down');
	$node->poll_query_until('postgres',
		"SELECT pending_events > $events FROM outbox.stat_relay")
	  or die 'no backlog';
	return;
}

# What recovery has brought back is the truth.
sub check
{
	my ($name) = @_;

	ok(wait_published($node), "$name: published");
	ok($consumer->drain, "$name: read");
	my @events = events($node);
	my $duplicates = check_delivery(\@events, [ $consumer->records ], $name);
	is_deeply(
		[ sort split /\n/, $node->safe_psql('postgres', 'TABLE ledger') ],
		[ sort map { $_->{event_id} } @events ],
		"$name: what the transactions themselves have written");
	return $duplicates;
}

note 'synchronous commits';
crash_under_load(800 + 300 * $_) for 1 .. 2;
crash_under_load(300, backlog => 2500);
check('synchronous');

note 'asynchronous commits';
$node->append_conf('postgresql.conf', <<~'END');
	synchronous_commit = off
	wal_writer_delay = 10s
	wal_writer_flush_after = 1GB
	bgwriter_lru_maxpages = 0
	autovacuum = off
	END
$node->restart;

# A commit that comes after all that is published is what the crash undoes.
my $undone = 0;
for my $n (1 .. 3)
{
	is($node->safe_psql('postgres', <<~END), 't', "event $n is published");
		INSERT INTO ledger VALUES (outbox_emit('crash', 'key', 'async $n'));
		SELECT outbox.wait_published('60 s');
		INSERT INTO plain VALUES ($n);
		END
	crash($node);
	$node->start;
	$undone++
	  if $node->safe_psql('postgres',
		"SELECT count(*) FROM plain WHERE n = $n") == 0;
}
cmp_ok($undone, '>', 0, "the crash has undone $undone commits");
check('asynchronous');

crash_under_load(600 + 300 * $_) for 1 .. 2;
check('asynchronous, under load');

$node->stop;
done_testing();
