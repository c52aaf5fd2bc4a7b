# The way to Kafka, against the raw producer: how many events a second from a
# backlog, and how long an event takes to a consumer.
package Stream;

use strict;
use warnings;

use Bench;
use FindBin;
use Report;
use Servers;

my $events;    # of a backlog

# The yardstick: the raw producer, with as many records.
sub produce
{
	my @options = @_;
	my $line = Servers::output_of("$FindBin::RealBin/producer", @options,
		$servers->{brokers}, 'backlog', $events, $payload_size);
	my ($rate) = $line =~ /^(\d+)/ or die "producer: $line\n";
	return ($rate, $line);
}

sub relay_at_work
{
	$servers->relays_off;
	$servers->new_database;
	build_backlog($events);
	return measure('relay', sub { drain($events) });
}

# The broker's code gets compiled while it works: on the test machine it reaches
# its speed in the fourth million of records.  Who runs first would pay for that,
# and the other one look good.
sub warm_up
{
	for (1 .. size(3, 1))
	{
		measure('warm up', \&produce) for 1 .. 2;
		relay_at_work();
	}
	return;
}

sub backlog
{
	my @pairs;
	$events = size(1_000_000, 200_000);
	$servers->create_topic('backlog', 4);
	warm_up();
	for my $round (1 .. $rounds)
	{
		push @pairs, [ alternate($round,
			sub { measure('producer', \&produce) },
			\&relay_at_work) ];
	}
	my $bare = measure('bare', sub { produce('--bare') });
	compare('relay from a backlog, events/s', '%.0f', \@pairs, least => 0.70);
	note sprintf 'backlog: %d events of %d bytes, 4 partitions; raw librdkafka '
	  . 'producer (records without header and time: %.0f/s)',
	  $events, $payload_size, $bare;
	return;
}

sub latency
{
	my @pairs;
	my $seconds = size(20, 5);
	$servers->create_topic('latency', 4);
	$servers->new_database;
	$servers->relay_on;
	$servers->relay_pid;
	delay($_, 2000, 5) for qw(raw outbox);    # warms up, as above
	for my $round (1 .. $rounds)
	{
		push @pairs, [ alternate($round,
			sub { measure('raw', sub { delay('raw', 500, $seconds) }) },
			sub { measure('outbox', sub { delay('outbox', 500, $seconds) }) }) ];
	}
	for (['p50', 0.5], ['p99', 10])
	{
		my ($figure, $most) = @$_;
		compare("commit to consumer, $figure, ms",
			'%.2f', [ map { [ map { $_->{$figure} } @$_ ] } @pairs ],
			difference => 1, most => $most);
	}
	note 'commit to consumer: 500 tx/s, 4 connections; '
	  . 'raw: produce call to consumer';
	return;
}

1;
