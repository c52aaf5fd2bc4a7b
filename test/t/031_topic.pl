# Topics that do not exist, or that we are not allowed to see: only they wait,
# and go on by themselves.
#
# Catches: a relay that stands still, or loses or reorders what waits for the
# topic, that gives events up although somebody may create the topic, that waits
# forever because librdkafka says nothing of a topic that it may not see, and a
# view that does not show what is wrong.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use Test::More;
use Time::HiRes qw(time);

my $bulk = 2000;
my $prompt = 10;    # seconds, on a busy machine

my $mock = OutboxTest::Mock->new(topics => { other => 2, missing => 2 });
$mock->command('refuse missing UNKNOWN_TOPIC_OR_PART');
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1,
	conf => <<~'END');
		outbox.retry_base_delay = 300ms
		outbox.retry_max_delay = 600ms
		outbox.retry_max_attempts = 0
		END

sub emit
{
	my ($topic, $count, $keys) = @_;

	query("SELECT count(outbox_emit('$topic', 'key ' || i % $keys, 'x' || i))"
		  . " FROM generate_series(1, $count) i");
	return;
}

sub parked
{
	my ($topic, $state) = @_;

	return query(
		"SELECT count(*) FROM outbox.parked WHERE topic = '$topic'"
		  . ($state ? " AND state = '$state'" : " AND state <> 'dead'"));
}

sub arrived
{
	my ($topic) = @_;

	return scalar grep { $_->{topic} eq $topic } $consumer->records;
}

sub other_topic_flows
{
	my ($count, $name) = @_;
	my $should = arrived('other') + $count;
	my $start = time;

	emit('other', $count, 10);
	wait_until(undef, sub { arrived('other') >= $should }, $name);
	cmp_ok(time - $start, '<', $prompt, $name);
	return;
}

sub check_topic
{
	my ($topic) = @_;

	my $start = time;

	wait_until(undef, sub { parked($topic) == 0 }, "$topic is not blocked");
	cmp_ok(time - $start, '<', 3 * $prompt, "$topic: it does not take long");
	ok($consumer->drain, "$topic: read");
	is( check_delivery(
			[ events($node, 'postgres', "topic IN ('other', '$topic')") ],
			[
				grep { $_->{topic} =~ /^(other|$topic)$/ } $consumer->records
			],
			$topic),
		0,
		"$topic: nothing twice");
	return;
}

query(q{SELECT outbox_emit('other', 'key 1', 'x')});
$consumer->wait_for(1) or die;
my $pid = relay_pid($node);
my $start = query('SELECT clock_timestamp()');

# Each topic, what the brokers say of it, and how the view shows that.
sub blocked_topic
{
	my ($topic, $error) = @_;

	note "$topic: $error";
	$mock->command("refuse $topic $error");
	query("SELECT count(outbox_emit(CASE WHEN i % 2 = 0 THEN 'other'"
		  . " ELSE '$topic' END, 'key ' || i % 10, 'x' || i))"
		  . " FROM generate_series(1, 2 * $bulk) i");
	wait_until(undef, sub { parked($topic) == $bulk }, "$topic is parked");
	ok(wait_published($node), 'nobody waits for what is parked');
	is(parked($topic, 'retrying'), 1, 'one event is tried again');
	is(parked('other'), 0, 'the other topic is not parked');
	is(relay_state($node), 'publishing', 'state is publishing');
	is(query('SELECT retrying + waiting, dead_letters FROM outbox.stat_relay'),
		"$bulk|0", 'what stat_relay counts');

	my $blocked = query(<<~END);
		SELECT count(*) OVER (), b.relay, b.scope, b.topic, b.key IS NULL,
			b.event_id = (SELECT event_id FROM outbox.event
				WHERE topic = '$topic' ORDER BY id LIMIT 1),
			b.class, b.attempts > 0, b.since BETWEEN '$start' AND now(),
			b.waiting, b.next_attempt_at IS NOT NULL, b.error
		FROM outbox.blocked b
		END
	my $waiting = $bulk - 1;
	like($blocked,
		qr/^1\|default\|topic\|$topic\|t\|t\|topic\|t\|t\|$waiting\|t\|.*\($error\)$/,
		'blocked shows the topic');

	my ($attempts) = query('SELECT attempts FROM outbox.blocked');
	wait_until(undef,
		sub { query('SELECT attempts FROM outbox.blocked') > $attempts },
		'it is tried again');
	other_topic_flows(500, 'the other topic flows meanwhile');
	emit($topic, 100, 10);
	wait_until(undef, sub { parked($topic) == $bulk + 100 }, 'more wait');
	is(arrived($topic), 0, 'nothing of it is published');

	$mock->command("allow $topic");
	check_topic($topic);
	is(query('SELECT count(*) FROM outbox.blocked'), 0, 'nothing is blocked');
	emit($topic, 100, 10);
	ok(wait_published($node), 'it goes on');
	check_topic($topic);
	return;
}

blocked_topic('missing', 'UNKNOWN_TOPIC_OR_PART');
# Against Kafka itself: 021_kafka_failures.
SKIP:
{
	skip 'librdkafka 2.8 and this mock do not go together', 1
	  unless OutboxTest::Mock::can_forbid();
	blocked_topic('forbidden', 'TOPIC_AUTHORIZATION_FAILED');
}

note 'a topic that is given up';
conf_reload($node, <<~'END');
	outbox.retry_max_attempts = 2
	outbox.retry_max_delay = 300ms
	END
$mock->command('refuse never UNKNOWN_TOPIC_OR_PART');

# The last attempt may come before all have been read; that makes another round.
emit('never', $bulk, 10);
wait_until(undef, sub { parked('never', 'dead') == $bulk },
	'all are dead letters');
is(query('SELECT count(*) FROM outbox.blocked'), 0, 'nothing is blocked');
is(query('SELECT dead_letters FROM outbox.stat_relay'),
	$bulk, 'stat_relay counts them');
is(query(q{SELECT count(*) FROM outbox.dead_letter WHERE class <> 'topic'
		OR error NOT LIKE '%(UNKNOWN_TOPIC_OR_PART)'}),
	0, 'they tell why');
is(query(q{SELECT max(attempts) FROM outbox.dead_letter}),
	2, 'and how often it was tried');
other_topic_flows(100, 'the other topic flows');

note 'requeued too early';
is(query(q{SELECT count(*) FROM outbox.requeue(topic => 'other')}),
	0, 'nothing of another topic');
is(query(q{SELECT count(*) FROM outbox.requeue(topic => 'never')}),
	$bulk, 'all are requeued');
wait_until(undef, sub { parked('never', 'dead') == $bulk },
	'they are dead letters again');
is(arrived('never'), 0, 'nothing of it was published');

note 'requeued when it is there';
$mock->command('allow never');
is(query(q{SELECT count(*) FROM outbox.requeue(topic => 'never')}),
	$bulk, 'all are requeued');
check_topic('never');
is(query('SELECT count(*) FROM outbox.parked'), 0, 'nothing is left');
is(relay_pid($node), $pid, 'it is the same process');

$node->stop;
done_testing();
