# What it costs to be watched: the figures that Prometheus reads, and what
# reading them, and all that tells operators something, takes from the work.
package Operating;

use strict;
use warnings;

use Bench;
use Burden;
use Emit;
use Report;
use Servers;

my $seconds_between = 5;    # Prometheus looks each 15

# How long one call takes, beside this many topics and retained events.
sub metrics
{
	my $topics = 50;
	my $retained = $Burden::history // size(10_000_000, 1_000_000);
	local $Burden::history = $retained;
	my $file = "$servers->{dir}/calls.sql";

	$servers->relays_off;
	$servers->new_database;
	Burden::fill();
	$servers->create_topic("topic-$_", 1) for 1 .. $topics;
	$servers->sql("SELECT count(outbox_emit('topic-' || n % $topics + 1, 'key', 'x'::bytea))
		FROM generate_series(1, 1000) AS n");
	$servers->relay_on;
	$servers->relay_pid;
	$servers->sql('SELECT outbox.wait_published()') eq 't'
	  or die "the relay does not publish\n";
	open(my $script, '>', $file) or die "$file: $!\n";
	print $script "\\timing on\n", "SELECT length(outbox.metrics());\n" x 21;
	close $script or die "$file: $!\n";
	my $took = median(Servers::output_of("$servers->{bindir}/psql", '-XAtqf', $file) =~
		/^Time: ([\d.]+) ms/mg);
	bound(number('outbox.metrics() with %d retained events, ms', $retained),
		sprintf('%.1f', $took), '<= 20', $took <= 20);
	note "outbox.metrics(): $topics topics, the median of calls of one session";
	return;
}

# Call it while somebody looks at everything again and again.
sub watched
{
	my ($code) = @_;
	my $pid = open(my $psql, '|-', "$servers->{bindir}/psql", qw(-XAtq -o /dev/null))
	  or die "psql: $!\n";
	$psql->autoflush(1);
	print $psql "SELECT length(outbox.metrics()), (SELECT count(*) FROM outbox.health()),
		(SELECT count(*) FROM outbox.top()) \\watch $seconds_between\n";
	my @result = $code->();
	kill 'TERM', $pid;
	close $psql;
	return @result;
}

sub from_a_backlog
{
	my ($name, $around, @prepare) = @_;
	my $events = size(3_000_000, 200_000);

	$servers->relays_off;
	$servers->new_database;
	$servers->sql($_) for @prepare;
	build_backlog($events);
	return measure($name, sub { $around->(sub { drain($events) }) });
}

sub alone
{
	my ($code) = @_;
	return $code->();
}

# Throughput and emit, beside the same with nobody who looks; and throughput
# with what an event's envelope may hold.
sub operating
{
	my (@watched, @enveloped);
	my $row = "'emit', 'key-' || :k, '" . 'payload.' x ($payload_size / 8) . "'";
	my $statement = "SELECT outbox_emit($row\::bytea)";
	my $emit = sub { Emit::pgbench($statement) };
	my $cloudevents = "SELECT outbox.alter_relay('default', event_headers => 'cloudevents')";

	$servers->create_topic('backlog', 4);
	from_a_backlog('warm up', \&alone) for 1 .. size(3, 1);
	for my $round (1 .. $rounds)
	{
		push @watched, [ alternate($round,
			sub { from_a_backlog('alone', \&alone) },
			sub { from_a_backlog('watched', \&watched) }) ];
		push @enveloped, [ alternate($round,
			sub { from_a_backlog('plain', \&alone) },
			sub { from_a_backlog('enveloped', \&alone, $cloudevents) }) ];
	}
	compare('watched: from a backlog, events/s', '%.0f', \@watched, least => 0.98);
	compare('CloudEvents headers: from a backlog, events/s', '%.0f', \@enveloped,
		least => 0.70);
	compare('watched: emit, one a transaction, tx/s', '%.0f',
		Emit::rounds_of($rounds * 2, [ alone => $emit ], [ watched => sub { watched($emit) } ]),
		least => 0.98);
	note "watched: metrics(), health() and top() each $seconds_between s, "
	  . 'against nobody who looks';
	note 'CloudEvents headers: four to an event, against one, its event_id';
	return;
}

1;
