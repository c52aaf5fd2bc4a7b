# An outage of the brokers, for as long as it takes: nothing lost, nothing out
# of order, and nobody else is bothered.
#
# Catches: an emit that waits for Kafka, a relay that holds a transaction or a
# snapshot while it waits (which would stop VACUUM in the whole server), takes
# up memory for a backlog, gives an event up, floods the log, or does not tell
# anybody.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use POSIX qw(sysconf _SC_CLK_TCK);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $outage = 15;    # seconds
my $window = 1000;
my $bulk = 20_000;
my $bulk_bytes = 1000;
my $max_memory_mb = 10;    # the bulk would take more than 20
my $max_log_lines = 60;

my $mock = OutboxTest::Mock->new(topics => { bulk => 40 });
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1,
	conf => "outbox.window_events = $window");
query('CREATE TABLE ledger (event_id uuid)');

sub stat_relay
{
	my ($expression) = @_;

	return query("SELECT $expression FROM outbox.stat_relay");
}

# Of the process with all its threads.
sub cpu_seconds
{
	my ($pid) = @_;

	my @fields = split ' ', slurp_file("/proc/$pid/stat") =~ s/.*\) //sr;
	return ($fields[11] + $fields[12]) / sysconf(_SC_CLK_TCK);
}

note 'before';
my $load = pgbench($node, <<~'END',
	\set key random(1, 20)
	INSERT INTO ledger VALUES (outbox_emit('load', :key, 'x'));
	END
	clients => 4,
	transactions => 1000,
	rate => 200,
	args => [ '-L', 5000 ],
	background => 1);
$consumer->wait_for(200) or die 'no load';
my $pid = stat_relay('pid');
my $memory = memory_mb($pid);
my $log = -s $node->logfile;
is(stat_relay('last_error IS NULL AND last_error_at IS NULL'),
	't', 'no error yet');

note 'the outage';
my $down = time;
$mock->command('down');
wait_state($node, 'unavailable');
isnt(stat_relay('last_error'), '', 'last_error: ' . stat_relay('last_error'));
is(stat_relay('last_error_at IS NOT NULL'), 't', 'last_error_at');
query(
	"SELECT count(outbox_emit('bulk', i, repeat('x', $bulk_bytes)))"
	  . " FROM generate_series(1, $bulk) i");

# All that it could do is done: the window is full, the position is written.
$node->poll_query_until('postgres', 'SELECT written_position = position'
	  . " AND pending_events > $bulk FROM outbox.stat_relay") or die;
my $full = stat_relay('position');

my ($polls, $busy, $ledger) = (0, 0, 0);
my ($start, $cpu) = (time, cpu_seconds($pid));
while (time < $down + $outage)
{
	my ($held, $count) = split /\|/, query(<<~END);
		SELECT (SELECT count(*) FROM pg_stat_activity WHERE pid = $pid AND
				(backend_xmin IS NOT NULL OR backend_xid IS NOT NULL OR
					xact_start IS NOT NULL)),
			(SELECT count(*) FROM ledger)
		END
	$polls++;
	$busy += $held;
	BAIL_OUT('the load stands still') if $count < $ledger;
	$ledger = $count;
	usleep(50_000);
}
my $load_of_cpu = (cpu_seconds($pid) - $cpu) / (time - $start);
cmp_ok($load_of_cpu, '<', 0.1,
	sprintf 'the relay takes %.3f of a processor', $load_of_cpu);
cmp_ok($polls, '>', 20, 'the relay was looked at many times');
is($busy, 0, 'and never held a transaction or a snapshot');
is(stat_relay('position'), $full, 'nothing was acknowledged');
cmp_ok(stat_relay('pending_events'), '>', $bulk, 'everything is pending');
is(query(q{SELECT outbox.wait_published('100 ms')}),
	'f', 'wait_published says so');
is(stat_relay('pid'), $pid, 'it is the same process');
$memory = memory_mb($pid) - $memory;
cmp_ok($memory, '<', $max_memory_mb,
	sprintf 'it needs only %.1f MB more memory', $memory);
is(log_lines($node, $log, qr/Kafka is unavailable|librdkafka/),
	1, 'one line in the log');
cmp_ok(log_lines($node, $log, qr/LOG|WARNING|ERROR/),
	'<', $max_log_lines, 'and not much more than that');

note 'back again';
$mock->command('up');
wait_state($node, 'publishing');
is($load->wait, 0, 'no transaction has failed') or diag $load->log_tail;
like($load->log_tail, qr/above the 5000.0 ms latency limit: 0\/4000/,
	'and none has waited');
ok(wait_published($node), 'everything is published');
ok($consumer->drain, 'and read');
is_deeply([ $consumer->gaps ], [], 'nothing forgotten by the mock');
my @events = events($node);
is(scalar @events, 4000 + $bulk, 'all was emitted');
check_delivery(\@events, [ $consumer->records ]);
is_deeply(
	[ sort split /\n/, query('TABLE ledger') ],
	[ sort map { $_->{event_id} } grep { $_->{topic} eq 'load' } @events ],
	'and is what the transactions have written');
is(stat_relay('pid'), $pid, 'it is still the same process');
is(log_lines($node, $log, qr/Kafka is available again/), 1,
	'one line in the log for the recovery');
is(log_lines($node, $log, qr/Kafka is unavailable/), 1, 'and still one for the outage');

note 'an outage that begins while there is nothing to publish';
conf_reload($node, 'log_min_messages = debug1');
$log = -s $node->logfile;
$mock->command('down');
wait_until(undef, sub { log_lines($node, $log, qr/librdkafka/) }, 'the relay notices');
is(log_lines($node, $log, qr/(?:LOG|WARNING): .*librdkafka/), 0, 'quietly');
is(stat_relay('state'), 'publishing', 'is none');
query(q{SELECT outbox_emit('load', 'k', 'into the outage')});
wait_state($node, 'unavailable');

note 'a server that starts during the outage';
$node->restart;
wait_state($node, 'unavailable');
query(q{SELECT outbox_emit('load', 'k', 'after the start')});
is(stat_relay('pending_events'), 2, 'both events are kept');
$mock->command('up');
is(query(q{SELECT outbox.wait_published('60 s')}),
	't', 'and are published when it is over');
ok($consumer->drain, 'read');
check_delivery(
	[ events($node, 'postgres', q(topic = 'load')) ],
	[ grep { $_->{topic} eq 'load' } $consumer->records ],
	'in the end');
is(stat_relay('state'), 'publishing', 'state is publishing');

$node->stop;
done_testing();
