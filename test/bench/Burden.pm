# What weighs on an outbox and must not slow it down: parked events, published
# ones that are retained, a snapshot that somebody holds.  The yardstick is
# another database, without it, that lives through the same rounds.
package Burden;

use strict;
use warnings;

use Bench;
use Report;
use Servers;

our $history;    # how many retained events

# Call it with one of the two as the present database.
sub in_database
{
	my ($name, $code) = @_;
	local $ENV{PGDATABASE} = $name;
	return $code->();
}

sub prepare
{
	my ($burden) = @_;
	$servers->relays_off;
	$servers->add_database($_) for qw(free burdened);
	return $burden->();
}

sub clean_up
{
	$servers->drop_database($_) for qw(free burdened);
	return;
}

# Short rounds in both databases, twice as many as elsewhere, because little
# difference is to be told from noise; returns the pairs of their figures.
sub rounds_of
{
	my ($code) = @_;
	my @pairs;
	for my $round (1 .. $rounds * 2)
	{
		push @pairs, [ alternate($round,
			map { my $name = $_;
				  sub { in_database($name, sub { $code->($name) }) }
			} qw(free burdened)) ];
	}
	return \@pairs;
}

# The relay at work on a backlog.
sub throughput
{
	my ($what, $least) = @_;
	my $events = size(1_000_000, 100_000);
	$servers->create_topic('backlog', 4);
	my $work = sub {
		my ($name) = @_;
		# what earlier rounds have published, which nobody retains there
		$servers->sql('TRUNCATE outbox.event_0') if $name ne 'burdened';
		build_backlog($events);
		return measure($name, sub { drain($events) });
	};
	in_database('free', sub { $work->('warm up') }) for 1 .. 3;
	compare("$what: from a backlog, events/s", '%.0f', rounds_of($work),
		least => $least);
	return;
}

# How long events take to a consumer.
sub latency
{
	my ($what, $most) = @_;
	my $seconds = size(6, 3);
	$servers->create_topic('latency', 4);
	my $wait = sub {
		my ($name, $rate) = @_;
		$servers->relay_on;
		$servers->relay_pid;
		return measure($name,
			sub {
				my ($figures, $line) = delay('outbox', $rate // 500, $seconds);
				return ($figures->{p50}, $line);
			});
	};
	in_database('free', sub { $wait->('warm up', 2000) });
	compare("$what: commit to consumer, p50, ms", '%.2f', rounds_of($wait),
		most => $most);
	return;
}

# Park an event of each of these keys, as if it had to be tried again tomorrow.
sub park
{
	my ($count, $key) = @_;
	$servers->sql(
		[   "SELECT count(outbox_emit('backlog', $key, " . payload() . "))
			 FROM generate_series(1, $count) AS n",
			"INSERT INTO outbox.parked (relay, id, event_id, emitted_at, topic, key,
				payload, headers, state, blocking, class, error, attempts,
				first_failed_at, last_failed_at, next_attempt_at)
			 SELECT relay.name, id, event_id, emitted_at, topic, key, payload,
				headers, 'retrying', true, 'event', 'refused by the benchmark',
				1, now(), now(), now() + interval '1 day'
			 FROM outbox.relay, outbox.event",
			'UPDATE outbox.relay
			 SET first_position = (SELECT max(id) FROM outbox.event)',
			'VACUUM ANALYZE outbox.parked' ]);
	return;
}

# Keys are key-0 to key-9999.
sub blocked
{
	prepare(sub { park(500, "'key-' || n * 20") });
	throughput('5 % of the keys blocked', 0.8);
	clean_up();
	my $parked = size(100_000, 10_000);
	prepare(sub { park($parked, "'other-' || n") });
	throughput(number('%d', $parked) . ' parked events of other keys', 0.8);
	clean_up();
	note 'blocked: what is blocked is written to outbox.parked, and counts';
	return;
}

# Events that have been published, in all segments, the latest in the first.
sub fill
{
	my $part = $history / 8;
	my $nil = '00000000-0000-0000-0000-000000000000';
	for my $i (1 .. 8)
	{
		my $segment = 'outbox.event_' . $i % 8;
		my $from = $part * ($i - 1);
		$servers->sql(
			[   "INSERT INTO $segment SELECT $from + n, '$nil', now(),
				'backlog', 'key-' || n % 10000, " . payload() . ", NULL
				FROM generate_series(1, $part) AS n",
				"VACUUM (FREEZE, ANALYZE) $segment" ]);
	}
	$servers->sql(
		[   "SELECT setval('outbox.event_id_seq', $history)",
			"UPDATE outbox.relay SET first_position = $history",
			'CHECKPOINT' ]);
	return;
}

sub history
{
	$history //= size(20_000_000, 2_000_000);
	prepare(\&fill);
	my $retained = number('%d', $history) . ' retained events';
	throughput($retained, 0.95);
	latency($retained, 1.05);
	clean_up();
	return;
}

# A transaction that looked at the outbox once and never ends.
sub hold_snapshot
{
	open(my $psql, '|-', "$servers->{bindir}/psql", qw(-XAtq -d burdened -o),
		"$servers->{dir}/snapshot")
	  or die "psql: $!\n";
	$psql->autoflush(1);
	print $psql "BEGIN ISOLATION LEVEL REPEATABLE READ;\n",
	  "SELECT count(*) FROM outbox.event;\n";
	Servers::wait_for('the snapshot', 30,
		sub {
			return $servers->sql("SELECT count(*) FROM pg_stat_activity
				WHERE datname = 'burdened' AND state = 'idle in transaction'
				AND backend_xmin IS NOT NULL");
		});
	return $psql;
}

sub snapshot
{
	my $session = prepare(\&hold_snapshot);
	throughput('a snapshot is held', 0.95);
	latency('a snapshot is held', 1.05);
	close $session or die "the snapshot was not held to the end\n";
	clean_up();
	return;
}

1;
