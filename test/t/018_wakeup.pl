# An idle relay sleeps: no query, no wake-up; and an event after an idle time is
# published at once.
#
# Catches: a relay that polls, and a wake-up that is lost between looking for
# events and going to sleep, or when a transaction fails after it has taken its
# place in the order.

use strict;
use warnings;

use OutboxTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $idle = 10;        # seconds
my $rounds = 20;
my $at_once = 0.25;   # seconds a round; what polls every second takes more

my $mock = OutboxTest::Mock->new;
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	conf => 'autovacuum = off');
$node->safe_psql('postgres', 'CREATE DATABASE app');
$node->safe_psql('app', 'CREATE EXTENSION outbox');

# How often the process' own thread has gone to sleep; librdkafka's threads
# do not count.
sub sleeps
{
	my ($pid) = @_;

	my ($count) = slurp_file("/proc/$pid/task/$pid/status") =~
	  /^voluntary_ctxt_switches:\s+(\d+)/m;
	return $count;
}

# Seen from another database, so that nothing of this is counted.
sub activity
{
	return $node->safe_psql('postgres', <<~'END');
		SELECT a.state, a.query_start, a.state_change, d.xact_commit, d.xact_rollback
		FROM pg_stat_activity a JOIN pg_stat_database d USING (datname)
		WHERE backend_type = 'outbox relay' AND datname = 'app'
		END
}

sub emit_and_wait
{
	return $node->safe_psql('app', <<~'END');
		SELECT outbox_emit('wake', 'k', 'x') AS id \gset
		SELECT outbox.wait_published('20 s');
		END
}

note 'idle';
is(emit_and_wait(), 't', 'an event is published');
$node->poll_query_until('app',
	'SELECT written_position = position FROM outbox.stat_relay') or die;
my %pids = (
	relay => relay_pid($node, 'app'),
	launcher => $node->safe_psql('postgres',
		q(SELECT pid FROM pg_stat_activity WHERE backend_type = 'outbox launcher')));

# Until then the figures of the last transactions are on their way.
my ($before, $since) = ('', 0);
wait_until(
	undef,
	sub {
		my $now = activity();

		($before, $since) = ($now, time) if $now ne $before;
		return time > $since + 2;
	},
	'the figures stand still');
my %sleeps = map { $_ => sleeps($pids{$_}) } keys %pids;
my $start = time;
usleep(100_000) while time < $start + $idle;
for my $process (sort keys %pids)
{
	cmp_ok(sleeps($pids{$process}) - $sleeps{$process}, '<=', 1,
		"$process: at most one wake-up in $idle seconds");
}
is(activity(), $before, 'no query and no transaction');

note 'and awake at once';
$start = time;
is(emit_and_wait(), 't', 'the first event after it is published');
cmp_ok(time - $start, '<', 2, 'at once');
my $session = $node->background_psql('app');
$start = time;
my $answers = $session->query_safe(<<~END);
	DO \$\$
	BEGIN
		FOR i IN 1 .. $rounds LOOP
			PERFORM outbox_emit('wake', 'k', i::text);
			COMMIT;
			IF NOT outbox.wait_published('20 s') THEN
				RAISE 'event % is not published', i;
			END IF;
			COMMIT;
		END LOOP;
	END \$\$
	END
cmp_ok(time - $start, '<', $rounds * $at_once, "and $rounds more, one by one");
note sprintf '%.3f s each', (time - $start) / $rounds;
$session->quit;

note 'a transaction that ends while others wait for its place in the order';
# whoever takes this id waits in its commit for the one who has it
my $holder = $node->background_psql('app');
$holder->query_safe(<<~'END');
	-- else the trigger keeps the relay away, as during a restore
	SET session_replication_role = replica;
	BEGIN;
	INSERT INTO outbox.event_0 (id, event_id, emitted_at, topic)
		SELECT last_value + 2, gen_random_uuid(), now(), 'wake'
		FROM outbox.event_id_seq;
	END
my $large = pgbench($node, <<~'END', db => 'app', background => 1);
	BEGIN;
	SELECT count(outbox_emit('wake', 'k', n::text))
		FROM (SELECT generate_series(1, 3) AS n) s;
	COMMIT;
	END
$node->poll_query_until('app', <<~'END') or die 'no commit';
	SELECT EXISTS (SELECT FROM pg_stat_activity
		WHERE query = 'COMMIT;' AND wait_event_type = 'Lock')
	END
is($node->safe_psql('app', <<~'END'), "f\n1\nt", 'published when it is gone');
	SELECT outbox_emit('wake', 'k', 'behind it') AS id \gset
	SELECT outbox.wait_published('100 ms');
	SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
		WHERE query = 'COMMIT;' AND state = 'active';
	SELECT outbox.wait_published('20 s');
	END
isnt($large->wait, 0, 'which it is');
$holder->query_safe('ROLLBACK');
$holder->quit;

note 'sleeping and waking all the time, with transactions that fail';
$node->safe_psql('app', <<~'END');
	CREATE TABLE skew (n int);
	INSERT INTO skew SELECT generate_series(1, 4);
	END
pgbench($node, <<~'END',
	\set read random(1, 4)
	\set write random(1, 4)
	BEGIN ISOLATION LEVEL SERIALIZABLE;
	SELECT count(*) FROM skew WHERE n = :read;
	INSERT INTO skew VALUES (:write);
	SELECT outbox_emit('wake', :write, 'serializable');
	COMMIT;
	SELECT 1 / outbox.wait_published('20 s')::int;
	END
	db => 'app',
	clients => 3,
	transactions => 200,
	args => ['--max-tries=100']);
my $serializable = $node->safe_psql('app',
	q(SELECT count(*) FROM outbox.event WHERE payload = 'serializable'));
is($serializable, 600, 'each has seen its event published');
cmp_ok($node->safe_psql('app', <<~'END'),
	SELECT last_value - (SELECT count(*) FROM outbox.event) FROM outbox.event_id_seq
	END
	'>', 0, 'and some have failed after they had taken an id');

$node->stop;
done_testing();
