# What the relay takes while it has nothing to do, or nobody to send to.
package Relay;

use strict;
use warnings;

use Bench;
use IO::Socket::INET;
use List::Util qw(max);
use Report;
use Servers;
use Time::HiRes qw(time usleep);

# How often a thread went to sleep by itself, which is how often it was woken.
sub sleeps
{
	my $status = shift;
	open(my $file, '<', $status) or die "$status: $!\n";
	my ($count) = join('', <$file>) =~ /^voluntary_ctxt_switches:\s+(\d+)/m;
	return $count;
}

sub transactions
{
	return $servers->sql("SELECT xact_commit + xact_rollback
		FROM pg_stat_database WHERE datname = '$ENV{PGDATABASE}'", 'postgres');
}

# A relay with nothing to do.  Its transactions are counted from another
# database; autovacuum, which would add its own, is off.
sub idle
{
	$servers->create_topic('idle', 1);
	$servers->configure(autovacuum => 'off');
	$servers->new_database;
	$servers->relay_on;
	my $pid = $servers->relay_pid;
	my $main = "/proc/$pid/task/$pid/status";
	$servers->sql("SELECT outbox_emit('idle', 'key', 'x'::bytea)");
	$servers->sql('SELECT outbox.wait_published()') eq 't'
	  or die "the event of the idle test is not published\n";

	# the relay has settled once it was quiet for a while
	my ($last, $since) = (-1, time());
	Servers::wait_for('a quiet relay', 60, sub {
		my $now = sleeps($main);
		($last, $since) = ($now, time()) if $now != $last;
		return time() - $since > 2;
	});
	my (@woken, @queried, @threads);
	for (1 .. size(3, 1))
	{
		my @before = (sleeps($main), transactions());
		my $all = 0;
		$all -= sleeps($_) for glob "/proc/$pid/task/*/status";
		usleep(10_000_000);    # the measurement: 10 s of nothing
		$all += sleeps($_) for glob "/proc/$pid/task/*/status";
		push @woken, sleeps($main) - $before[0];
		push @queried, transactions() - $before[1];
		push @threads, $all;
	}
	$servers->configure(autovacuum => 'on');
	bound('idle relay, transactions in 10 s', max(@queried), '0',
		max(@queried) == 0);
	bound('idle relay, wake-ups in 10 s', max(@woken), '<= 1', max(@woken) <= 1);
	note 'idle: the worst of ' . @woken . ' times 10 s; with the '
	  . "library's threads " . max(@threads) . ' wake-ups';
	return;
}

# Memory of a process in MB: its own, and pages of shared buffers it touched.
sub memory_of
{
	my $pid = shift;
	open(my $file, '<', "/proc/$pid/status") or die "/proc/$pid/status: $!\n";
	my %kb = join('', <$file>) =~ /^(Rss\w+):\s+(\d+) kB/mg;
	return (($kb{RssAnon} + $kb{RssFile}) / 1024, $kb{RssShmem} / 1024);
}

# A relay with a backlog and a broker that is not there; then it comes.
sub memory
{
	my $events = size(1_000_000, 200_000);
	$servers->relays_off;
	$servers->new_database;
	build_backlog($events);
	my $dead = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Proto => 'tcp')
	  or die "no free port: $!\n";    # bound, so that nobody else listens there
	$servers->configure(
		'outbox.bootstrap_servers' => '127.0.0.1:' . $dead->sockport);
	$servers->relay_on;
	my $pid = $servers->relay_pid;
	my @peak = (0, 0, 0);    # first half of the outage, second half, after it
	my $shared = 0;
	my $duration = size(30, 10);
	my $start = time();
	my $look = sub {
		my $phase = shift;
		(my $own, $shared) = memory_of($pid);
		$peak[$phase] = max($peak[$phase], $own);
		usleep(50_000);
	};
	while ((my $passed = time() - $start) < $duration)
	{
		$look->($passed < $duration / 2 ? 0 : 1);
	}
	die "published without a broker\n" if pending() != $events;
	$servers->configure('outbox.bootstrap_servers' => $servers->{brokers});
	Servers::wait_for('the backlog to drain', 120,
		sub { $look->(2); return pending() == 0 });

	bound('relay memory, broker down, MB', sprintf('%.0f', max(@peak[0, 1])),
		'< 150', max(@peak[0, 1]) < 150);
	bound('  growth in the second half, MB',
		sprintf('%.1f', $peak[1] - $peak[0]), '<= 2', $peak[1] - $peak[0] <= 2);
	bound('  broker back, MB', sprintf('%.0f', $peak[2]), '< 150',
		$peak[2] < 150);
	note sprintf 'relay memory: RSS without the pages of '
	  . 'shared_buffers it touched (%.0f MB), a backlog of %d events, %d s',
	  $shared, $events, $duration;
	return;
}

1;
