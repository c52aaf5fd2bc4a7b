# A cluster of three Kafka nodes under constant load: leaders are killed and
# stopped, a topic gets more partitions, and all nodes are away for as long as
# ten minutes would be if back-offs were not shortened.
#
# Catches: what needs a change of leaders to happen: a batch that is sent to the
# old leader and, again, to the new one; an order that is lost between the two;
# an outage that is told for every broker, holds a snapshot, takes up memory, or
# costs parked events their attempts.
#
# A producer that Kafka leaves in doubt is given up by librdkafka, and the next
# one may repeat what had no answer.  That is the only way to a duplicate.

use strict;
use warnings;

use List::Util qw(max);
use OutboxTest;
use OutboxTest::Server;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

if (my $why = OutboxTest::Kafka->skip_reason)
{
	plan skip_all => $why;
}

my $outage = 15;    # seconds
my $max_growth_mb = 2;
my $max_log_lines = 25;    # 10 a minute of librdkafka's, and our own

my @kafka = OutboxTest::Kafka->cluster(
	3,
	'min.insync.replicas' => 2,
	'auto.create.topics.enable' => 'false');
my $bootstrap = join ',', map { $_->bootstrap } @kafka;
$kafka[0]->create_topic('load', 4);
$kafka[0]->create_topic('growing', 2);
my $consumer = OutboxTest::Consumer->new(bootstrap => $bootstrap);

my $node = outbox_node('main',
	bootstrap => $bootstrap,
	extension => 1,
	conf => <<~'END');
		outbox.window_events = 2000
		outbox.kafka_properties = 'topic.metadata.refresh.interval.ms=1000'
		outbox.retry_base_delay = 200ms
		outbox.retry_max_delay = 1s
		outbox.retry_max_attempts = 0
		END
query('CREATE TABLE account (key int PRIMARY KEY, n int NOT NULL)');
query('INSERT INTO account SELECT n, 0 FROM generate_series(1, 6) n');
query(q{SELECT outbox_emit('late', n % 5, n::text) FROM generate_series(1, 50) n});

# partition => { leader => id, isrs => [ids] } of a topic
sub partitions
{
	my ($topic) = @_;
	my %partitions;

	for (split /\n/, kcat($bootstrap, '', '-L', '-t', $topic))
	{
		$partitions{$1} = { leader => $2, isrs => [ split /,/, $3 ] }
		  if /^\s+partition (\d+), leader (-?\d+), .*isrs: ([\d,]*)/;
	}
	return \%partitions;
}

sub leader { return partitions('load')->{0}->{leader}; }

sub wait_in_sync
{
	wait_until(
		undef,
		sub {
			!grep { @{ $_->{isrs} } < @kafka }
			  map { values %{ partitions($_) } } qw(load growing);
		},
		'all replicas are in sync');
	return;
}

# Another node leads, and all that had been committed until then is published.
sub check_change
{
	my ($name, $from, $start) = @_;

	wait_until(
		undef,
		sub { my $leader = leader(); $leader > 0 && $leader != $from },
		"$name: another leader");
	ok(wait_published($node), "$name: published by another leader");
	note sprintf '%s: after %.1f s', $name, time - $start;
	return;
}

# What each key has counted is what comes out: 1, 2, 3, ...
my $load = pgbench($node, <<~'END',
	\set key random(1, 6)
	\set fate random(1, 5)
	BEGIN;
	UPDATE account SET n = n + 1 WHERE key = :key
		RETURNING outbox_emit('load', key, n::text), outbox_emit('growing', key, n::text);
	\if :fate = 5
	ROLLBACK;
	\else
	COMMIT;
	\endif
	END
	clients => 8,
	rate => 250,
	duration => 600,
	background => 1);
$consumer->wait_for_events(500) or die 'no load';
my $pid = relay_pid($node);

for my $i (1 .. 2)
{
	note "leader $i is killed";
	wait_in_sync();
	my $leader = leader();
	my $start = time;
	$kafka[ $leader - 1 ]->kill9;
	check_change("kill $i", $leader, $start);
	$kafka[ $leader - 1 ]->start;
}

note 'a leader is stopped';
wait_in_sync();
my $leader = leader();
my $start = time;
is($kafka[ $leader - 1 ]->stop, 143 << 8, 'it ends in good order');
check_change('stop', $leader, $start);
$kafka[ $leader - 1 ]->start;

note 'a topic gets more partitions';
$kafka[0]->run('org.apache.kafka.tools.TopicCommand', '--bootstrap-server',
	$bootstrap, qw(--alter --topic growing --partitions 6));
wait_until(
	undef,
	sub {
		grep { $_->{topic} eq 'growing' && $_->{partition} > 1 }
		  $consumer->records;
	},
	'the new partitions are used');

note 'a long outage';
is(query('SELECT retrying + waiting FROM outbox.stat_relay'),
	50, 'the events of a topic that is not there yet are parked');
conf_reload($node, <<~'END');
	outbox.kafka_properties = 'topic.metadata.refresh.interval.ms=1000 reconnect.backoff.ms=5 reconnect.backoff.max.ms=60 retry.backoff.ms=10'
	END
ok(wait_published($node), 'shorter back-offs');
wait_in_sync();
my $log = log_end($node);
$start = time;
$_->kill9 for @kafka;
wait_state($node, 'unavailable');
my $window = query('SELECT position FROM outbox.stat_relay');
wait_until(
	undef,
	sub { query('SELECT pending_events > 2500 FROM outbox.stat_relay') eq 't' },
	'the window is full');
my $attempts = query('SELECT sum(attempts) FROM outbox.parked');
my $memory = memory_mb($pid);
my ($polls, $held, $peak) = (0, 0, 0);
while (time < $start + $outage || $polls <= 20)
{
	$held += query(<<~END);
		SELECT count(*) FROM pg_stat_activity WHERE pid = $pid AND
			(backend_xmin IS NOT NULL OR backend_xid IS NOT NULL OR
				xact_start IS NOT NULL)
		END
	$polls++;
	$peak = max($peak, memory_mb($pid));
	usleep(50_000);
}
is($held, 0, 'and never held a transaction or a snapshot');
is(query('SELECT position FROM outbox.stat_relay'),
	$window, 'nothing was acknowledged');
cmp_ok($peak - $memory, '<', $max_growth_mb,
	sprintf 'memory grows by %.1f MB', $peak - $memory);
is(query('SELECT sum(attempts) FROM outbox.parked'),
	$attempts, 'no attempt was counted');
is(log_lines($node, $log, qr/Kafka is unavailable/), 1, 'one line in the log');
cmp_ok(log_lines($node, $log, qr/outbox/),
	'<=', $max_log_lines, 'and not many of the library');

$start = time;
OutboxTest::Kafka::start_all(@kafka);
wait_state($node, 'publishing');
ok(wait_published($node), 'the outage is over');
note sprintf 'after %.1f s, with the start of the cluster', time - $start;
is( scalar(log_lines($node, $log, qr/Kafka is available again/)),
	scalar(log_lines($node, $log, qr/Kafka is unavailable/)),
	'a line in the log for its end');
$kafka[0]->create_topic('late', 4);
wait_until(undef,
	sub { query('SELECT retrying + waiting + dead_letters FROM outbox.stat_relay') == 0 },
	'parked events are published');

note 'what has arrived';
ok($load->is_running, 'the application has not noticed');
stop_load($node, $load);
ok(wait_published($node), 'everything is published');
ok($consumer->drain, 'and read');
is(relay_pid($node), $pid, 'by one process');

my @records = $consumer->records;
my @events = events($node);
my @kept = grep { $_->{topic} ne 'growing' } @events;
my $duplicates = check_delivery(\@kept,
	[ grep { $_->{topic} ne 'growing' } @records ]);

my %accounts = map { split /\|/ } split /\n/, query('TABLE account');
my (%seen, %counted);
for my $record (grep { $_->{topic} eq 'load' } @records)
{
	push @{ $counted{ $record->{key} } }, $record->{payload}
	  unless $seen{ $record->{event_id} }++;
}
is_deeply(
	{ map { ($_ => join ',', @{ $counted{$_} }) } keys %counted },
	{ map { ($_ => join ',', 1 .. $accounts{$_}) } keys %accounts },
	'each key has counted without a gap');

my @grown = grep { $_->{topic} eq 'growing' } @events;
my $found = OutboxTest::Delivery::compare(\@grown,
	[ grep { $_->{topic} eq 'growing' } @records ]);
is_deeply([ @$found{qw(lost invented)} ],
	[ [], [] ], 'growing: nothing lost or invented');
$duplicates += $found->{duplicates};

# More partitions mean other partitions for the keys, so the order is looked at
# in each partition.  A step back is a repetition, and has to be by a producer
# that begins anew; in each place there is one of them at most for each.
my ($misplaced, %place) = (0);
my %id = map { ($_->{event_id} => $_->{id}) } @events;
for my $record (@records)
{
	my $place = $place{"$record->{topic} $record->{partition} $record->{key}"}
	  //= { last => 0, highest => 0, back => 0 };
	my $id = $id{ $record->{event_id} };
	$place->{back}++ if $id <= $place->{last};
	$misplaced++ if $id < $place->{highest} && !$place->{seen}->{$id};
	$place->{seen}->{$id} = 1;
	$place->{last} = $id;
	$place->{highest} = max($place->{highest}, $id);
}
is($misplaced, 0, 'every key in order within each partition');
my %back;
for (keys %place)
{
	my $partition = s/ [^ ]*$//r;

	$back{$partition} = max($back{$partition} // 0, $place{$_}->{back});
}
note "$duplicates duplicates";
cmp_ok($kafka[0]->producers('load', 0), '>=', 1, 'Kafka tells of producers');
for (sort grep { $back{$_} > 0 } keys %back)
{
	my $producers = $kafka[0]->producers(split / /);

	note "$_: repetitions in $back{$_} goes, $producers producers";
	cmp_ok($back{$_}, '<', $producers,
		"$_: repetitions only by a producer that begins anew");
}

$node->stop;
$_->kill9 for @kafka;
done_testing();
