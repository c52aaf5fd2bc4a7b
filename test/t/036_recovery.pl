# What was parked goes out soon after the fault is gone.
#
# Catches: a relay that waits for answers that never come when a connection
# breaks while the producer is given up, that publishes what has queued one
# round trip at a time, that finds no end of a queue which grows meanwhile,
# whose time for an event grows with the number of those that are parked, or
# that loses the order, or good events, when it meets a bad one on the way.
#
# The mock does not look at sequence numbers, and would accept what is behind a
# batch that it has refused.  So once it refuses one, it refuses all, until the
# connections break.

use strict;
use warnings;

use OutboxTest;
use Test::More;
use Time::HiRes qw(time);

my $parked_events = 20_000;
my $round_trip_ms = 20;

my $mock = OutboxTest::Mock->new(
	brokers => 2,
	topics => { first => 1, second => 1, late => 1, hot => 1 });
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
$mock->command("leader $_ 0 1") for qw(first late hot);
$mock->command('leader second 0 2');
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1,
	conf => <<~'END');
		outbox.retry_base_delay = 100ms
		outbox.retry_max_delay = 500ms
		END

sub parked { return query('SELECT retrying + waiting FROM outbox.stat_relay'); }

sub refuse_until
{
	my ($error, $condition, $what) = @_;

	$mock->command("fail Produce 100000 $error");
	wait_until(undef, sub { query("SELECT $condition") eq 't' }, $what);
	$mock->command($_) for ('down', 'clear Produce', 'up');
	return;
}

sub is_in_order
{
	my ($name) = @_;

	ok($consumer->drain, "$name: read");
	my %dead = map { $_ => 1 } split /\n/,
	  query('SELECT event_id FROM outbox.dead_letter');
	check_delivery([ grep { !$dead{ $_->{event_id} } } events($node) ],
		[ $consumer->records ], $name);
	return;
}

query("SELECT outbox_emit('$_', 'k', 'x')") for qw(first second late hot);
ok(wait_published($node), 'it works');
my $pid = relay_pid($node);

# Plans last: they are made now, while next to nothing is parked.
note 'one event';
$mock->command('fail Produce 1 POLICY_VIOLATION');
query("SELECT outbox_emit('first', 'k', 'later')");
wait_until(undef,
	sub { grep { $_->{payload} eq 'later' } $consumer->records },
	'it is published later');
wait_until(undef, sub { parked() == 0 }, 'it is parked no more');

# The second broker keeps its answer back, and hangs up after the first one
# has refused a batch.  So a batch comes back that nobody will send again.
note 'a connection breaks while the producer is given up';
$mock->command('rtt 3000 2');
query("SELECT outbox_emit('second', 'k', 'y')");
wait_until(undef,
	sub { grep { $_->{payload} eq 'y' } $consumer->records },
	'it has arrived, but the answer has not');
$mock->command('fail Produce 1 INVALID_RECORD');
query("SELECT outbox_emit('first', 'k', 'bad')");
$node->wait_for_log(qr/INVALID_RECORD|failed to validate record/);
$mock->command('rtt 0');
my $start = time;
$mock->command('down 2');
$mock->command('up 2');
ok(wait_published($node), 'published');
cmp_ok(time - $start, '<', 8, 'without waiting for what never comes');
is(query('SELECT count(*) FROM outbox.dead_letter'), 1, 'one is refused');

note 'a topic is back';
$mock->command('refuse late UNKNOWN_TOPIC_OR_PART');
query("SELECT count(outbox_emit('late',"
	  . ' CASE WHEN i % 10 > 0 THEN (i % 10)::text END, i::text))'
	  . " FROM generate_series(1, $parked_events) i");
wait_until(undef, sub { parked() == $parked_events }, 'all are parked');
query("SELECT outbox_emit('second', 'k', 'other')");
ok(wait_published($node), 'others are not');
$mock->command("rtt $round_trip_ms");
$start = time;
$mock->command('allow late');
wait_until(undef, sub { parked() < $parked_events - 1 }, 'it goes on');
refuse_until('INVALID_RECORD',
	'count(*) > 1 FROM outbox.dead_letter', 'one is refused');
wait_until(undef, sub { parked() == 0 }, 'nothing is parked');
cmp_ok(time - $start, '<', $parked_events * $round_trip_ms / 1000 / 8,
	'not one at a time');
# Alone, hundreds may be refused until they are counted; together, thousands.
cmp_ok(query('SELECT count(*) FROM outbox.dead_letter'),
	'<', 1000, 'the neighbours are not given up');
is_in_order('a topic is back');

note 'a queue that grows meanwhile';
$mock->command('rtt 1');
my $load = pgbench($node, "SELECT outbox_emit('hot', 'k', 'x');\n",
	rate => 500, duration => 600, background => 1);
refuse_until('POLICY_VIOLATION',
	q{count(*) > 100 FROM outbox.parked WHERE state = 'waiting'},
	'events queue');
wait_until(undef, sub { parked() == 0 }, 'the queue ends');
ok($load->is_running, 'while there is load');
$load->stop;
ok(wait_published($node), 'published');
wait_until(undef, sub { parked() == 0 }, 'nothing is parked');
is_in_order('a queue that grows meanwhile');

is(relay_pid($node), $pid, 'it is the same process');
$node->stop;
done_testing();
