# The first batch of a producer, refused by a real Apache Kafka while others of
# its partition are ready to go.  The broker knows nothing of the producer then
# and takes any sequence number.
#
# Catches: a relay that relies on the broker to refuse what is in flight behind
# it, so that events overtake their predecessors of the same key that were in
# the refused batch.

use strict;
use warnings;

use OutboxTest;
use Test::More;

if (my $why = OutboxTest::Kafka->skip_reason)
{
	plan skip_all => $why;
}

my $kafka = OutboxTest::Kafka->new;
$kafka->create_topic('narrow', 3, 'max.message.bytes=20000');
my $node = outbox_node('main',
	bootstrap => $kafka->bootstrap,
	extension => 1,
	conf => q{outbox.kafka_properties = 'batch.num.messages=2'});
my $consumer = OutboxTest::Consumer->new(bootstrap => $kafka->bootstrap);

for my $round (1 .. 5)
{
	query(<<~"END");
		SELECT outbox_emit('narrow', CASE WHEN n % 20 = 1 THEN 'large' ELSE 'k' || n % 4 END,
			repeat('x', CASE WHEN n % 20 = 1 THEN 50000 ELSE 200 END))
		FROM generate_series(1, 100) n
		END
	ok(wait_published($node), "round $round: all is settled");
}
# with so many refusals, the topic's events go through outbox.parked
wait_parked(0, 'nothing is parked');
ok($consumer->drain, 'read');
is(query('SELECT count(*) FROM outbox.dead_letter'), 25, 'dead letters');
is( check_delivery(
		[ events($node, undef, q{key <> 'large'}) ],
		[ $consumer->records ]),
	0,
	'nothing twice');

$node->stop;
$kafka->stop;
done_testing();
