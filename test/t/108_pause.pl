# A relay that is paused publishes nothing, until somebody resumes it.
#
# Catches: a relay that sends what its producer had when it was paused, tries
# parked events or makes copies meanwhile, loses or repeats events, or sees them
# out of order, when it is paused and resumed under traffic, or ends meanwhile; an
# event that is published though it was emitted after the pause; a pause that is
# forgotten by a restart, or that needs a relay that runs; and one of which nobody
# can see whose it is.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use PostgreSQL::Test::Utils ();
use Test::More;
use Time::HiRes qw(time);

my $keys = 10;

my $mock = OutboxTest::Mock->new(topics => { t => 2, missing => 1, letters => 1 });
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1,
	conf => <<~'END');
		restart_after_crash = on
		outbox.retry_base_delay = 100ms
		outbox.retry_max_delay = 100ms
		outbox.retry_max_attempts = 1000
		END

sub notices
{
	my ($sql) = @_;
	my ($status, $out, $err) = $node->psql('postgres', $sql);

	die $err if $status != 0;
	return $err;
}

sub emit
{
	my ($count) = @_;

	query("SELECT count(outbox_emit('t', 'key ' || i % $keys, 'x' || i)) FROM generate_series(1, $count) i");
	return;
}

# All that is committed has come, in order; returns how many came twice.
sub check
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	wait_parked(0, $name);
	ok(wait_published($node), "$name: published");
	ok($consumer->drain, "$name: read");
	return check_delivery([ events($node) ], [ $consumer->records ], $name);
}

note 'what cannot be paused, or resumed';
fails_with($node, 'postgres', q(SELECT outbox.pause('broker upgrade')),
	'42704', qr/relay "broker upgrade" does not exist/, 'a reason in place of a relay');
fails_with($node, 'postgres', q(SELECT outbox.resume('nobody')), '42704', qr/relay "nobody" does not exist/, 'resume');
like(notices(q(SELECT outbox.resume('default'))), qr/NOTICE:  relay "default" is not paused/, 'it is not paused');
like(notices(q(SELECT outbox.resume())), qr/NOTICE:  no relay is paused/, 'none is');

note 'pause';
emit(100);
ok(wait_published($node), 'published');
my $from = log_end($node);
query('CREATE ROLE alice SUPERUSER LOGIN');
my $start = time;
$node->safe_psql('postgres', q(SELECT outbox.pause('default', 'broker upgrade')),
	connstr => $node->connstr('postgres') . ' user=alice');
emit(100);
wait_state($node, 'paused');
cmp_ok(time - $start, '<', 5, 'at once, for a busy machine');
is(query(q(SELECT outbox.wait_published('1 s'))), 'f', 'nothing is published');
ok($consumer->drain, 'read');
is($consumer->count, 100, 'indeed');
is( query(q(SELECT relay, topic, paused_at BETWEEN now() - interval '1 min' AND now(), paused_by, reason FROM outbox.paused)),
	'default||t|alice|broker upgrade', 'who, when and why');
is(query('SELECT state, paused_at IS NOT NULL, paused_by, pause_reason, pending_events FROM outbox.stat_relay'),
	'paused|t|alice|broker upgrade|100', 'stat_relay has it, too');
is(log_lines($node, $from, qr/LOG: .*: publishing -> paused$/), 1, 'a line in the log');
like(notices(q(SELECT outbox.pause(reason => 'me, too'))),
	qr/NOTICE:  relay "default" is paused already.*alice has paused it, at .*: broker upgrade\./s, 'paused twice');
query(q(BEGIN; SELECT outbox.resume(); ROLLBACK));
is(relay_state($node), 'paused', 'what is rolled back resumes nothing');
query(q(SELECT outbox.resume()));
is(check('resumed'), 0, 'resumed: nothing twice');
wait_state($node, 'publishing');
query(q(BEGIN; SELECT outbox.pause(); ROLLBACK));
emit(1);
is(check('not paused'), 0, 'what is rolled back pauses nothing');

note 'whoever has seen a pause and emits then finds nothing of it in Kafka';
query(<<~'END');
	CREATE PROCEDURE pause_and_emit(n int) LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM outbox_emit('t', 'before', 'x');
		COMMIT;
		PERFORM outbox.pause();
		COMMIT;
		PERFORM outbox_emit('t', 'after', 'after ' || n);
		COMMIT;
	END $$
	END
my $early = 0;
for my $n (1 .. 10)
{
	query("CALL pause_and_emit($n)");
	wait_state($node, 'paused');
	$consumer->drain or die;
	$early++ if grep { $_->{payload} eq "after $n" } $consumer->records;
	query('SELECT outbox.resume()');
	wait_published($node) && $consumer->drain or die;
}
is($early, 0, 'in rapid succession');

note 'in an outage';
$mock->command('down');
emit(100);
wait_state($node, 'unavailable');
query(q(SELECT outbox.pause()));
wait_state($node, 'paused');
my $have = $consumer->count;
$mock->command('up');
ok(stays(1, sub { $consumer->count == $have }), 'what the producer had is not sent when it is over');
is(relay_state($node), 'paused', 'it is still paused');
query(q(SELECT outbox.resume()));
is(check('after the outage'), 0, 'after the outage: nothing twice');

note 'what is parked, and copies of dead letters';
$mock->command('refuse missing UNKNOWN_TOPIC_OR_PART');
query(q(SELECT outbox_emit('missing', 'k', 'x'), outbox_emit('missing', 'k', 'y')));
wait_parked(2);
query(q(SELECT outbox.pause()));
wait_state($node, 'paused');
conf_reload($node, "outbox.dead_letter_topic = 'letters'");
my $parked = query('SELECT sum(attempts) FROM outbox.parked');
$mock->command('allow missing');
query(q(UPDATE outbox.parked SET next_attempt_at = now(); SELECT outbox.parked_changed()));
ok(stays(1, sub { query('SELECT sum(attempts), count(announced_at) FROM outbox.parked') eq "$parked|0" }),
	'nothing is tried');
is(relay_state($node), 'paused', 'a reload does not end it');
query(q(SELECT outbox.resume()));
is(check('parked events'), 0, 'parked events: nothing twice');

note 'halted, unconfigured, not running';
conf_reload($node, "outbox.on_failure = halt");
$mock->command('refuse gone UNKNOWN_TOPIC_OR_PART');
query(q(SELECT outbox_emit('gone', 'k', 'x')));
wait_state($node, 'halted');
query(q(SELECT outbox.pause()));
wait_state($node, 'paused');
query(q(SELECT outbox.resume()));
wait_state($node, 'halted');
$mock->command('allow gone');
wait_state($node, 'publishing');
conf_reload($node, "outbox.on_failure = block_key\noutbox.bootstrap_servers = ''");
wait_state($node, 'unconfigured');
query(q(SELECT outbox.pause()));
wait_state($node, 'paused');
query(q(SELECT outbox.resume()));
wait_state($node, 'unconfigured');
conf_reload($node, 'outbox.enabled = off');
wait_state($node, 'disabled');
query(q(SELECT outbox.pause('default', 'while it does not run')));
conf_reload($node, "outbox.enabled = on\noutbox.bootstrap_servers = '" . $mock->bootstrap . "'");
wait_state($node, 'paused');
emit(10);
$node->restart;
wait_state($node, 'paused');
is(query('SELECT pause_reason, pending_events FROM outbox.stat_relay'), 'while it does not run|10', 'after a restart');
my $dump = PostgreSQL::Test::Utils::tempdir('dump') . '/postgres';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, $node->connstr('postgres') ], 'pg_dump');
query('CREATE DATABASE copy');
$node->command_ok([ 'pg_restore', '-d', $node->connstr('copy'), $dump ], 'pg_restore');
wait_state($node, 'paused', 'copy');
is($node->safe_psql('copy', 'SELECT paused_by, reason FROM outbox.paused'),
	query('SELECT paused_by, reason FROM outbox.paused'), 'after a restore');
query('DROP DATABASE copy');
query(q(SELECT outbox.resume()));
is(check('restarted'), 0, 'restarted: nothing twice');

note 'under traffic, with restarts and crashes';
my $script = <<~END;
	\\set key random(1, $keys)
	SELECT outbox_emit('t', :key, 'x');
	END
my @load = (clients => 4, rate => 500, duration => 600, background => 1);
my $load = pgbench($node, $script, @load);
for my $deed (undef, sub { replace_relay($node, state => 'paused') }, sub { kill_relay($node) },
	sub { crash($node); $node->start })
{
	my $count = $consumer->count + 200;

	wait_until(undef, sub { $consumer->count > $count }, 'events');
	query(q(SELECT outbox.pause()));
	wait_state($node, 'paused');
	ok($consumer->drain, 'read');
	$count = $consumer->count;
	if ($deed)
	{
		$deed->();
		$load->stop;
		$node->poll_query_until('postgres', 'SELECT true') or die 'the server is gone';
		$load = pgbench($node, $script, @load);
		wait_state($node, 'paused');
	}
	$node->poll_query_until('postgres', 'SELECT pending_events > 200 FROM outbox.stat_relay') or die;
	ok($consumer->drain, 'read');
	is($consumer->count, $count, 'nothing is published');
	query(q(SELECT outbox.resume()));
}
stop_load($node, $load);
check('under traffic');

$node->stop;
done_testing();
