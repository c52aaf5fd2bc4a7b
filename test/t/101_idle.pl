# outbox.idle_timeout: a relay that has nothing to do ends its process, and is
# started again when there is something.
#
# Catches: an event whose commit meets the end of the process and is published
# only with the next one, or never; one that is
# published twice; a delayed event, a retry, a replay or a
# segment that waits for an event, since nobody is there; wait_published(),
# outbox.max_pending or a new setting that do not know what a relay has that is
# not there; a relay that is started and ends all the time; a restart of the
# launcher after which nobody is started.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use Test::More;
use Time::HiRes qw(time usleep);

my $mock = OutboxTest::Mock->new;
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main', bootstrap => $mock->bootstrap, extension => 1,
	conf => "outbox.idle_timeout = 100\nlog_min_messages = debug1");

sub wait_idle { return wait_state($node, 'idle'); }

sub starts
{
	return scalar log_lines($node, $_[0], qr/starting background worker process "outbox relay/);
}

# Nobody is there.
wait_idle();
is(query('SELECT pid IS NULL AND last_error IS NULL FROM outbox.stat_relay'), 't',
	'there is no process, and nothing is wrong');
is(outbox_pid($node, 'postgres'), '', '... really');
my $from = log_end($node);
ok(stays(2, sub { relay_state($node) eq 'idle' }), 'that stays so');
is(starts($from), 0, '... without a process now and then');
ok(took(sub { wait_published($node) }) < 1, 'wait_published() knows that nothing waits');

# An event each time; how long each takes is told, and not checked.
my @took;
for my $i (1 .. 10)
{
	query("SELECT outbox_emit('t', 'k', 'single $i')");
	my $start = time;
	ok(wait_published($node), "event $i wakes it");
	push @took, 1000 * (time - $start);
	wait_idle();
}
@took = sort { $a <=> $b } @took;
diag sprintf('commit to acknowledgement from idle: median %.0f ms, most %.0f ms (with psql)',
	$took[@took / 2], $took[-1]);

# What is to be done at some time wakes it, too.
query(q(SELECT outbox_emit('t', 'k', 'delayed', deliver_after => '2 s')));
wait_idle();
is(query('SELECT count(*) FROM outbox.delayed'), 1, 'it is not there while an event is delayed');
wait_until(undef, sub { query('SELECT count(*) FROM outbox.delayed') == 0 }, 'it is due');
ok(wait_published($node), '... and published in time');
wait_idle();

# A setting that others must know of; one that lets space be freed.
query(q(SELECT outbox_emit('t', 'k', 'last')));
ok(wait_published($node), 'published');
wait_idle();
is(query('SELECT kept_for FROM outbox.stat_storage WHERE is_current'), 'new events',
	'one that is idle keeps nothing');
conf_reload($node, "outbox.retention = '1s'");
wait_until(undef, sub { query('SELECT count(*) FROM outbox.event') == 0 }, 'segments are emptied');
pass('space is freed without another event');
wait_idle();

# One that is parked is tried again when it is due.
conf_reload($node, "outbox.retention = '1h'\noutbox.retry_base_delay = '3s'\noutbox.retry_jitter = 0");
wait_idle();
$mock->command('fail Produce 1 POLICY_VIOLATION');
query(q(SELECT outbox_emit('t', 'other', 'parked')));
wait_parked(1);
wait_idle();
wait_parked(0);
pass('a retry wakes it');
wait_idle();

# So does a replay.
query(q(SELECT outbox.replay(topic => 't', key => 'other')));
wait_until(undef, sub { query('SELECT state FROM outbox.replay_job') eq 'done' }, 'a replay');
ok(wait_published($node), 'a replay wakes it');
wait_idle();

# A limit.
conf_reload($node, 'outbox.max_pending = 5');
wait_idle();
is(query(q(SELECT count(outbox_emit('t', 'k', 'x')) FROM generate_series(1, 5))), 5, 'below max_pending');
ok(wait_published($node), 'published');
wait_idle();
fails_with($node, 'postgres', q(SELECT outbox_emit('t', 'k', 'x') FROM generate_series(1, 6)),
	'53400', qr/max_pending is 5/, 'beyond outbox.max_pending');
wait_idle();
conf_reload($node, 'outbox.max_pending = 0');

# The launcher ends while nobody is there.
wait_idle();
my $launcher = outbox_pid($node);
query("SELECT pg_terminate_backend($launcher)");
query(q(SELECT outbox_emit('t', 'k', 'without a launcher')));
ok(wait_published($node), 'the next launcher starts it');
wait_idle();

# Commits meet the end, again and again; with more than one relay.
conf_reload($node, 'outbox.idle_timeout = 1');
my $lost = 0;
for my $i (1 .. 80)
{
	query("SELECT outbox_emit('t', 'k', 'race $i')");
	$lost++ unless wait_published($node, undef, 20);
	usleep(rand(20_000)) if $i % 2;
}
is($lost, 0, 'no event waits for the next one');
pgbench($node, "\\sleep :d ms\nSELECT outbox_emit('t', 'k', 'bench')", clients => 2,
	transactions => 100, args => [ '-D', 'd=7' ]);
ok(wait_published($node), 'nor among others');

ok($consumer->drain, 'drained');
my %times;
$times{ $_->{payload} }++ for $consumer->records;
is_deeply(\%times,
	{ (map { ("single $_" => 1) } 1 .. 10), (map { ("race $_" => 1) } 1 .. 80),
	  delayed => 1, last => 1, parked => 2, x => 5, 'without a launcher' => 1, bench => 200 },
	'each event once, and the replayed one twice');
clean_log($node, 'no crash');

# Turned off, all come and stay.
conf_reload($node, 'outbox.idle_timeout = 0');
wait_state($node, 'publishing');
my $pid = relay_pid($node);
ok(stays(1, sub { relay_pid($node) eq $pid }), 'with 0 it stays');
$node->stop;
done_testing();
