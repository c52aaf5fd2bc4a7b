# A streaming standby publishes nothing, until it is promoted; then it goes on
# where the replicated position is.
#
# Catches: two servers publishing the same events; emits on a standby with an
# obscure error; a position that is not replicated, so that a failover begins
# from the start; events lost, invented or out of order at a failover with
# synchronous replication.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils ();
use Test::More;

my $mock = OutboxTest::Mock->new;
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $primary = outbox_node('primary',
	bootstrap => $mock->bootstrap,
	extension => 1,
	allows_streaming => 1);
$primary->backup('b');

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'b', has_streaming => 1);
guard_node($standby);
$standby->start;
$primary->append_conf('postgresql.conf', "synchronous_standby_names = '*'");
$primary->reload;
ok( $primary->poll_query_until('postgres',
		"SELECT sync_state = 'sync' FROM pg_stat_replication"),
	'synchronous standby');

# Early events, and their position over there.
$primary->safe_psql('postgres',
	"SELECT outbox_emit('t', 'early' || n % 20, n::text) FROM generate_series(1, 500) n");
ok(wait_published($primary), 'published by the primary');
ok( $standby->poll_query_until('postgres',
		'SELECT max(position) >= 500 FROM outbox.position'),
	'the position is replicated');

# Nothing happens on the standby.
is( $standby->safe_psql('postgres',
		"SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'outbox %'"),
	0, 'neither launcher nor relay on the standby');
is(relay_state($standby), 'stopped', 'state on the standby');
for my $sql (
	"SELECT outbox_emit('t', 'k', 'v')",
	"BEGIN READ ONLY; SELECT outbox_emit('t', 'k', 'v'); COMMIT")
{
	fails_with($standby, 'postgres', $sql, '25006',
		qr/during recovery.*HINT:  Emit events on the primary/s,
		"standby: $sql");
}
is($standby->safe_psql('postgres', "SELECT outbox.wait_published('100 ms')"),
	'f', 'standby: wait_published() does not say yes');

# Failover in the middle of traffic.
my $script = <<~'END';
	\set k random(1, 50)
	SELECT outbox_emit('t', 'k' || :k, :client_id || ' ' || clock_timestamp());
	END
my $load = pgbench($primary, $script, clients => 4, duration => 600,
	background => 1);
wait_until(undef, sub { $consumer->count > 1500 }, 'traffic');
$primary->stop('immediate');
$load->wait($PostgreSQL::Test::Utils::timeout_default);

is(log_lines($standby, 0, qr/outbox relay/), 0, 'no relay before promotion');
my $committed = $standby->safe_psql('postgres', 'SELECT count(*) FROM outbox.event');
$standby->safe_psql('postgres', "ALTER SYSTEM SET synchronous_standby_names = ''");
$standby->reload;
$standby->promote;
ok(wait_published($standby), 'published by the promoted server');
cmp_ok($committed, '<=', scalar(my @events = events($standby)), 'all events are there');

# Its own events follow.
my $last = $events[-1]->{id};
$standby->safe_psql('postgres', "SELECT outbox_emit('t', 'k1', 'promoted')");
ok(wait_published($standby), 'and goes on');
@events = events($standby);
is($events[-1]->{payload}, 'promoted', 'ids go on');
cmp_ok($events[-1]->{id}, '>', $last, '... above the old ones');

ok($consumer->drain, 'drained');
my @records = $consumer->records;
check_delivery(\@events, \@records, 'failover');
is(grep({ $_->{key} =~ /^early/ } @records),
	500, 'what was published long before is not repeated');
clean_log($standby, 'nothing unclean in the log', also => qr/exited with exit code/);
$standby->stop;
done_testing();
