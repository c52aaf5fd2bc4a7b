# A real Apache Kafka that has forgotten the relay's producer: after a time
# without events, and because the topic was deleted and created again.  Then it
# takes any sequence number once more.
#
# Catches: a relay that goes on relying on the broker to refuse what is in
# flight behind a refused batch, so that events overtake their predecessors of
# the same key that were in that batch.

use strict;
use warnings;

use OutboxTest;
use Test::More;

if (my $why = OutboxTest::Kafka->skip_reason)
{
	plan skip_all => $why;
}

my $kafka = OutboxTest::Kafka->new(
	settings => {
		'producer.id.expiration.ms' => 4000,
		'producer.id.expiration.check.interval.ms' => 200
	});
$kafka->create_topic('narrow', 1, 'max.message.bytes=20000');
my $node = outbox_node('main',
	bootstrap => $kafka->bootstrap,
	extension => 1,
	conf => q{outbox.kafka_properties = 'batch.num.messages=2'});

# A hundred events of four keys, the first of them too large for the topic.
sub emit_with_refused
{
	query(<<~'END');
		SELECT outbox_emit('narrow', CASE WHEN n = 1 THEN 'large' ELSE 'k' || n % 4 END,
			repeat('x', CASE WHEN n = 1 THEN 50000 ELSE 200 END))
		FROM generate_series(1, 100) n
		END
	return;
}

# Emits one event of each key; the partition knows the producer then.
sub begin
{
	my ($name) = @_;

	query(q{SELECT outbox_emit('narrow', 'k' || n, 'x') FROM generate_series(0, 3) n});
	ok(wait_published($node), "$name: the broker knows the producer");
	return query('SELECT max(id) FROM outbox.event');
}

sub check
{
	my ($from, $name) = @_;
	my $consumer = OutboxTest::Consumer->new(bootstrap => $kafka->bootstrap);

	ok(wait_published($node), "$name: all is settled");
	ok($consumer->drain, 'read');
	is( check_delivery(
			[ events($node, undef, qq(key <> 'large' AND id > $from)) ],
			[ $consumer->records ], $name),
		0,
		'nothing twice');
	return;
}

note 'another topic of that name';
my $from = begin('first');
$kafka->run(
	'org.apache.kafka.tools.TopicCommand', '--bootstrap-server',
	$kafka->bootstrap, qw(--delete --topic narrow));
$kafka->create_topic('narrow', 1, 'max.message.bytes=20000');
emit_with_refused();
check($from, 'recreated');

# makes batches of any size again
replace_relay($node);

note 'time without events';
begin('next');
wait_until(undef, sub { $kafka->producers('narrow', 0) == 0 },
	'it forgets it');
emit_with_refused();
check($from, 'forgotten');
is(query('SELECT count(*) FROM outbox.dead_letter'), 2, 'dead letters');

$node->stop;
$kafka->stop;
done_testing();
