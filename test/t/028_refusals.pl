# Very many events of one topic that are refused, among those of another one,
# against a real Kafka, which looks at their size.
#
# Catches: a relay in which each refusal costs everybody time, that gives up
# their neighbours, repeats or reorders events because they have gone another
# way meanwhile, or that fills the log with a line for each.

use strict;
use warnings;

use OutboxTest;
use Test::More;
use Time::HiRes qw(time usleep);

if (my $why = OutboxTest::Kafka->skip_reason)
{
	plan skip_all => $why;
}

my $events = 20_000;
my $large = 501;
my $prompt = 3;    # seconds, and so many times as long as without refusals

my $kafka = OutboxTest::Kafka->new;
$kafka->create_topic('wide', 32);
$kafka->create_topic('limited', 4, 'max.message.bytes=20000');
my $node = outbox_node('main', bootstrap => $kafka->bootstrap, extension => 1);
my $consumer = OutboxTest::Consumer->new(bootstrap => $kafka->bootstrap);
my %arrived;

# How long it takes until so many events of each topic have arrived.
sub arrivals
{
	my ($start, %want) = @_;
	my %took;

	while (%want)
	{
		$arrived{ $_->{topic} }++ for $consumer->take;
		for my $topic (keys %want)
		{
			next if ($arrived{$topic} // 0) < $want{$topic};
			$took{$topic} = time - $start;
			delete $want{$topic};
		}
		die 'timed out' if time - $start > 120;
		usleep(10_000);
	}
	return \%took;
}

query(q{SELECT outbox_emit(topic, 'k' || i, 'first')
	FROM generate_series(1, 100) i, unnest('{wide,limited}'::text[]) topic});
arrivals(time, wide => 100, limited => 100);

my $start = time;
query(qq{SELECT count(outbox_emit('wide', 'k' || i % 1000, 'x' || i))
	FROM generate_series(1, $events) i});
my $alone = arrivals($start, wide => 100 + $events)->{wide};
note sprintf '%d events alone: %.2f s', $events, $alone;

# one large event in 40 of the other topic, and two small ones of their topic
my $every = int($events / $large);
my $log = -s $node->logfile;
$start = time;
query(<<~"END");
	SELECT count(outbox_emit('wide', 'k' || i % 1000, 'y' || i)),
		count(CASE WHEN i % $every = 0 AND i <= $large * $every THEN
			outbox_emit('limited', 'large ' || i % 300, repeat('x', 30000)) END),
		count(CASE WHEN i % $every < 2 AND i <= $large * $every THEN
			outbox_emit('limited', CASE WHEN i % 4 < 2 THEN 'large ' || i % 300 ELSE 'small ' || i % 7 END, 'z' || i) END)
	FROM generate_series(1, $events) i
	END
note sprintf 'emitted in %.2f s', time - $start;
my $small = query(q{SELECT count(*) FROM outbox.event WHERE substr(payload, 1, 1) = 'z'});
my $took = arrivals($start, wide => 100 + 2 * $events);
note sprintf '%d events among %d refused ones: %.2f s', $events, $large,
  $took->{wide};
cmp_ok($took->{wide}, '<', $prompt + $prompt * $alone, 'the other topic is not held up');
$took = arrivals($start, limited => 100 + $small);
note sprintf 'the %d others of the topic: %.2f s', $small, $took->{limited};
wait_until(
	undef,
	sub { query('SELECT count(*) FROM outbox.dead_letter') == $large },
	'all are dead letters');
note sprintf '%d dead letters: %.2f s', $large, time - $start;
is(query(q{SELECT count(*) FROM outbox.dead_letter
		WHERE class = 'size' AND key LIKE 'large%'}),
	$large, 'nothing else is a dead letter');
wait_parked(0, 'nothing is parked');
my @lines = grep { /event \S+ \(.*\) is a dead letter/ }
  split /\n/, PostgreSQL::Test::Utils::slurp_file($node->logfile, $log);
cmp_ok(scalar @lines, ">", 0, "dead letters are told");
cmp_ok(scalar @lines, "<=", 40, "... but the log does not have them all");

# Afterwards, the topic goes through the stream again.
query(qq{SELECT count(outbox_emit('limited', 'large ' || i % 300, 'w' || i))
	FROM generate_series(1, 2000) i});
ok(wait_published($node), 'published');
wait_parked(0, 'nothing is parked');

my $again = OutboxTest::Consumer->new(bootstrap => $kafka->bootstrap);
ok($again->drain, 'read');
is( check_delivery(
		[ events($node, undef, q{length(payload) < 30000}) ],
		[ $again->records ]),
	0,
	'nothing twice');

$node->stop;
$kafka->stop;
done_testing();
