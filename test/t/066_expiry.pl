# Events that expire are not published after that: not when brokers come back
# too late, wherever the events wait meanwhile, in the outbox, in the producer,
# or parked; they become dead letters of class expired, their keys go on, and
# requeue publishes them all the same.
#
# Catches: a place where events wait and nobody looks at the time; an event that
# expires too early; a key that stays blocked behind one that has expired.

use strict;
use warnings;

use OutboxTest;
use Test::More;
use Time::HiRes qw(time);

my $mock = OutboxTest::Mock->new(topics => { t => 1, parked => 1, copies => 1 });
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1,
	conf => <<~'END');
		outbox.retry_base_delay = 2s
		outbox.retry_multiplier = 1
		outbox.retry_max_attempts = 1000
		outbox.dead_letter_topic = 'copies'
		END
query('CREATE TABLE expiry AS SELECT now() AS t');

# From now on, events emitted with "SELECT ... FROM expiry" expire after that.
sub expiry_in
{
	my ($seconds) = @_;

	query("UPDATE expiry SET t = clock_timestamp() + interval '$seconds s'");
	return;
}

# With a moment for the relay to see it, too.
sub wait_for_expiry
{
	$node->poll_query_until('postgres',
		q(SELECT clock_timestamp() > t + interval '0.5 s' FROM expiry))
	  or die 'it does not expire';
	return;
}

sub arrived
{
	my ($key) = @_;

	$consumer->drain or die 'it is not read';
	return join ' ', map { $_->{payload} }
	  grep { $_->{topic} ne 'copies' && $_->{key} eq $key } $consumer->records;
}

sub status
{
	my ($key) = @_;

	return query(<<~END);
		SELECT string_agg(convert_from(payload, 'UTF8') || ':' || s.status, ' ' ORDER BY id)
		FROM outbox.event_status s JOIN
			(SELECT id, payload FROM outbox.event
				UNION SELECT id, payload FROM outbox.parked) e USING (id)
		WHERE key = '$key'
		END
}

sub becomes
{
	my ($key, $status, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	eval { wait_until(undef, sub { status($key) =~ /^$status$/ }) };
	return like(status($key), qr/^$status$/, $name);
}

sub expired
{
	return query('SELECT expired FROM outbox.stat_relay');
}

sub outage
{
	my ($emit) = @_;

	$mock->command('down');
	$emit->();
	wait_for_expiry();
	$mock->command('up');
	return;
}

note 'in time';
expiry_in(60);
query(q{SELECT outbox_emit('t', 'in_time', 'x', expires_at => t) FROM expiry});
query(q{SELECT outbox_emit('t', 'in_time', 'never', expires_at => 'infinity')});
ok(wait_published($node), 'what has not expired');
becomes('in_time', 'x:published never:published', 'is published');

note 'expired when it is emitted';
query(q{SELECT outbox_emit('t', 'past', '1', expires_at => '2000-01-01')});
query(q{SELECT outbox_emit('t', 'past', '2')});
becomes('past', '1:expired 2:published', 'it is not published, the next of its key is');
is( query(<<~'END'),
	SELECT class, error, attempts, last_failed_at IS NOT NULL FROM outbox.dead_letter
	END
	'expired|expired before it was published|0|t', 'a dead letter says why');
is(expired(), 1, 'counted');
is( query(q{SELECT status_at = last_failed_at FROM outbox.event_status JOIN
		outbox.dead_letter USING (id) WHERE status = 'expired'}),
	't', '... with its time');
wait_until(
	undef,
	sub {
		grep { $_->{topic} eq 'copies' && $_->{payload} eq '1' } $consumer->records;
	},
	'its copy');

note 'an outage, in the producer';
expiry_in(2);
outage(
	sub {
		query(<<~'END');
			SELECT outbox_emit('t', 'outage', '1'),
				outbox_emit('t', 'outage', '2', expires_at => t),
				outbox_emit('t', 'outage', '3'),
				outbox_emit('t', 'outage', '4', expires_at => t + interval '1 h'),
				outbox_emit('t', 'outage', '5', expires_at => t)
			FROM expiry
			END
		wait_state($node, 'unavailable');
		# expires while the outage is known
		query(<<~'END');
			SELECT outbox_emit('t', 'known', '1', expires_at => t),
				outbox_emit('t', 'known', '2'),
				outbox_emit('t', 'known', '3', expires_at => t)
			FROM expiry
			END
	});
becomes('outage', '1:published 2:expired 3:published 4:published 5:expired',
	'events emitted while no broker answers');
becomes('known', '1:expired 2:published 3:expired', '... and later on');
is(arrived('outage'), '1 3 4', 'those and no others arrive');
is(arrived('known'), '2', '... nor of these');
is(expired(), 5, 'counted');

note 'an outage, nothing but events that expire';
expiry_in(1);
outage(
	sub {
		query(<<~'END');
			SELECT count(outbox_emit('t', 'only', i::text,
				expires_at => t + i * interval '1 ms'))
			FROM expiry, generate_series(1, 500) i
			END
		wait_until(undef, sub { expired() >= 505 || relay_state($node) eq 'unavailable' },
			'an outage');
		wait_until(undef, sub { expired() == 505 }, 'they expire in the outage');
	});
query(q{SELECT outbox_emit('t', 'only', 'next')});
ok(wait_published($node), 'the stream goes on');
is(arrived('only'), 'next', 'none of them arrives');
query(q{SELECT count(*) FROM outbox.discard(key => 'only')});

note 'parked';
expiry_in(8);
$mock->command('refuse parked UNKNOWN_TOPIC_OR_PART');
query(<<~'END');
	SELECT outbox_emit('parked', 'p', '1', expires_at => t),
		outbox_emit('parked', 'p', '2', expires_at => t),
		outbox_emit('parked', 'p', '3'),
		outbox_emit('parked', 'p', '4', expires_at => t + interval '1 h')
	FROM expiry
	END
$node->poll_query_until('postgres', <<~'END') or die 'they are not parked';
	SELECT count(*) = 4 FROM outbox.parked WHERE state <> 'dead' AND topic = 'parked'
	END
is(query(q{SELECT clock_timestamp() < t FROM expiry}), 't', 'parked in time');
becomes('p', '1:expired 2:expired 3:(?:retrying|waiting) 4:waiting', 'they expire while they wait');
is(query('SELECT clock_timestamp() >= t FROM expiry'), 't', 'not before');
is(query('SELECT retrying + waiting FROM outbox.stat_relay'), 2, 'the others are still parked');
$mock->command('allow parked');
becomes('p', '1:expired 2:expired 3:published 4:published', 'the key goes on');
is(arrived('p'), '3 4', 'without those');

note 'parked, and the outage comes while they are tried again';
$mock->command('refuse parked2 UNKNOWN_TOPIC_OR_PART');
query(q{SELECT outbox_emit('parked2', 'q', '1')});
$node->poll_query_until('postgres',
	q{SELECT count(*) = 1 FROM outbox.parked WHERE key = 'q'})
  or die 'it is not parked';
expiry_in(6);
query(q{SELECT outbox_emit('parked2', 'q', '2', expires_at => t) FROM expiry});
$node->poll_query_until('postgres',
	q{SELECT count(*) = 2 FROM outbox.parked WHERE key = 'q'})
  or die 'it is not queued';
$mock->command('down');
$mock->command('allow parked2');
wait_for_expiry();
becomes('q', '1:retrying 2:expired', 'it expires in the outage');
$mock->command('up');
becomes('q', '1:published 2:expired', 'the other one is published');
is(arrived('q'), '1', '... alone');

note 'delayed';
expiry_in(2);
$mock->command('down');
my $delayed = query(<<~'END');
	SELECT outbox_emit('t', 'd', '1', deliver_at => t - interval '1 s', expires_at => t)
	FROM expiry
	END
is( query("SELECT expires_at > now() FROM outbox.delayed WHERE event_id = '$delayed'"),
	't', 'delayed, too, it keeps its time');
becomes('d', '1:expired', 'it expires after it was due');
$mock->command('up');

note 'requeue';
my $dead = query(q{SELECT count(*) FROM outbox.dead_letter WHERE class = 'expired'});
is(query(q{SELECT count(*) FROM outbox.requeue(class => 'expired')}),
	$dead, 'requeued by class');
$node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM outbox.parked')
  or die 'they are not published';
becomes('outage', '1:published 2:published 3:published 4:published 5:published',
	'they are published, late as they are');
is(arrived('outage'), '1 3 4 2 5', '... in order');
is(expired(), 0, 'none is counted any more');

note 'discard';
query(q{SELECT outbox_emit('t', 'gone', '1', expires_at => '2000-01-01')});
becomes('gone', '1:expired', 'another one');
is(query(q{SELECT count(*) FROM outbox.discard(class => 'expired')}), 1, 'discarded');
becomes('gone', '1:discarded', 'its status');

$node->stop;
done_testing();
