# Topics that get no answer hold up no others: one whose partition has no
# leader, and many that do not exist, with two events of a key each, so that the
# second one must wait for the first.
#
# Catches: a relay that stands still until the first event of a partition has
# its answer.

use strict;
use warnings;

use OutboxTest;
use Test::More;
use Time::HiRes qw(time);

my $missing = 20;
my $prompt = 3;    # seconds, on a busy machine; each topic would cost as much

my $mock = OutboxTest::Mock->new;
$mock->command('topic silent 1');
$mock->command('topic healthy 4');
for my $i (1 .. $missing)
{
	$mock->command("topic missing$i 1");
	$mock->command("refuse missing$i UNKNOWN_TOPIC_OR_PART");
}
# newer mocks crash if somebody reads where there is no leader
my $consumer = OutboxTest::Consumer->new(
	bootstrap => $mock->bootstrap,
	topics => ['healthy']);
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1);

sub arrived
{
	my ($topic) = @_;

	return scalar grep { $_->{topic} eq $topic } $consumer->records;
}

sub healthy_arrives
{
	my ($name) = @_;
	my $before = arrived('healthy');
	my $start = time;

	query(q{SELECT outbox_emit('healthy', 'k' || n % 9, n::text) FROM generate_series(1, 100) n});
	wait_until(undef, sub { arrived('healthy') == $before + 100 }, $name);
	my $took = time - $start;
	cmp_ok($took, '<', $prompt, sprintf('%s: %.1f s', $name, $took));
	return;
}

healthy_arrives('alone');

note 'a partition without a leader';
$mock->command('leader silent 0 -1');
query(q{SELECT outbox_emit('silent', 'k', n::text) FROM generate_series(1, 5) n});
healthy_arrives('beside a partition without a leader');
$mock->command('leader silent 0 1');
ok(wait_published($node), 'it has a leader again');
my $silent = OutboxTest::Consumer->new(
	bootstrap => $mock->bootstrap,
	topics => ['silent']);

note 'topics that do not exist';
query(<<~"END");
	SELECT outbox_emit('missing' || t, 'k', n::text)
	FROM generate_series(1, $missing) t, generate_series(1, 2) n
	END
healthy_arrives("beside $missing missing topics");
$node->poll_query_until('postgres',
	"SELECT count(*) = 2 * $missing FROM outbox.parked WHERE topic LIKE 'missing%'")
  or die 'not parked';
pass('they are parked');

ok($silent->wait_for(5) && $consumer->drain, 'read');
is( check_delivery(
		[ events($node, undef, q(topic NOT LIKE 'missing%')) ],
		[ $consumer->records, $silent->records ]),
	0,
	'nothing twice');

$node->stop;
done_testing();
