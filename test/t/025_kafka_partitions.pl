# Partitions are added to a topic of a real Apache Kafka under load: the keys go
# to where they belong then, and none has events in two partitions in a mixed
# order.
#
# Catches: a relay that goes on with the number of partitions that it has once
# seen, and one that sends a key's events to the new partition while earlier
# ones are on their way to the old one.

use strict;
use warnings;

use OutboxTest;
use Test::More;

if (my $why = OutboxTest::Kafka->skip_reason)
{
	plan skip_all => $why;
}

my $kafka = OutboxTest::Kafka->new;
$kafka->create_topic('grow', 2);
my $node = outbox_node('main',
	bootstrap => $kafka->bootstrap,
	extension => 1,
	conf => q{outbox.kafka_properties = 'topic.metadata.refresh.interval.ms=1000'});
my $consumer = OutboxTest::Consumer->new(
	bootstrap => $kafka->bootstrap,
	properties => { 'topic.metadata.refresh.interval.ms' => 500 });

my $load = pgbench($node, <<~'END',
	\set key random(1, 30)
	SELECT outbox_emit('grow', 'k' || :key, n::text) FROM generate_series(1, 3) n;
	END
	clients => 2,
	rate => 150,
	duration => 600,
	background => 1);
$consumer->wait_for_events(500) or die 'no load';
$kafka->run(
	'org.apache.kafka.tools.TopicCommand', '--bootstrap-server',
	$kafka->bootstrap, qw(--alter --topic grow --partitions 5));
wait_until(
	undef,
	sub {
		my %used = map { ($_->{partition} => 1) } $consumer->records;
		return keys %used == 5;
	},
	'new partitions are used');
$consumer->wait_for_events($consumer->events + 1000) or die 'no load';
$load->stop;

ok(wait_published($node), 'everything is published');
ok($consumer->drain, 'and read');
my @events = events($node);
my @records = $consumer->records;
my $found = OutboxTest::Delivery::compare(\@events, \@records);
is_deeply($found->{lost}, [], 'nothing lost');
is_deeply($found->{invented}, [], 'nothing invented');
is($found->{duplicates}, 0, 'nothing twice');

# The ids of each key and partition, as they arrived
my %id = map { ($_->{event_id} => $_->{id}) } @events;
my %ids;
push @{ $ids{ $_->{key} }->{ $_->{partition} } }, $id{ $_->{event_id} }
  for @records;
my @wrong;
my $moved = 0;
for my $key (sort keys %ids)
{
	my @runs = sort { $a->[0] <=> $b->[0] } values %{ $ids{$key} };
	my $in_order = join ' ', map { @$_ } @runs;

	$moved++ if @runs == 2;
	push @wrong, $key
	  if @runs > 2
	  || $in_order ne join ' ', sort { $a <=> $b } map { @$_ } @runs;
}
is_deeply(\@wrong, [], 'each key moves once, in order');
cmp_ok($moved, '>', 0, "$moved of " . keys(%ids) . ' keys have moved');

$node->stop;
$kafka->stop;
done_testing();
