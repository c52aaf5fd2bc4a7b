# How an event that is refused for now is tried again: so often, with growing
# delays, across crashes and restarts, while its key waits (block_key), does not
# wait (skip), or all wait (halt).
#
# Catches: delays that do not grow or have no end, attempts that are forgotten
# or counted double, a key that overtakes its event or stays blocked, and
# policies that do not do what they say.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $mock = OutboxTest::Mock->new(topics => { retry => 1 });
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1);

sub emit
{
	my ($key, $count) = @_;

	query("SELECT count(outbox_emit('retry', '$key', i::text))"
		  . " FROM generate_series(1, $count) i");
	return;
}

# An event alone in its batch is refused so often; it is parked or dead then.
sub emit_refused
{
	my ($key, $times, $error) = @_;

	wait_published($node) or die 'the stream is not idle';
	$mock->command("fail Produce $times " . ($error // 'POLICY_VIOLATION'));
	my $event_id = query("SELECT outbox_emit('retry', '$key', 'refused')");
	wait_until(
		undef,
		sub { query("SELECT count(*) FROM outbox.parked WHERE event_id = '$event_id'") },
		'it is parked');
	return $event_id;
}

# The payloads of a key, in order, as one text
sub arrived
{
	my ($key) = @_;

	return join ' ', map { $_->{payload} }
	  grep { $_->{key} eq $key } $consumer->records;
}

sub wait_for_arrived
{
	my ($key, $payloads, $name) = @_;

	eval { wait_until(undef, sub { arrived($key) eq $payloads }, $name); };
	return is(arrived($key), $payloads, $name);
}

sub history
{
	return split /\|/, query(<<~'END');
		SELECT attempts, first_failed_at, extract(epoch FROM last_failed_at),
			extract(epoch FROM next_attempt_at)
		FROM outbox.parked WHERE state = 'retrying'
		END
}

note 'growing delays';
restart_with($node, <<~'END');
	outbox.retry_base_delay = 300ms
	outbox.retry_multiplier = 2
	outbox.retry_max_delay = 1s
	outbox.retry_jitter = 0
	outbox.retry_max_attempts = 6
	END
# What the relay notes of each attempt
query(<<~'END');
	CREATE TABLE attempt (n int, failed numeric, next numeric);
	CREATE FUNCTION note_attempt() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO public.attempt VALUES (NEW.attempts,
			extract(epoch FROM NEW.last_failed_at), extract(epoch FROM NEW.next_attempt_at));
		RETURN NULL;
	END $$;
	CREATE TRIGGER note_attempt AFTER INSERT OR UPDATE ON outbox.parked
		FOR EACH ROW WHEN (NEW.state = 'retrying') EXECUTE FUNCTION note_attempt();
	ALTER TABLE outbox.parked ENABLE ALWAYS TRIGGER note_attempt;
	END
my $dead = emit_refused('delays', 6);
emit('delays', 3);
wait_until(undef, sub { query('SELECT count(*) FROM outbox.dead_letter') > 0 },
	'a dead letter');
query('DROP TRIGGER note_attempt ON outbox.parked');
my %seen;
for (split /\n/, query('SELECT * FROM attempt ORDER BY n'))
{
	my ($attempt, @times) = split /\|/;

	$seen{$attempt} //= \@times;
}
is_deeply([ sort keys %seen ], [ 1 .. 5 ], 'each attempt is counted');
my $last_next = 0;
for my $attempt (sort keys %seen)
{
	my ($failed, $next) = @{ $seen{$attempt} };
	my $should = { 1 => 0.3, 2 => 0.6 }->{$attempt} // 1;

	# The time of failure is a moment later than that of the calculation.
	cmp_ok(abs($next - $failed - $should),
		'<', 0.1, sprintf "delay %d: %.3f s", $attempt, $next - $failed);
	cmp_ok($failed, '>=', $last_next, 'not tried before its time');
	$last_next = $next;
}
is(query("SELECT attempts, class FROM outbox.dead_letter WHERE event_id = '$dead'"),
	'6|event', 'a dead letter after the last attempt');
wait_for_arrived('delays', '1 2 3', 'its key goes on, in order');
query("SELECT outbox.discard('$dead')");

note 'a crash, and a restart';
restart_with($node, <<~'END');
	outbox.retry_max_attempts = 0
	outbox.retry_max_delay = 600ms
	END
my $durable = emit_refused('durable', 100_000);
emit('durable', 5);
wait_parked(6);
wait_published($node);
for my $end ('crash', 'restart')
{
	my ($attempts) = history();
	wait_until(undef, sub { (history())[0] > $attempts + 2 }, 'more attempts');
	$node->poll_query_until('postgres',
		'SELECT position = written_position FROM outbox.stat_relay') or die;
	my ($before, $since) = history();
	my $start = time;
	# The relay's own commits are asynchronous; this one flushes them.
	query(q{SELECT pg_logical_emit_message(true, '', '')});
	$end eq 'crash' ? crash($node) : $node->stop;
	$node->start;
	my ($after, $since_after, $failed, $next) = history();
	is($since_after, $since, "$end: since when it fails is known");
	cmp_ok($after, '>=', $before, "$end: no attempt is forgotten");
	cmp_ok($after, '<=', $before + 2 + (time - $start) / 0.6,
		"$end: none is invented");
	cmp_ok($next - $failed, '>', 0.5, "$end: the delay is still long");
	wait_parked(6);
}
$mock->command('clear Produce');
wait_for_arrived('durable', 'refused 1 2 3 4 5', 'all arrive, in order, once');
wait_parked(0);

note 'skip';
restart_with($node, <<~'END');
	outbox.on_failure = skip
	outbox.retry_base_delay = 1h
	outbox.retry_max_delay = 1h
	END
my $skipped = emit_refused('skip', 1);
is(query('SELECT scope, topic, key, event_id, waiting FROM outbox.blocked'),
	"event|retry|skip|$skipped|0", 'blocked shows the event alone');
emit('skip', 3);
wait_for_arrived('skip', '1 2 3', 'later events overtake it');
is(query('SELECT retrying + waiting FROM outbox.stat_relay'), 1, 'it is still parked');

sub try_now
{
	query(q{UPDATE outbox.parked SET next_attempt_at = now();
		SELECT outbox.parked_changed()});
	return;
}
try_now();
wait_for_arrived('skip', '1 2 3 refused', 'it comes when it succeeds');
wait_parked(0);

note 'halt';
restart_with($node, 'outbox.on_failure = halt');

sub halted_with
{
	my ($error) = @_;
	my $key = "halt $error";
	my $event_id = emit_refused($key, 1, $error);

	emit('another', 1);
	emit($key, 2);
	wait_state($node, 'halted');
	is(query(q{SELECT outbox.wait_published('500 ms')}),
		'f', "halted by $error");
	is(query('SELECT retrying + waiting, dead_letters, pending_events FROM outbox.stat_relay'),
		'1|0|3', 'all others are pending');
	return ($key, $event_id);
}

my ($key, $event_id) = halted_with('INVALID_RECORD');
$consumer->drain;
is(arrived('another'), '', 'nothing is published');
$node->restart;
wait_state($node, 'halted');
is(query("SELECT count(*) FROM outbox.discard('$event_id')"),
	0, 'it is no dead letter to be discarded');
is(query("SELECT count(*) FROM outbox.discard('$event_id', retrying => true)"),
	1, 'unless we say so');
wait_for_arrived($key, '1 2', 'then its key goes on');
wait_for_arrived('another', '1', 'and all others');
is(relay_state($node), 'publishing', 'state is publishing');

($key, $event_id) = halted_with('POLICY_VIOLATION');
try_now();
wait_for_arrived($key, 'refused 1 2', 'or when it succeeds');
wait_for_arrived('another', '1 1', 'all go on');
wait_state($node, 'publishing');
wait_parked(0);

$node->stop;
done_testing();
