# What is where once the library is preloaded, and what happens if it is not,
# or if something is missing: brokers, room for a database, a worker process.
#
# Catches: emits that vanish without the library; librdkafka and its threads
# in the postmaster or in backends; a log that fills up while nothing is
# configured; a relay that never comes when the server was short of workers.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use PostgreSQL::Test::Utils ();
use Test::More;

my $emit = "SELECT outbox_emit('load', 'k', 'v')";

# Not preloaded.
my $node = outbox_node('main', preload => 0);
my ($status, $out, $err) =
  $node->psql('postgres', 'CREATE EXTENSION outbox');
is($status, 0, 'CREATE EXTENSION without the library loaded');
like($err, qr/WARNING:  outbox is not loaded/, '... warns');
like($err, qr/HINT:  Add outbox to shared_preload_libraries/, '... and says what to do');
for my $sql ($emit, 'SELECT outbox.wait_published()', 'TABLE outbox.stat_relay')
{
	fails_with($node, 'postgres', $sql, '55000',
		qr/outbox is not loaded.*HINT:.*shared_preload_libraries/s,
		"not loaded: $sql");
}
is(outbox_pid($node), '', 'no launcher');

# Preloaded, for the extension that is there; no brokers; room for 1 database.
$node->append_conf('postgresql.conf', <<~END);
	shared_preload_libraries = 'outbox'
	outbox.max_databases = 1
	END
$node->restart;
wait_state($node, 'unconfigured');
ok($node->safe_psql('postgres', $emit), 'emit without brokers');
conf_reload($node) for 1 .. 3;
my @told = log_lines($node, 0, qr/: stopped -> unconfigured$/);
is(@told, 1, 'that brokers are missing is said once');
is(log_lines($node, 0, qr/DETAIL:  outbox\.bootstrap_servers is not set/), 1, '... by name');
is($node->safe_psql('postgres', 'SELECT last_error FROM outbox.stat_relay'),
	'outbox.bootstrap_servers is not set', '... and seen in the view');
is(relay_state($node), 'unconfigured', 'the relay waits');

my $mock = OutboxTest::Mock->new;
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
conf_reload($node, "outbox.bootstrap_servers = '@{[$mock->bootstrap]}'");
ok(wait_published($node), 'published once there are brokers');
is(relay_state($node), 'publishing', 'state');

# Who is there, and what they wait for.
my $named = $node->pg_version >= 17;
for ([ 'outbox launcher', 'OutboxLauncherMain' ],
	[ 'outbox relay', 'OutboxRelayIdle' ])
{
	my ($type, $event) = @$_;
	ok( $node->poll_query_until(
			'postgres',
			"SELECT wait_event_type || ' ' || wait_event FROM pg_stat_activity"
			  . " WHERE backend_type = '$type'",
			'Extension ' . ($named ? $event : 'Extension')),
		"$type waits");
}
is(relay_pid($node), outbox_pid($node, 'postgres'), 'pid in stat_relay');

# Which libraries are mapped where.
my $session = $node->background_psql('postgres');
$session->query_safe("$emit; SELECT outbox.wait_published(); TABLE outbox.stat_relay");
my %pid = (
	backend => $session->query_safe('SELECT pg_backend_pid()'),
	launcher => outbox_pid($node),
	postmaster => $node->{_pid},
	relay => relay_pid($node));
for my $who (sort keys %pid)
{
	my $maps = PostgreSQL::Test::Utils::slurp_file("/proc/$pid{$who}/maps");

	like($maps, qr{/outbox\.so$}m, "outbox.so in $who");
	is( ($maps =~ m{/librdkafka} ? 'there' : 'not there'),
		($who eq 'relay' ? 'there' : 'not there'),
		"librdkafka in $who");
}
$session->quit;

# No room for another database, until the first one is gone.
$node->safe_psql('postgres', 'CREATE DATABASE second');
my $relay = relay_pid($node);
my $from = log_end($node);
fails_with($node, 'second', 'CREATE EXTENSION outbox', '53400',
	qr/too many databases use outbox.*HINT:.*outbox\.max_databases/s,
	'CREATE EXTENSION beyond outbox.max_databases');
is($node->safe_psql('second', "SELECT to_regnamespace('outbox')"),
	'', '... leaves nothing behind');
is(relay_pid($node), $relay, '... and the relay of the first alone');
$node->safe_psql('template1', 'DROP DATABASE postgres WITH (FORCE)');
wait_until(
	undef,
	sub { $node->psql('second', 'CREATE EXTENSION outbox') == 0 },
	'room after DROP DATABASE');
$node->safe_psql('second', $emit);
ok(wait_published($node, 'second'), 'the second publishes in its place');
clean_log($node, 'nothing worse in the log', from => $from);

# Workers for the launcher and one relay.
$node->append_conf('postgresql.conf', <<~END);
	outbox.max_databases = 8
	max_worker_processes = 2
	max_logical_replication_workers = 0
	END
$node->restart;
wait_until(undef, sub { outbox_pid($node, 'second') }, 'relay');
$from = log_end($node);
$node->safe_psql('template1', 'CREATE DATABASE postgres');
for (1 .. 3)
{
	$node->safe_psql('postgres', 'CREATE EXTENSION outbox');
	wait_until(
		undef,
		sub { log_lines($node, $from, qr/no background worker is free/) },
		'warning');
	$node->safe_psql('postgres', 'DROP EXTENSION outbox') unless $_ == 3;
}
ok($node->safe_psql('postgres', $emit), 'emit without a worker for the relay');
is($node->safe_psql('postgres', 'SELECT state FROM outbox.stat_relay'),
	'stopped', 'state without a worker');

# A slot is free; what was said is not said again before.
$node->safe_psql('second', 'DROP EXTENSION outbox');
ok(wait_published($node), 'the relay comes when there is a worker');
@told = log_lines($node, $from, qr/no background worker is free/);
is(@told, 1, 'the missing worker was told once');
like($told[0], qr/WARNING:/, '... as a warning');
is(log_lines($node, $from, qr/HINT:.*max_worker_processes/),
	1, '... with the setting to raise');

$consumer->drain;
is($consumer->events, 4, 'every event was published');
$node->stop;
done_testing();
