# What an operator can break by hand, and mend: the sequence set back, the
# relay's row deleted.
#
# Catches: ids used twice or below the position, so that events are committed
# and never published, also after a restart, when shared memory knows nothing;
# hints that do not help; a relay that fails in a hot loop, or silently, or
# does not recover.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use Test::More;

my $mock = OutboxTest::Mock->new;
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1);
my $emit = "SELECT outbox_emit('t', 'k', 'v')";

sub last_error { return query('SELECT last_error FROM outbox.stat_relay'); }

# The sequence was set back: emit fails, and says what to do.
sub mend
{
	my ($name) = @_;
	my $from = log_end($node);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	fails_with($node, 'postgres', $emit, '55000',
		qr/sequence "outbox\.event_id_seq" was set back.*HINT:  Run SELECT setval/s,
		$name);
	fails_with($node, 'postgres', "BEGIN; $emit; $emit; COMMIT", '55000',
		qr/was set back/, "$name, in a transaction");
	my ($hint) = map { /HINT:  Run (SELECT setval\(.*\))\./ }
	  log_lines($node, $from, qr/HINT/);
	query($hint);
	query($emit);
	return ok(wait_published($node), "$name: published after $hint");
}
query("$emit FROM generate_series(1, 50)");
ok(wait_published($node), 'published');
my $relay = relay_pid($node);
query("SELECT setval('outbox.event_id_seq', 7)");
mend('setval');
query('ALTER SEQUENCE outbox.event_id_seq RESTART');
mend('RESTART');
is(relay_pid($node), $relay, 'the relay does not mind');

# Forward is harmless.
query("SELECT setval('outbox.event_id_seq', 100000)");
query($emit);
ok(wait_published($node), 'published after a gap');

# What is published and written down is not published again after a crash.
sub crash
{
	wait_until(undef, sub { query('SELECT pending_events = 0 AND position = written_position FROM outbox.stat_relay') eq 't' },
		'the position');
	# which the relay does not wait for to be on disk
	query("SELECT pg_logical_emit_message(true, 'flush', '')");
	$node->stop('immediate');
	$node->start;
	return;
}

# Many ids at once leave the sequence as one by one would, also after a crash.
my $last = query('SELECT last_value FROM outbox.event_id_seq');
query("DO \$\$ BEGIN PERFORM outbox_emit('t', 'k', 'v') FROM generate_series(1, 1000); END \$\$");
is(query('SELECT last_value, is_called FROM outbox.event_id_seq'), $last + 1000 . '|t', 'a thousand ids');
is(query("SELECT count(*), max(id) FROM outbox.event WHERE id > $last"), '1000|' . ($last + 1000), '... in a row');
crash();
query($emit);
cmp_ok(query('SELECT max(id) FROM outbox.event'), '>', $last + 1000, 'none is used again after a crash');
query('CHECKPOINT');
query("BEGIN; $emit; $emit; COMMIT");
$last = query('SELECT max(id) FROM outbox.event');
crash();
query($emit);
cmp_ok(query('SELECT max(id) FROM outbox.event'), '>', $last, '... also of those that were taken after a checkpoint');
ok(wait_published($node), 'published');

# After a restart of the server, and with old events gone, which would have
# kept their ids from being used again.
my @before = events($node);
query('TRUNCATE outbox.event_0');
query("SELECT setval('outbox.event_id_seq', 7)");
$node->restart;
wait_state($node, 'publishing');
mend('setval and restart');
my @after = events($node);
is(@after, 1, 'one event');
cmp_ok($after[0]->{id}, '>', 100_000, '... above all that were');

# The relay's row is gone.
my $from = log_end($node);
my $error = qr/there is no relay "default" in outbox\.relay/;
query('DELETE FROM outbox.relay');
query($emit);
wait_until(undef, sub { log_lines($node, $from, $error) >= 4 }, 'attempts');
ok(stays(2, sub { log_lines($node, $from, $error) < 10 }), 'no hot loop');
like(last_error(), $error, 'last_error');
my @lines = log_lines($node, $from, qr/$error|HINT:  Insert its row again/);
is(grep({ /HINT/ } @lines), @lines / 2, 'the log says what to do');
ok(query($emit), 'emit does not mind');

# The delay has grown to several seconds; a reload does not wait for it.
wait_until(undef, sub { log_lines($node, $from, $error) >= 8 }, 'attempts');
my $attempts = log_lines($node, $from, $error);
$node->reload;
wait_until(5, sub { log_lines($node, $from, $error) > $attempts }, 'reload');
pass('a reload tries again');

# The same from the start of the server.
my $position = query('SELECT position FROM outbox.relay_status()');
$node->restart;
$from = log_end($node);
wait_until(undef, sub { log_lines($node, $from, $error) }, 'an attempt');
like(last_error(), $error, 'last_error after a restart');
query("INSERT INTO outbox.relay (name, number, first_position) VALUES ('default', 0, $position)");
ok(wait_published($node), 'published when the row is there again');
is(relay_state($node), 'publishing', 'state');

ok($consumer->drain, 'drained');
check_delivery([ @before, events($node) ], [ $consumer->records ]);
is($consumer->count, 50 + 2 + 1 + 1000 + 4 + 1 + 2, 'each event once');
clean_log($node, 'no crash');
$node->stop;

# With wal_level = minimal, a sequence is not logged in the transaction that has
# made it; what is taken next must be.
my $minimal = outbox_node('minimal', conf => "wal_level = minimal\nmax_wal_senders = 0");
for my $count (1, 100)
{
	my $db = "made_$count";

	$minimal->safe_psql('postgres', "CREATE DATABASE $db");
	$minimal->safe_psql($db, "BEGIN; CREATE EXTENSION outbox; $emit FROM generate_series(1, $count); COMMIT");
	$minimal->safe_psql($db, $emit) for 1 .. 3;
	$minimal->safe_psql($db, "$emit FROM generate_series(1, 3)");
	$last = $minimal->safe_psql($db, 'SELECT max(id) FROM outbox.event');
	is($last, $count + 6, "$count ids, and more");
	$minimal->safe_psql($db, "SELECT pg_logical_emit_message(true, 'flush', '')");
	$minimal->stop('immediate');
	$minimal->start;
	$minimal->safe_psql($db, $emit);
	cmp_ok($minimal->safe_psql($db, 'SELECT max(id) FROM outbox.event'), '>', $last, '... none is used again after a crash');
}
$minimal->stop;
done_testing();
