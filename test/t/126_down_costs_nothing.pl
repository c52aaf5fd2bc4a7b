# A relay whose brokers are away costs nobody anything: it is not woken by each
# commit, reads no page for each event, and takes next to no time; and when they
# are back, it goes on at once. Nor does one of other topics than those that are
# emitted cost much.
#
# Catches: a relay that goes on reading what it cannot send, event by event, until
# its window is full; one that does not look for new events after an outage; and
# one that each commit wakes for what it does not publish.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $commits = 2000;
my $max_sleeps = 200;
my $prompt = 10;    # seconds, on a busy machine

my $mock = OutboxTest::Mock->new(topics => { t => 2, mine => 2 });
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main', bootstrap => $mock->bootstrap, extension => 1);

# How often the relay's main thread has gone to sleep by itself, which is how
# often it was woken.
sub sleeps
{
	my $pid = relay_pid($node);
	my ($count) = slurp_file("/proc/$pid/task/$pid/status") =~
	  /^voluntary_ctxt_switches:\s+(\d+)/m;

	return $count;
}

query(q{SELECT outbox_emit('t', 'first', 'x')});
$consumer->wait_for(1) or die;
my $pid = relay_pid($node);
$mock->command('down');
query(q{SELECT outbox_emit('t', 'second', 'x')});
wait_state($node, 'unavailable');

my ($before, $start) = (sleeps(), time);
pgbench($node, q{SELECT outbox_emit('t', 'key', 'x');}, transactions => $commits);
my $seconds = time - $start;
my $sleeps = sleeps() - $before;
cmp_ok($sleeps, '<', $max_sleeps + 20 * $seconds, "$commits commits in $seconds s wake it $sleeps times");
is(relay_state($node), 'unavailable', 'the brokers are still away');

$mock->command('up');
ok(wait_published($node), 'published');
wait_state($node, 'publishing');
$start = time;
query(q{SELECT outbox_emit('t', 'last', 'x')});
ok($consumer->wait_for($commits + 3), 'all come');
cmp_ok(time - $start, '<', $prompt, 'the last one at once');
is(relay_pid($node), $pid, 'it is the same process');
is(check_delivery([ events($node) ], [ $consumer->records ], 'in all'), 0, 'nothing twice');

note 'other topics';
# two wake-ups for each look, and a look each 2 ms
my $most = 1000;
query(q{SELECT outbox.alter_relay('default', topics => '{mine}')});
query(q{SELECT outbox_emit('mine', 'key', 'x')});
ok(wait_published($node), 'its own');
($before, $start) = (sleeps(), time);
pgbench($node, q{SELECT outbox_emit('t', 'key', 'x');},
	transactions => $commits, clients => 8);
$seconds = time - $start;
$sleeps = sleeps() - $before;
cmp_ok($sleeps, '<', $most * $seconds + 200, "8 times $commits commits in $seconds s wake it $sleeps times");
query(q{SELECT outbox_emit('mine', 'key', 'y')});
ok(wait_published($node), 'its own is published');

$node->stop;
done_testing();
