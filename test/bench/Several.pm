# Several relays of a database: what each costs the others, and who emits.
package Several;

use strict;
use warnings;

use Bench;
use Emit;
use List::Util qw(min);
use Report;
use Servers;

my $events;    # of a backlog

# A relay to the brokers, or to none that can be reached.
sub create
{
	my ($name, $brokers, $arguments) = @_;
	$servers->cluster_file($name, 'bootstrap.servers=' . ($brokers // '127.0.0.1:1'));
	$servers->sql("SELECT outbox.create_relay('$name'" . ($arguments // '') . ')');
	return;
}

# Events a second of each of these relays at work on the backlog.
sub backlog_of
{
	my ($relays, $create) = @_;
	$servers->relays_off;
	$servers->new_database;
	$create->() if $create;
	build_backlog($events);
	return measure("@$relays", sub { drain($events, @$relays) });
}

# The default relay beside one whose cluster is down, against the default relay
# alone.
sub beside
{
	my @pairs;
	my $down = sub { create('down') };
	$events = size(1_000_000, 200_000);
	$servers->create_topic('backlog', 4);
	backlog_of(['default']) for 1 .. size(3, 1);    # warms up
	for my $round (1 .. $rounds)
	{
		push @pairs, [ alternate($round,
			sub { backlog_of(['default']) },
			sub { backlog_of(['default'], $down) }) ];
	}
	compare('another relay\'s cluster is down: from a backlog, events/s',
		'%.0f', \@pairs, least => 0.95);
	note 'another relay\'s cluster is down: the default relay without that one';
	latency($down);
	return;
}

sub latency
{
	my ($down) = @_;
	my @pairs;
	my $seconds = size(20, 5);
	$servers->create_topic('latency', 4);
	$servers->new_database;
	$servers->relay_on;
	$servers->relay_pid;
	delay('outbox', 2000, 5);    # warms up
	for my $round (1 .. $rounds)
	{
		push @pairs, [ alternate($round,
			sub { measure('alone', sub { delay('outbox', 500, $seconds) }) },
			sub {
				$down->();
				my $result = measure('beside', sub { delay('outbox', 500, $seconds) });
				$servers->sql("SELECT outbox.drop_relay('down', discard => true)");
				return $result;
			}) ];
	}
	compare('another relay\'s cluster is down: commit to consumer, p50, ms',
		'%.2f', [ map { [ map { $_->{p50} } @$_ ] } @pairs ], most => 1.05);
	return;
}

# Two relays to one cluster, which publish the same events to different topics,
# against the default relay alone: the slower one of the two.
sub both
{
	my @pairs;
	$events = size(1_000_000, 200_000);
	$servers->create_topic($_, 4) for qw(backlog copy.backlog);
	my $copy = sub { create('copy', $servers->{brokers}, ", topic_prefix => 'copy.'") };
	my @two = ([ 'default', 'copy' ], $copy);
	backlog_of(@two) for 1 .. size(2, 1);    # warms up
	for my $round (1 .. $rounds)
	{
		push @pairs, [ alternate($round,
			sub { backlog_of(['default']) },
			sub { backlog_of(@two) }) ];
	}
	compare('two relays to one cluster: each from a backlog, events/s',
		'%.0f', \@pairs, least => 0.45);
	note 'two relays to one cluster: the slower one of both; one relay alone';
	return;
}

# Who emits beside three relays, of which one publishes these events, against
# one relay.
sub three
{
	my @pairs;
	$servers->create_topic('work', 4);
	$servers->relays_off;
	for my $round (0 .. $rounds)
	{
		my $emit = sub {
			my ($more) = @_;
			$servers->new_database;
			create($_, $servers->{brokers}, ", topics => '{$_.*}'") for @$more;
			Emit::ready_relay();
			my $result = measure(1 + @$more . ' relays', sub { Emit::writers('outbox') });
			$servers->relays_off;
			return $result;
		};
		my @pair = alternate($round, sub { $emit->([]) }, sub { $emit->([ 'audit', 'lake' ]) });
		push @pairs, \@pair if $round > 0;    # the first one warms up
	}
	compare('three relays: emit, one a transaction, relays at work, tx/s',
		'%.0f', \@pairs, least => 0.97);
	note 'three relays: one of them publishes these events, the others other topics; '
	  . 'one relay alone';
	return;
}

1;
