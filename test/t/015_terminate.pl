# The processes are ended under load, in every way an operator can: the relay
# and the launcher come back by themselves, nothing is lost, order is kept, and
# an orderly end repeats hardly anything, because the broker's answers are
# waited for and the position is written.
#
# Catches: a process that is not started again, a second relay beside the first,
# and an exit that throws away what the process knows.

use strict;
use warnings;

use OutboxTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $mock = OutboxTest::Mock->new;
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1,
	conf => 'restart_after_crash = on');

# The process of that kind in this database; undef if there is none (yet).
sub pid_of
{
	my ($type) = @_;

	my $pid = query("SELECT pid FROM pg_stat_activity WHERE backend_type = '$type'");
	return $pid eq '' ? undef : $pid;
}

sub start_load
{
	return pgbench($node, <<~'END',
		\set key random(1, 20)
		SELECT outbox_emit('end', :key, n::text) FROM generate_series(1, 2) n;
		END
		clients => 4,
		rate => 400,
		duration => 600,
		background => 1);
}

# Waits for another process of that kind, and for events that come through it.
sub comes_back
{
	my ($type, $old, $how) = @_;
	my $events = $consumer->events;

	my $new = wait_until(
		undef,
		sub {
			my $pid = pid_of($type);
			return defined $pid && $pid != $old && $pid;
		},
		"$type comes back");
	ok($new, "$how: $type comes back");
	ok($consumer->wait_for_events($events + 300), "$how: publishing goes on");
	return $new;
}

sub check
{
	my ($name) = @_;

	ok(wait_published($node) && $consumer->drain, "$name: all is published");
	return check_delivery([ events($node) ], [ $consumer->records ], $name);
}

note 'the relay';
my $load = start_load();
$consumer->wait_for(500) or die 'no load';
my $relay = pid_of('outbox relay');
for my $i (1 .. 2)
{
	query("SELECT pg_terminate_backend($relay)");
	$relay = comes_back('outbox relay', $relay, "pg_terminate_backend $i");
	kill 'TERM', $relay;
	$relay = comes_back('outbox relay', $relay, "SIGTERM $i");
}
query("SELECT pg_cancel_backend($relay)");
my $events = $consumer->events;
ok($consumer->wait_for_events($events + 300), 'pg_cancel_backend: it goes on');
is(pid_of('outbox relay'), $relay, 'and is the same process');
# ... and a signal is no failure, which would make it wait longer each time
my $start = time;
for my $i (1 .. 10)
{
	my $old = $relay;
	query("SELECT pg_terminate_backend($old)");
	wait_until(
		undef,
		sub {
			$relay = pid_of('outbox relay');
			return defined $relay && $relay != $old;
		},
		'the relay comes back');
}
cmp_ok(time - $start, '<', 50, 'ten times in a row');
$load->stop;
my $duplicates = check('relay');
cmp_ok($duplicates, '<', 50, 'orderly ends have repeated hardly anything');

note 'the launcher';
$load = start_load();
my $launcher = pid_of('outbox launcher');
$relay = pid_of('outbox relay');
kill 'TERM', $launcher;
$launcher = comes_back('outbox launcher', $launcher, 'launcher');
is(pid_of('outbox relay'), $relay, 'the relay goes on meanwhile');

query(<<~'END');
	SELECT pg_terminate_backend(pid) FROM pg_stat_activity
	WHERE backend_type LIKE 'outbox %'
	END
$launcher = comes_back('outbox launcher', $launcher, 'both');
$relay = comes_back('outbox relay', $relay, 'both');
$load->stop;
cmp_ok(check('launcher') - $duplicates, '<', 50, 'nor have these');

note 'kill -9 of the relay: the server recovers from a crash';
$load = start_load();
$events = $consumer->events;
$consumer->wait_for_events($events + 300) or die 'no load';
my $log = -s $node->logfile;
kill 'KILL', $relay;
$node->wait_for_log(qr/ready to accept connections/, $log);
$load->stop;
$load = start_load();
$relay = comes_back('outbox relay', $relay, 'kill -9');
$load->stop;
check('kill -9');
is(relay_state($node), 'publishing', 'state');

$node->stop;
done_testing();
