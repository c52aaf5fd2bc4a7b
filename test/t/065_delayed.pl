# Delayed events: kept apart until they are due, then published in the order in
# which they are due, whatever happens meanwhile.
#
# Catches: one that comes early, or twice, or never, after a crash, a rollback,
# a late commit, or while somebody holds its row; a relay that looks at those
# that are not due; a search that passes again and again over what has been
# moved while a snapshot is held; events of others that wait for any of that.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;
use Time::HiRes qw(time usleep);

my $waiting = 1_000_000;
my $burst = 30_000;

my $mock = OutboxTest::Mock->new(topics => { t => 1, burst => 1 });
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1);

sub payloads
{
	my ($key) = @_;

	return join ' ', map { $_->{payload} }
	  grep { ($_->{key} // '') eq $key } $consumer->records;
}

# All of a key, in order, and nothing else of it
sub arrives
{
	my ($key, $payloads, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	eval { wait_until(undef, sub { length payloads($key) >= length $payloads }) };
	return is(payloads($key), $payloads, $name);
}

sub wait_for_time
{
	my ($time) = @_;

	$node->poll_query_until('postgres',
		"SELECT clock_timestamp() > $time FROM due")
	  or die 'the time does not come';
	return;
}

sub delayed { return query('SELECT delayed FROM outbox.stat_relay'); }

note 'order';
query(q{CREATE TABLE due AS SELECT clock_timestamp() + interval '4 s' AS t});
query(<<~'END');
	SELECT outbox_emit('t', 'a', 'third', deliver_at => t + interval '3 ms'),
		outbox_emit('t', 'a', 'second', deliver_at => t + interval '2 ms'),
		outbox_emit('t', 'a', 'at_once'),
		outbox_emit('t', 'a', 'past', deliver_at => '2000-01-01'),
		outbox_emit('t', 'a', 'negative', deliver_after => '-1 day'),
		outbox_emit('t', 'a', 'first', deliver_at => t)
	FROM due;
	END
query(<<~END) for 1 .. 3;
	SELECT outbox_emit('t', 'same', '$_' || n, deliver_at => t)
	FROM due, (VALUES ('a'), ('b')) v (n)
	END
ok(wait_published($node), 'what is not delayed');
arrives('a', 'at_once past negative', 'comes at once');
is(delayed(), 9, 'the others wait');
is(query('SELECT count(*) FROM outbox.event'), 3, '... and are not in the order');
is( query(q{SELECT count(*), min(status_at) = t FROM outbox.event_status, due
			WHERE status = 'delayed' GROUP BY t}),
	'9|t', '... but shown');
my $early = query('SELECT clock_timestamp() < t FROM due') eq 't';
arrives('a', 'at_once past negative first second third', 'in the order of the times');
is(query('SELECT clock_timestamp() >= t FROM due'), 't', 'not before')
  if $early;
arrives('same', '1a 1b 2a 2b 3a 3b', 'at the same time, in that of the commits');
is(delayed(), 0, 'none waits');
is(query(q{SELECT count(*) FROM outbox.event WHERE expires_at IS NOT NULL}),
	0, 'nothing expires by itself');

note 'transactions';
query(<<~'END');
	BEGIN;
	SELECT outbox_emit('t', 'rollback', 'x', deliver_after => '1 ms');
	ROLLBACK;
	BEGIN;
	SELECT outbox_emit('t', 'savepoint', '1', deliver_after => '2 ms');
	SAVEPOINT s;
	SELECT outbox_emit('t', 'savepoint', '2', deliver_after => '1 ms');
	ROLLBACK TO s;
	SELECT outbox_emit('t', 'savepoint', '3', deliver_after => '3 ms');
	COMMIT;
	BEGIN;
	SAVEPOINT s;
	SELECT outbox_emit('t', 'savepoint', '4', deliver_after => '1 ms');
	ROLLBACK TO s;
	COMMIT;
	END
arrives('savepoint', '1 3', 'without what was rolled back');
is( query(<<~'END'),
	BEGIN;
	SELECT outbox_emit('t', 'shown', 'x', deliver_at => '2100-01-01') IS NULL;
	SELECT deliver_at = '2100-01-01', expires_at IS NULL, topic FROM outbox.emitted();
	ROLLBACK;
	END
	"f\nt|t|t", 'outbox.emitted() shows it');

query(q{UPDATE due SET t = clock_timestamp() + interval '1 s'});
my $late = $node->background_psql('postgres');
$late->query_safe(<<~'END');
	BEGIN;
	SELECT outbox_emit('t', 'late', 'late', deliver_at => t) FROM due;
	END
query(q{SELECT outbox_emit('t', 'late', 'prompt', deliver_at => t + interval '1 s') FROM due});
arrives('late', 'prompt', 'one that is due later');
$late->query_safe('COMMIT');
arrives('late', 'prompt late', 'and one that was committed after its time');

note 'cancel';
my $soon = query(q{SELECT outbox_emit('t', 'cancel', 'x', deliver_after => '1 day')});
is(query("SELECT outbox.cancel_delayed('$soon')"), 't', 'cancelled');
is(query("SELECT outbox.cancel_delayed('$soon')"), 'f', 'but once');
is(query("SELECT count(*) FROM outbox.event_status WHERE event_id = '$soon'"),
	0, 'it is gone');

query(q{UPDATE due SET t = clock_timestamp() + interval '2 s'});
my ($cancelled, $kept) = split /\n/, query(<<~'END');
	SELECT outbox_emit('t', 'held', 'cancelled', deliver_at => t) FROM due;
	SELECT outbox_emit('t', 'held', 'kept', deliver_at => t) FROM due;
	SELECT outbox_emit('t', 'held', 'free', deliver_at => t) FROM due;
	END
$late->query_safe("BEGIN; SELECT outbox.cancel_delayed('$cancelled')");
$late->query_safe("SELECT FROM outbox.delayed WHERE event_id = '$kept' FOR UPDATE");
arrives('held', 'free', 'one that nobody holds');
query(q{SELECT outbox_emit('t', 'held', 'next', deliver_after => '1 ms')});
arrives('held', 'free next', 'and the next one');
$late->query_safe('COMMIT');
arrives('held', 'free next kept', 'then the one that was held, not the cancelled one');
is(delayed(), 0, 'none waits');

note 'outage';
$mock->command('down');
query(q{SELECT outbox_emit('t', 'outage', '1', deliver_after => '10 ms')});
query(q{SELECT outbox_emit('t', 'outage', '2')});
$node->poll_query_until('postgres',
	q{SELECT count(*) = 2 FROM outbox.event WHERE key = 'outage'})
  or die 'it does not become due';
$mock->command('up');
wait_until(undef, sub { length payloads('outage') == 3 }, 'both');
like(payloads('outage'), qr/^(1 2|2 1)$/, 'due in an outage, published after it');
is( payloads('outage'),
	query(q{SELECT string_agg(convert_from(payload, 'UTF8'), ' ' ORDER BY id)
		FROM outbox.event WHERE key = 'outage'}),
	'... in its place');

note 'crash';
query(q{UPDATE due SET t = clock_timestamp() + interval '1 s'});
query(q{SELECT outbox_emit('t', 'crash', 'while_down', deliver_at => t) FROM due});
query(q{SELECT outbox_emit('t', 'crash', 'after', deliver_at => t + interval '6 s') FROM due});
my $due = query('SELECT extract(epoch FROM t) FROM due');
crash($node);
usleep(20_000) while time <= $due;
$node->start;
arrives('crash', 'while_down', 'one that became due meanwhile');
arrives('crash', 'while_down after', 'and one that becomes due later');

note 'a burst under a held snapshot';
my $holder = $node->background_psql('postgres');
$holder->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
$holder->query_safe('SELECT count(*) FROM outbox.delayed');
query(q{UPDATE due SET t = clock_timestamp() + interval '4 s'});
query(<<~END);
	SELECT count(outbox_emit('burst', (i % 7)::text, i::text, deliver_at => t))
	FROM due, generate_series(1, $burst) i
	END
$node->poll_query_until('postgres', 'SELECT delayed = 0 FROM outbox.stat_relay')
  or die 'they do not become due';
$node->poll_query_until('postgres', <<~END) or die 'no statistics';
	SELECT n_tup_del >= $burst FROM pg_stat_user_tables
	WHERE relid = 'outbox.delayed'::regclass
	END
my $read = query(<<~'END');
	SELECT idx_tup_read FROM pg_stat_user_indexes
	WHERE indexrelid = 'outbox.delayed_due'::regclass
	END
cmp_ok($read, '<', 5 * $burst, 'what has been moved is not passed over again');
ok(wait_published($node) && $consumer->drain, 'published');
is( check_delivery(
		[ events($node, undef, q{topic = 'burst'}) ],
		[ grep { $_->{topic} eq 'burst' } $consumer->records ],
		'burst'),
	0,
	'nothing twice');
is( join(' ', sort { $a <=> $b }
		  map { $_->{payload} } grep { $_->{topic} eq 'burst' } $consumer->records),
	join(' ', 1 .. $burst),
	'all of it');
$holder->quit;

note 'many that wait';
my $script = q{SELECT outbox_emit('t', 'speed', 'x');};
sub speed
{
	my $start = time;

	pgbench($node, $script, transactions => 300);
	wait_published($node) or die 'not published';
	return time - $start;
}
my $before = speed();
my $start = time;
query(<<~END);
	SELECT count(outbox_emit('t', 'waits', 'x', deliver_after => '1 day'))
	FROM generate_series(1, $waiting)
	END
note sprintf 'emitted in %.1f s', time - $start;
ok(wait_published($node), 'the relay has passed their ids');
my $after = speed();
note sprintf '300 transactions: %.2f s before, %.2f s with them', $before, $after;
cmp_ok($after, '<', 5 * $before + 1, 'others are as quick');

# Nothing is left to do when the position is written.
$node->poll_query_until('postgres', <<~'END') or die 'not idle';
	SELECT position = written_position OR NOT EXISTS (SELECT FROM outbox.event e
		WHERE e.id > written_position) FROM outbox.stat_relay
	END
my $pid = relay_pid($node);
sub activity
{
	my ($switches) = slurp_file("/proc/$pid/status") =~
	  /^voluntary_ctxt_switches:\s+(\d+)/m;

	return "$switches switches, last query " . query(
		"SELECT state_change FROM pg_stat_activity WHERE pid = $pid");
}
my ($activity, $since);
wait_until(
	undef,
	sub {
		my $now = activity();

		($activity, $since) = ($now, time)
		  if !defined $activity || $now ne $activity;
		return time - $since > 4;
	},
	'an idle relay neither wakes up nor makes a query');
is(activity(), $activity, 'an idle relay neither wakes up nor makes a query');

$start = time;
query(q{SELECT outbox_emit('t', 'in_time', 'x', deliver_after => '1 s')});
arrives('in_time', 'x', 'one among them that is due');
cmp_ok(time - $start, '>', 0.9, '... not early');
is(delayed(), $waiting, '... alone');
is(query(q{SELECT count(*) FROM outbox.event WHERE key IN ('rollback', 'waits', 'cancel')}),
	0, 'nothing else has become an event');

$late->quit;
$node->stop;
done_testing();
