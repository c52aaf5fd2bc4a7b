# Years of storage in a minute, or in hours: segments are used in turn every
# few seconds under load, among random readers, held snapshots, dumps and
# VACUUM FULL.  Nothing is lost, every key is in order, the tables do not grow,
# and there is no error in the server's log.
#
# Catches: what builds up slowly, and what goes wrong once in many rotations.
#
# OUTBOX_SOAK=SECONDS tells how long (60, or 30 with OUTBOX_FAST); test/soak runs it for hours.

use strict;
use warnings;

use List::Util qw(max);
use OutboxTest;
use OutboxTest::Counter;
use OutboxTest::Server;
use PostgreSQL::Test::Utils ();
use Test::More;
use Time::HiRes qw(time usleep);

my $seconds = $ENV{OUTBOX_SOAK} || ($ENV{OUTBOX_FAST} ? 30 : 60);
my $seed = $ENV{OUTBOX_SEED} || int(rand(2**31));

srand($seed);
note "OUTBOX_SEED=$seed";

my ($mock, $consumer, $node) = counter_node(<<~'END');
	outbox.retention = 4s
	outbox.segments = 4
	END

sub random_of { return $_[ rand @_ ]; }

# Readers of what operators look at; a few stay in their transaction for seconds,
# and put off what is to be emptied.
my $readers = <<~'END';
	\set what random(1, 40)
	\set n random(1, 4)
	BEGIN;
	\if :what <= 4
	SELECT count(*) FROM outbox.event;
	\elif :what <= 8
	SELECT * FROM outbox.stat_storage;
	\elif :what <= 12
	SELECT * FROM outbox.stat_relay;
	\elif :what <= 38
	SELECT * FROM outbox.event_status WHERE key = :n::text
		ORDER BY emitted_at DESC LIMIT 10;
	\else
	SELECT max(id) FROM outbox.event;
	\sleep :n s
	\endif
	COMMIT;
	END

# Snapshots that are held over rotations, by transactions with an id
my $holders = <<~'END';
	\set t random(3, 15)
	BEGIN ISOLATION LEVEL REPEATABLE READ;
	INSERT INTO held VALUES (1);
	\sleep :t s
	COMMIT;
	END

my @psql = ('psql', '-X', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-c');
my %disturb = (
	dump => sub {
		return ('pg_dump', '-f', '/dev/null', '-d', $node->connstr('postgres'));
	},
	vacuum_full => sub {
		my $table = random_of('event', 'position') . '_' . int(rand 4);
		return (@psql, "VACUUM FULL outbox.$table");
	},
	vacuum => sub { return (@psql, 'VACUUM ANALYZE outbox.event_' . int(rand 4)); },
	reindex => sub { return (@psql, 'REINDEX TABLE outbox.event_' . int(rand 4)); },
	grant => sub {
		return (@psql, 'BEGIN', '-c', 'GRANT SELECT ON ALL TABLES IN SCHEMA outbox TO pg_monitor',
			'-c', 'SELECT pg_sleep(1)', '-c', 'ROLLBACK');
	});
my ($disturber, $disturb_at, %disturbed) = (undef, 0);

# One at a time, with a pause
sub disturb
{
	return if time < $disturb_at || ($disturber && $disturber->is_running);
	if ($disturber && $disturber->status != 0)
	{
		fail('what disturbs succeeds');
		diag $disturber->log_tail;
	}
	my $what = random_of(sort keys %disturb);
	$disturber = OutboxTest::Process->new(
		command => [ $disturb{$what}->() ],
		log => PostgreSQL::Test::Utils::tempdir('disturb') . '/log');
	$disturbed{$what}++;
	$disturb_at = time + rand 2;
	return;
}

query('CREATE TABLE held (n int)');
my $log = log_end($node);
my $relay = relay_pid($node);
my @load = (
	counter_load($node, rate => 200),
	pgbench($node, $readers,
		clients => 3, rate => 3, duration => 86400, background => 1),
	pgbench($node, $holders, clients => 2, duration => 86400, background => 1));

# The size and the files of the segments, all the time; what arrives; and now
# and then something that disturbs.
my $start = time;
my @sizes;
my @files = segment_files($node);
my $emptied = 0;
while (time < $start + $seconds)
{
	push @sizes, [ time - $start, outbox_size($node) ];
	my @now = segment_files($node);
	$emptied += grep { $now[$_] != $files[$_] } 0 .. $#now;
	@files = @now;
	counter_take($consumer);
	disturb();
	usleep(200_000);
}
note join ' ', map { "$_=$disturbed{$_}" } sort keys %disturbed;

is(scalar(grep { !$_->is_running } @load), 0, 'nobody has failed')
  or diag map { $_->log_tail } @load;
$disturber->wait(60) if $disturber;

# before sessions are broken off
my @errors =
  log_lines($node, $log, qr/(?:WARNING|ERROR|FATAL|PANIC):|terminated by signal|TRAP/);
is(join("\n", @errors[ 0 .. ($#errors > 9 ? 9 : $#errors) ]),
	'', 'no error in the log');
$_->stop for @load[ 1 .. $#load ];
stop_load($node, $load[0]);
counter_check($node, $consumer, 'soak');
ok( $node->poll_query_until('postgres',
		'SELECT count(last_id) = 0 FROM outbox.segment_status()'),
	'in the end all segments are empty');
note counter_sum($node) . " events, $emptied segments emptied, sizes:";

# A reader may have put off TRUNCATE in any of these parts, so the largest sizes
# are compared in halves.
my @parts = map {
	my $part = $_;
	max(0, map { $_->[1] } grep { int(8 * $_->[0] / $seconds) == $part } @sizes)
} 0 .. 7;
note join ' ', map { sprintf '%.1f MB', $_ / 1024 / 1024 } @parts;
cmp_ok(max(@parts[ 4 .. 7 ]), '<', 2 * max(@parts[ 1 .. 3 ]), 'the tables do not grow');
cmp_ok($emptied, '>', $seconds / 8, 'segments were emptied all the time');
cmp_ok(outbox_size($node), '<', $parts[1], 'and are small in the end');
is(relay_pid($node), $relay, 'it is the same relay');

$node->stop;
done_testing();
