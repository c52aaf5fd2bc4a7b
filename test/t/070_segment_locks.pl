# Segments are used in turn and emptied while others read, dump, lock, grant and
# rewrite them.
#
# Catches: a relay that waits for a lock, makes others wait for it, or
# deadlocks with them; one that publishes nothing because it cannot empty.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Counter;
use OutboxTest::Server;
use PostgreSQL::Test::Utils;
use Test::More;

my ($mock, $consumer, $node) = counter_node(<<~'END');
	log_lock_waits = on
	deadlock_timeout = 200ms
	autovacuum = off
	END
my $log = log_end($node);
my $session = $node->background_psql('postgres');

# How often each segment was read by its primary key, as only the relay does
sub scans
{
	return split /\n/, query(<<~'END');
		SELECT idx_scan FROM pg_stat_user_indexes
		WHERE indexrelname ~ '^event_[012]_pkey$' ORDER BY indexrelname
		END
}

my $load = counter_load($node, rate => 400);
wait_emptied($node, 1, 0 .. 2);

note 'a reader';
my $relay = relay_pid($node);
my $from = log_end($node);
$session->query_safe('BEGIN; SELECT (SELECT count(*) FROM outbox.event), (SELECT count(*) FROM outbox.position)');
my @kept = segment_files($node);
counter_goes_on($node, "while it reads, $_") for 1 .. 3;
is(join(' ', segment_files($node)), "@kept", 'nothing is emptied');
$session->query_safe('COMMIT');
wait_emptied($node, 1, 0 .. 2);
nobody_waited($node, $from, 'nobody has waited');

note 'pg_dump';
$from = log_end($node);
for my $n (1 .. 3)
{
	run_log([ 'pg_dump', '-f', '/dev/null', '-h', $node->host, '-p', $node->port, 'postgres' ])
	  or fail "dump $n";
	counter_goes_on($node, "after dump $n");
}
nobody_waited($node, $from, 'nobody has waited');

note 'privileges, granted in a transaction that takes its time';
$from = log_end($node);
$session->query_safe('BEGIN; GRANT SELECT ON ALL TABLES IN SCHEMA outbox TO pg_monitor');
counter_goes_on($node, "meanwhile, $_") for 1 .. 3;
$session->query_safe('SELECT (SELECT count(*) FROM outbox.event), (SELECT count(*) FROM outbox.position)');
$session->query_safe('COMMIT');
wait_emptied($node, 1, 0 .. 2);
nobody_waited($node, $from, 'nobody has waited');

note 'tables that the relay needs now and then, locked';
for my $table (qw(position_0 position_1 position_2 relay discarded replay_job))
{
	$from = log_end($node);
	$session->query_safe("BEGIN; LOCK TABLE outbox.$table");
	counter_goes_on($node, "$table, $_", not_published => 1) for 1 .. 2;
	$session->query_safe('SELECT count(*) FROM outbox.event');
	$session->query_safe('COMMIT');
	counter_goes_on($node, "$table, afterwards");
	nobody_waited($node, $from, "$table: nobody has waited");
}

note 'an index is made, and the relay starts meanwhile';
$from = log_end($node);
$session->query_safe('BEGIN; LOCK TABLE outbox.discarded, outbox.delayed, outbox.replay_job IN SHARE MODE');
$relay = replace_relay($node);
counter_goes_on($node, "meanwhile, $_") for 1 .. 2;
$session->query_safe('COMMIT');
nobody_waited($node, $from, 'nobody has waited');

note 'the segment that is emptied next, locked';
$from = log_end($node);
my $next = query(
	'SELECT (segment + 1) % 3 FROM outbox.segment_status() WHERE is_current');
$session->query_safe("BEGIN; LOCK TABLE outbox.event_$next");
counter_goes_on($node, "meanwhile, $_") for 1 .. 3;
is(query('SELECT segment = ' . $next . ' FROM outbox.segment_status() WHERE is_current'),
	'f', 'it is not written to');
$session->query_safe('COMMIT');
counter_goes_on($node, 'afterwards');
nobody_waited($node, $from, 'nobody has waited');
is(relay_pid($node), $relay, 'it is the same relay');

note 'segments of which all is published are not read';
conf_reload($node, 'outbox.retention = 1h');
$from = log_end($node);
wait_until(undef,
	sub {
		my @old = scans();
		counter_goes_on($node, 'the others are looked at until they are known');
		my @new = scans();
		return 1 == grep { $old[$_] != $new[$_] } 0 .. 2;
	},
	'one segment is read');
$next = query(
	'SELECT (segment + 1) % 3 FROM outbox.segment_status() WHERE is_current');
my @before = scans();
$session->query_safe("BEGIN; LOCK TABLE outbox.event_$next");
counter_goes_on($node, "while one of them is locked, $_") for 1 .. 3;
$session->query_safe('COMMIT');
my @scans = scans();
$scans[$_] -= $before[$_] for 0 .. 2;
my ($current) = splice @scans, ($next + 2) % 3, 1;
note "scans: $current of the current segment, @scans of others";
cmp_ok($current, '>', 100, 'the current segment is read all the time');
cmp_ok($scans[0] + $scans[1], '<', $current / 10, '... and the others are not');
nobody_waited($node, $from, 'nobody has waited');
conf_reload($node, 'outbox.retention = 1s');

note 'VACUUM FULL, CLUSTER, REINDEX';
for my $n (0 .. 2)
{
	query("VACUUM FULL outbox.event_$n, outbox.position_$n");
	query("CLUSTER outbox.event_$n USING event_${n}_pkey");
	query("REINDEX TABLE CONCURRENTLY outbox.event_$n");
	query("VACUUM ANALYZE outbox.event_$n");
}
wait_emptied($node, 1, 0 .. 2);
is(relay_pid($node), $relay, 'it is the same relay');
stop_load($node, $load);
counter_check($node, $consumer, 'locks');

$session->quit;
is(log_lines($node, $log, qr/could not run/), 0, 'nothing has failed');
$node->stop;
done_testing();
