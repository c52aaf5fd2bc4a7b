# A subscription from end to end: what one transaction emits takes effect in
# another one; and the processes of subscriptions, which come and go with their
# rows, the extension, their database, the settings and the server.
#
# Catches: a message that is lost or takes effect twice when a subscription is
# paused, gets more workers, or its process or the server ends in the middle; a
# process that stays when it should end, or that is not started again; one that
# keeps DROP DATABASE waiting; queries for want of work; a subscriber that
# starves relays of workers, or does not say what it waits for; one that ends
# with an idle relay, or is not started because there is none.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use Test::More;

my $mock = OutboxTest::Mock->new;
my $node = outbox_node('main', bootstrap => $mock->bootstrap, extension => 1,
	conf => <<~'END');
	max_worker_processes = 20
	restart_after_crash = on
	# which the mock brokers wait for in any case
	outbox.kafka_properties = 'fetch.wait.max.ms=50'
	END

my $objects = <<'END';
CREATE TABLE effect (key text, payload text);
CREATE FUNCTION note(m outbox.message) RETURNS void BEGIN ATOMIC
	INSERT INTO effect VALUES ((m).key, outbox.payload_text(m));
END;
END
my $subscribe = q{SELECT outbox.subscribe('notes', '{orders}', 'note(outbox.message)', start => 'earliest')};

# Waits for a query to have that result, and tells it.
sub becomes
{
	my ($sql, $expected, $name, $db) = @_;
	my $is = '';

	eval { wait_until(30, sub { ($is = query($sql, $db)) eq $expected }) };
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is($is, $expected, $name);
}

my $emitted = 0;

sub emit
{
	my ($count) = @_;

	query("SELECT count(outbox_emit('orders', (n % 10)::text, n::text))
		FROM generate_series($emitted + 1, $emitted + $count) n");
	$emitted += $count;
	return;
}

# All that has been emitted takes effect, once, and in the order of each key.
sub all_take_effect
{
	my ($name) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	becomes('SELECT count(DISTINCT payload) FROM effect', $emitted, "$name: nothing is lost");
	return is(query(<<~'END'), "$emitted|0", '... nor done twice, nor out of order');
		SELECT count(*), count(*) FILTER (WHERE number < before)
		FROM (SELECT payload::int AS number,
		             lag(payload::int) OVER (PARTITION BY key ORDER BY ctid) AS before
		      FROM effect) e
		END
}

my $states = q{SELECT string_agg(state, ' ' ORDER BY worker) FROM outbox.stat_subscription};
my $processes = q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'outbox subscriber'};

# from end to end
query($objects . $subscribe);
emit(100);
all_take_effect('a subscription');
becomes($states, 'consuming', 'it is shown');
is(query(q{SELECT s.subscription, s.handled, s.failed, a.backend_type, a.query ~ '^outbox: consuming'
		FROM outbox.stat_subscription s JOIN pg_stat_activity a USING (pid)}),
	"notes|$emitted|0|outbox subscriber|t", '... with its figures and its process');

# it sleeps when there is nothing to do
my $acts = q{SELECT state_change FROM pg_stat_activity WHERE backend_type = 'outbox subscriber'};
becomes('SELECT lag_messages FROM outbox.stat_subscription', 0, 'nothing is left to do');
my ($since, $calm) = (query($acts), 0);
wait_until(
	undef,
	sub {
		my $now = query($acts);
		($since, $calm) = ($now, time) if $now ne $since || $calm == 0;
		return time - $calm > 6;
	});
pass('... and then there is no transaction any more');

# paused, more workers, resumed
query(q{SELECT outbox.pause_subscription('notes', 'a look at it')});
becomes($states, 'paused', 'it is paused');
emit(100);
wait_published($node);
is(query('SELECT count(*) FROM effect'), $emitted - 100, '... and nothing takes effect');
query(q{SELECT outbox.alter_subscription('notes', workers => 2)});
becomes($states, 'paused paused', 'there is a second worker');
query(q{SELECT outbox.resume_subscription('notes')});
all_take_effect('resumed, with two workers');
becomes('SELECT sum(partitions), min(partitions) > 0 FROM outbox.stat_subscription', '4|t',
	'they share the partitions');
query(q{SELECT outbox.alter_subscription('notes', workers => 1)});
becomes($processes, 1, 'one of them ends');
emit(20);
all_take_effect('one worker again');

# its process is ended
my $pid = 'SELECT pid FROM outbox.stat_subscription';
my $before = query($pid);
query("SELECT pg_terminate_backend($before)");
emit(20);
becomes("SELECT pid <> $before FROM outbox.stat_subscription WHERE state = 'consuming'", 't',
	'one that is ended starts again');
all_take_effect('... and goes on');

# settings
conf_reload($node, 'outbox.enabled = off');
becomes($states, 'disabled', 'outbox.enabled ends it');
conf_reload($node, 'outbox.enabled = on');
becomes($states, 'consuming', '... or starts it');

# a relay that has nothing to do ends, and is needed to begin another one
conf_reload($node, 'outbox.idle_timeout = 200ms');
becomes('SELECT state FROM outbox.stat_relay', 'idle', 'the relay ends for want of work');
is(query($states), 'consuming', '... the subscriber does not');
query(q{SELECT outbox.subscribe('more', '{more}', 'note(outbox.message)', start => 'earliest')});
becomes($states, 'consuming consuming', '... and another one begins');
query(q{SELECT outbox.unsubscribe('more')});
becomes($processes, 1, '... and ends');
conf_reload($node, 'outbox.idle_timeout = 0');

# the server crashes, and is restarted
emit(20);
kill 'KILL', query($pid);
wait_until(30, sub { eval { query('SELECT 1') } });
emit(20);
all_take_effect('a crash of the server');

# too few workers: the launchers, the relay, and one more; then a second relay
$node->append_conf('postgresql.conf', 'max_worker_processes = 4');
$node->restart;
emit(20);
all_take_effect('a restart of the server');
query(q{SELECT outbox.create_relay('other', '{nothing}')});
becomes(q{SELECT count(pid) FROM outbox.stat_relay}, 2, 'relays come first');
becomes(q{SELECT state, last_error ~ 'max_worker_processes' FROM outbox.stat_subscription}, 'stopped|t',
	'... and a subscription tells what it waits for');
query(q{SELECT outbox.drop_relay('other')});
emit(20);
all_take_effect('a worker is free again');
$node->append_conf('postgresql.conf', "max_worker_processes = 20\noutbox.max_subscribers = 0");
$node->restart;
becomes(q{SELECT state, last_error ~ 'outbox.max_subscribers' FROM outbox.stat_subscription}, 'stopped|t',
	'outbox.max_subscribers = 0: none runs');
$node->append_conf('postgresql.conf', 'outbox.max_subscribers = 3');
$node->restart;
becomes($states, 'consuming', '... and with more it does');

# a second database, which comes and goes
query('CREATE DATABASE other');
query("CREATE EXTENSION outbox; $objects; $subscribe", 'other');
becomes('SELECT count(*) FROM effect', $emitted, 'another database has its own', 'other');
my $dbid = query('SELECT oid FROM pg_database WHERE datname = current_database()', 'other');
my $notes = "SELECT count(*) FROM pg_ls_dir('pg_stat') f WHERE f ~ '^outbox_${dbid}_s'";
is(query($notes), 1, '... and a note for its next life');
query('ALTER DATABASE other RENAME TO again');
becomes($states, 'consuming', 'one that is renamed has it again', 'again');
query('DROP DATABASE again');
becomes($processes, 1, '... and one that is dropped has none');
becomes($notes, 0, '... nor leaves a note');

# the extension
query('BEGIN; DROP EXTENSION outbox CASCADE; ROLLBACK');
emit(20);
all_take_effect('DROP EXTENSION that is rolled back');
query('DROP EXTENSION outbox CASCADE');
becomes($processes, 0, 'it ends with the extension');
query("DROP TABLE effect; CREATE EXTENSION outbox; $objects; $subscribe");
becomes('SELECT count(*) FROM effect', $emitted, '... and a new one begins anew');
query(q{SELECT outbox.unsubscribe('notes')});
becomes($processes, 0, 'unsubscribed, it ends');

unlike(PostgreSQL::Test::Utils::slurp_file($node->logfile), qr/ERROR|PANIC|TRAP/, 'no error has been told');
done_testing();
