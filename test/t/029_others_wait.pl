# Many topics that do not exist, and a partition without a leader, beside a
# stream of others.
#
# Catches: a relay in which one of them holds everybody up, that parks them one
# after another, that takes a partition without a leader for an outage, gives
# its events up although the leader will be back, or loses, repeats or reorders
# what was parked.

use strict;
use warnings;

use List::Util qw(max);
use OutboxTest;
use OutboxTest::Server;
use POSIX qw(ceil);
use Test::More;
use Time::HiRes qw(time usleep);

my $missing = 100;
my $prompt = 0.5;    # seconds, for 95 of 100 events, unless the machine is busy

my $mock = OutboxTest::Mock->new(topics => { healthy => 4, under => 2 });
# not of "under": newer mocks crash if somebody reads where there is no leader
my $consumer = OutboxTest::Consumer->new(
	bootstrap => $mock->bootstrap,
	topics => [ 'healthy', map { "missing$_" } 1 .. $missing ]);
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1,
	conf => <<~'END');
		outbox.retry_base_delay = 300ms
		outbox.retry_max_delay = 1s
		outbox.retry_max_attempts = 0
		END

# Probes of the healthy topic until $done->(): how long 95 of 100 took at most.
sub probes
{
	my ($name, $done) = @_;
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	my @took;

	while (@took < 30 || !$done->())
	{
		die "timed out: $name" if time > $deadline;
		my $id = query(
			q{SELECT outbox_emit('healthy', 'probe', 'x')});
		my $start = time;
		usleep(5000) until $consumer->has($id) || time > $deadline;
		push @took, time - $start;
		usleep(20_000);
	}
	@took = sort { $a <=> $b } @took;
	note sprintf '%s: %d probes, median %.3f s, slowest %.3f s', $name,
	  scalar @took, $took[ @took / 2 ], $took[-1];
	return $took[ ceil(@took * 0.95) - 1 ];
}

sub probe
{
	my ($name, $done) = @_;

	cmp_ok(probes($name, $done), '<', $prompt, "$name: others go on");
	return;
}

sub blocked
{
	my ($like) = @_;

	return query(
		"SELECT count(*) FROM outbox.blocked WHERE topic LIKE '$like'");
}

sub check
{
	my ($like) = @_;

	wait_parked(0, "$like: nothing is parked");
	my $under = OutboxTest::Consumer->new(
		bootstrap => $mock->bootstrap,
		topics => ['under']);
	ok(wait_published($node) && $consumer->drain && $under->drain,
		"$like: published");
	is( check_delivery(
			[ events($node) ],
			[ $consumer->records, $under->records ], $like),
		0,
		"$like: nothing twice");
	$under->stop;
	return;
}

query(q{SELECT outbox_emit(topic, 'k' || i, 'first')
	FROM generate_series(1, 9) i, unnest('{healthy,under}'::text[]) topic});
$consumer->wait_for(9) && wait_published($node) or die;
$prompt = max($prompt, 10 * probes('nothing is missing', sub { 1 }));
my $pid = relay_pid($node);

note 'missing topics';
$mock->command("refuse missing$_ UNKNOWN_TOPIC_OR_PART") for 1 .. $missing;
my $start = time;
query(qq{SELECT outbox_emit('missing' || t, 'k', t || ' ' || i)
	FROM generate_series(1, 2) i, generate_series(1, 20) t});
probe('20 topics', sub { blocked('missing%') == 20 });
query(qq{SELECT outbox_emit('missing' || t, 'k', t || ' 3')
	FROM generate_series(1, $missing) t});
probe("$missing topics", sub { blocked('missing%') == $missing });
# Side by side, in seconds; one after another it would be minutes.
cmp_ok(time - $start, '<', 60, 'all are parked soon');
is(query('SELECT retrying + waiting, dead_letters, state FROM outbox.stat_relay'),
	$missing + 40 . '|0|publishing', 'and nothing else is');
$mock->command("allow missing$_") for 1 .. $missing;
probe('while they heal', sub { blocked('%') == 0 });
check('missing');

# In newer ones a partition that has been read must not lose its leader, either.
if (!OutboxTest::Mock::can_lose_leader())
{
	note 'this mock cannot be without a leader';
	$node->stop;
	done_testing();
	exit;
}

note 'no leader';
conf_reload($node, 'outbox.retry_max_attempts = 3');
$mock->command('leader under 0 -1');
query(q{SELECT outbox_emit('under', 'k' || i % 10, 'x' || i)
	FROM generate_series(1, 200) i});
$start = time;
probe('no leader', sub { blocked('under') == 1 });
cmp_ok(time - $start, '<', 15, 'the topic is blocked soon');
is(query('SELECT scope, class FROM outbox.blocked'), 'topic|topic', 'as such');
like(query('SELECT error FROM outbox.blocked'), qr/leader/i, 'it tells why');
is(relay_state($node), 'publishing', 'no outage');
query(q{SELECT outbox_emit('under', 'k' || i % 10, 'y' || i)
	FROM generate_series(1, 100) i});
my $failed_at = query('SELECT max(last_failed_at) FROM outbox.parked');
for (1 .. 4)
{
	my $last = $failed_at;
	probe(
		'tried again',
		sub {
			$failed_at = query('SELECT max(last_failed_at) FROM outbox.parked');
			return $failed_at ne $last;
		});
}
is(query('SELECT dead_letters FROM outbox.stat_relay'),
	0, 'that makes no dead letter');
$mock->command('leader under 0 1');
check('under');
is(relay_pid($node), $pid, 'it is the same process');

$node->stop;
done_testing();
