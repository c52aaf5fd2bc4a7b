# Many databases: each with the extension publishes its own events, the others
# cost nothing, and commands that need a database without connections go on as
# if there were no relay, also while the broker is dead.
#
# Catches: DROP DATABASE and its kin waiting 5 s for the relay and failing, or
# a relay that does not come back after them, or comes and goes because of
# somebody who may not do them; a relay that does not answer a barrier, so
# that unrelated commands hang; workers started in a loop where nothing is to
# be done, or where the database is gone.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use Test::More;

my $prompt = 10;    # s; the server itself gives up after 5 s of waiting
my $mock = OutboxTest::Mock->new;
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	conf => 'log_min_messages = debug1');    # tells each start of a worker

sub emit { return query("SELECT outbox_emit('$_[0]', 'k', '$_[1]')", $_[0]); }

sub relays
{
	return query("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'outbox relay'",
		'template1');
}

sub starts
{
	my ($from) = @_;
	return scalar log_lines($node, $from,
		qr/starting background worker process "outbox relay/);
}

sub wait_relay
{
	my ($db) = @_;
	return wait_until(undef, sub { outbox_pid($node, $db) }, "relay of $db");
}

# How long everybody took to answer a barrier, by the log.
sub barrier_seconds
{
	my ($from) = @_;
	my ($began, $ended) = map { /^\S+ (\d+):(\d+):(\S+)/; 3600 * $1 + 60 * $2 + $3 }
	  log_lines($node, $from, qr/waiting for all backends to process ProcSignalBarrier/);

	return ($ended - $began) % 86_400;
}

# A command on a database whose relay has events and no broker.
sub prompt_ok
{
	my ($command, $name) = @_;
	my $seconds = took(sub { query($command, 'template1') });

	$command =~ s/^SET.*?; //;
	note sprintf '%s: %.2f s', $command, $seconds;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return cmp_ok($seconds, '<', $prompt, $name // $command);
}

# 20 databases without the extension, one with it after them.
query(join(";\n", map { "CREATE DATABASE plain$_ STRATEGY file_copy" } 1 .. 20), 'template1');
query('CREATE DATABASE a', 'template1');
query('CREATE EXTENSION outbox', 'a');
wait_relay('a');
$node->stop;
my $from = log_end($node);
$node->start;
my $seconds = took(sub { wait_relay('a') });
cmp_ok($seconds, '<', 4, 'the one database with the extension is found soon');
wait_until(undef, sub { starts($from) >= 22 && relays() == 1 }, 'settled');
is(log_lines($node, $from, qr/WARNING|ERROR|FATAL/), 0, '... quietly');
my $started = starts($from);
cmp_ok($started, '<=', 24, '... and none is started twice');
ok(stays(2, sub { relays() == 1 && starts($from) == $started }),
	'nothing runs for the others');

# Two at once.
query('CREATE DATABASE b', 'template1');
query('CREATE EXTENSION outbox', 'b');
for my $i (1 .. 20)
{
	emit('a', $i);
	emit('b', $i);
}
ok(wait_published($node, 'a'), 'a publishes');
ok(wait_published($node, 'b'), 'b publishes');

# Only some of them.
$from = log_end($node);
conf_reload($node, "outbox.databases = 'a, nosuch'");
wait_until(undef, sub { outbox_pid($node, 'b') eq '' }, 'b ends');
emit('a', 'allowed');
emit('b', 'kept');
ok(wait_published($node, 'a'), 'outbox.databases: a publishes');
is(relay_state($node, 'b'), 'disabled', '... and b does not');
is(outbox_pid($node, 'b'), '', '... and has no relay');
conf_reload($node, "outbox.databases = ''");
ok(wait_published($node, 'b'), 'b publishes when it is lifted');
is(log_lines($node, $from, qr/exited with exit code 1|FATAL/), 0, 'quietly');

# Users without rights disturb nobody.
query('CREATE ROLE nobody LOGIN; CREATE ROLE maker LOGIN CREATEDB', 'template1');
my $relay = wait_relay('a');
for (
	[ nobody => 'DROP DATABASE a' ],
	[ nobody => 'DROP DATABASE a WITH (FORCE)' ],
	[ nobody => 'ALTER DATABASE a RENAME TO x' ],
	[ nobody => 'ALTER DATABASE a SET TABLESPACE pg_default' ],
	[ nobody => 'CREATE DATABASE x TEMPLATE a' ],
	[ maker => 'DROP DATABASE a' ],
	[ maker => 'CREATE DATABASE x TEMPLATE a' ])
{
	my ($role, $command) = @$_;
	fails_with($node, 'template1', $command, '42501', qr/./,
		"$role: $command", connstr => $node->connstr('template1') . " user=$role");
}
is(outbox_pid($node, 'a'), $relay, 'the relay does not care');

# A copy has a relay of its own, and may go at once.
query('CREATE DATABASE c TEMPLATE a', 'template1');
emit('c', 'of the copy');
ok(wait_published($node, 'c'), 'a copy publishes by itself');
$relay = wait_relay('a');
for my $i (1 .. 3)
{
	prompt_ok('CREATE DATABASE d TEMPLATE b', "copy $i");
	prompt_ok('DROP DATABASE d', "drop of a copy $i");
}
emit('b', 'after copies');
ok(wait_published($node, 'b'), 'the template goes on');

# With events that cannot be sent.
$mock->command('down');
sub busy
{
	my ($db) = @_;
	wait_relay($db);
	emit($db, 'busy');
	return $node->poll_query_until($db, <<~END) || die "$db is not busy";
		SELECT horizon > last_value AND pending_events > 0
		FROM outbox.stat_relay, outbox.event_id_seq
		END
}
busy($_) for qw(a b c);
prompt_ok('CREATE DATABASE e TEMPLATE a');
busy($_) for qw(a e);
prompt_ok('ALTER DATABASE a RENAME TO renamed');
prompt_ok('ALTER DATABASE renamed RENAME TO a', 'renamed back');
query("SET allow_in_place_tablespaces = on; CREATE TABLESPACE ts LOCATION ''", 'template1');
busy('a');
prompt_ok('ALTER DATABASE a SET TABLESPACE ts');
prompt_ok('DROP DATABASE c');
prompt_ok('DROP DATABASE e WITH (FORCE)');
busy($_) for qw(a b);
$relay = wait_relay('b');
prompt_ok('DROP DATABASE plain1', 'DROP of an unrelated database');
is(outbox_pid($node, 'b'), $relay, '... has not ended a relay');

# New settings wait for answers from the old broker; barriers must not.
$mock->command('up');
ok(wait_published($node, $_), "the broker is back for $_") for qw(a b);
$mock->command('rtt 10000');
emit('a', 'slow');
conf_reload($node, 'outbox.window_events = 5000');
$from = log_end($node);
prompt_ok('DROP DATABASE plain2', 'DROP during a change of settings');
cmp_ok(barrier_seconds($from), '<', 3, '... which does not hold a barrier up');
$mock->command('rtt 0');

# Commands that fail.
$relay = wait_relay('a');
my $session = $node->background_psql('a');
$session->query_safe('SELECT 1');
$from = log_end($node);
fails_with(
	$node, 'template1',
	"SET statement_timeout = '500ms'; DROP DATABASE a",
	'57014', qr/statement timeout/,
	'DROP DATABASE with another session there');
wait_until(undef, sub { my $pid = outbox_pid($node, 'a'); $pid ne '' && $pid ne $relay },
	'the relay comes back');
$session->quit;

# At the very moment when the relays start.
emit('a', 'last');
ok(wait_published($node, 'a'), 'published');
$node->restart;
prompt_ok('DROP DATABASE b', 'DROP right after a start');
prompt_ok('DROP DATABASE plain3', 'DROP of another right after a start');
wait_relay('a');
ok(wait_published($node, 'a'), 'a is there');
$from = log_end($node);
ok(stays(1, sub { relays() == 1 }), 'one is left');
is(starts($from), 0, '... and nobody starts any other');
# autovacuum does such things
my @lost = map { /\[(\d+)\]/ } log_lines($node, 0, qr/database (?:"\w+"|\d+) does not exist/);
is(scalar(grep { log_lines($node, 0, qr/"outbox relay" \(PID $_\)/) } @lost),
	0, 'no relay was started where there is no database');

# Copies hold events of their template, with the same event_id, once each.
ok($consumer->drain, 'drained');
my @of_a = grep { $_->{topic} eq 'a' } $consumer->records;
check_delivery([ events($node, 'a') ], \@of_a, 'database a');
clean_log($node, 'no crash');
$node->stop;
done_testing();
