# Against a real Apache Kafka: what was committed arrives, in order and once,
# although the broker is killed under load and recovers, twice; and the largest
# event fits into a topic with Kafka's own settings.
#
# Catches: what the mock forgives: a producer that is not idempotent or loses
# its place when a broker recovers, one that gives up, and sizes that only the
# mock accepts.

use strict;
use warnings;

use OutboxTest;
use Test::More;

if (my $why = OutboxTest::Kafka->skip_reason)
{
	plan skip_all => $why;
}

my $kafka = OutboxTest::Kafka->new;
my $consumer = OutboxTest::Consumer->new(bootstrap => $kafka->bootstrap);
my $node = outbox_node('main',
	bootstrap => $kafka->bootstrap,
	extension => 1);
$node->safe_psql('postgres', 'CREATE TABLE ledger (event_id uuid)');

note 'topics that are not there yet, one event as large as can be';
$node->safe_psql('postgres', <<~'END');
	SELECT outbox_emit('large', 'key', repeat('x', 1000000 - 12 - 44), '{"name": "value"}');
	SELECT outbox_emit('small', 1, '{"a": 1}'::jsonb, '{"b": "1", "a": "é"}');
	SELECT outbox_emit('small', 2, NULL);
	END
ok(wait_published($node), 'published');
ok($consumer->wait_for(3), 'read');
my %records = map { ("$_->{topic} $_->{key}" => $_) } $consumer->records;
is(length $records{'large key'}->{payload}, 1000000 - 12 - 44, 'the large one');
is($records{'small 1'}->{payload}, '{"a": 1}', 'payload');
is_deeply(
	$records{'small 1'}->{headers},
	[ [ a => 'é' ], [ b => '1' ], [ event_id => $records{'small 1'}->{event_id} ] ],
	'headers');
is($records{'small 2'}->{payload}, undef, 'tombstone');

note 'the broker is killed under load';
my $load = pgbench($node, <<~'END',
	\set key random(1, 20)
	\set fate random(1, 5)
	BEGIN;
	INSERT INTO ledger
		SELECT outbox_emit('load', :key, n::text) FROM generate_series(1, :fate) n;
	\if :fate = 5
	ROLLBACK;
	\else
	COMMIT;
	\endif
	END
	clients => 4,
	rate => 400,
	duration => 600,
	background => 1);
for my $i (1 .. 2)
{
	$consumer->wait_for_events($consumer->events + 500) or die 'no load';
	$kafka->kill9;
	$node->poll_query_until('postgres', <<~'END') or die 'no outage';
		SELECT state = 'unavailable' AND pending_events > 500
		FROM outbox.stat_relay
		END
	$kafka->start;
	ok($node->poll_query_until('postgres',
			q(SELECT state = 'publishing' FROM outbox.stat_relay)),
		"outage $i is over");
}
$consumer->wait_for_events($consumer->events + 500) or die 'no load';
ok($load->is_running, 'the application has not noticed');
$load->stop;

ok(wait_published($node), 'everything is published');
ok($consumer->drain, 'and read');
my @events = events($node);
my $duplicates = check_delivery(\@events, [ $consumer->records ]);

  SKIP:
{
	# A recovering broker can refuse what follows an answer that got lost, and
	# then the library gives its producer up.
	skip 'the producer was replaced', 1
	  if $duplicates > 0 && grep { $kafka->producers('load', $_) > 1 } 0 .. 3;
	is($duplicates, 0, 'nothing twice');
}
is_deeply(
	[ sort split /\n/, $node->safe_psql('postgres', 'TABLE ledger') ],
	[ sort map { $_->{event_id} } grep { $_->{topic} eq 'load' } @events ],
	'and is what the transactions have written');

$node->stop;
$kafka->stop;
done_testing();
