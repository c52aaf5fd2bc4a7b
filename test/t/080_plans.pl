# The relay reads the segments by SQL, and only by their primary keys: whatever
# the statistics say, or the settings of the server and of the database, or
# other indexes that somebody has made; and it waits for no lock, neither to
# read nor to plan.
#
# Catches: a plan that reads a whole segment, or sorts it; one that names a
# segment of which all is published; a planner that waits for somebody who has
# locked an index that no plan uses.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use PostgreSQL::Test::Utils ();
use Test::More;

my $mock = OutboxTest::Mock->new(topics => { events => 2 });
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	start => 0,
	conf => <<~'END');
		shared_preload_libraries = 'auto_explain, outbox'
		auto_explain.log_min_duration = 0
		outbox.segments = 3
		outbox.retention = -1
		log_lock_waits = on
		deadlock_timeout = 100ms
		autovacuum = off
		END
plan skip_all => 'auto_explain is not installed for this PostgreSQL'
  unless -e $node->config_data('--pkglibdir') . '/auto_explain.so';
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION outbox');

my $start = log_end($node);
my $emitted = 0;

sub query { return $node->safe_psql('postgres', $_[0]); }

sub emit
{
	my ($count) = @_;

	query("SELECT count(outbox_emit('events', (n % 7)::text, repeat('x', 100)))"
		  . " FROM generate_series(1, $count) n");
	$emitted += $count;
	return;
}

# The plans by which pages have been read since then, each the list of its nodes
sub plans
{
	my ($from) = @_;
	my $log = PostgreSQL::Test::Utils::slurp_file($node->logfile, $from);
	my @plans;

	while ($log =~ /Query Text: SELECT \* FROM \(SELECT \* FROM ONLY outbox\.event_.*\n((?:\t.*\n)+)/g)
	{
		push @plans, [ $1 =~ /^\t\s*(?:->\s+)?(\S.*?)  \(cost=/mg ];
	}
	return @plans;
}

# All that is committed gets published, by plans that are as they must be.
sub planned
{
	my ($name, $work) = @_;
	my $from = log_end($node);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$work->();
	# a plan is kept until something has changed
	query('CREATE SCHEMA nothing; DROP SCHEMA nothing');
	emit(20);
	ok(wait_published($node), "$name: published") or return;
	my @plans;
	wait_until(undef, sub { @plans = plans($from) }, 'no plan in the log');
	my %other;
	for my $plan (@plans)
	{
		my @segments =
		  grep { !/^Index Scan using event_(\d)_pkey on event_\1$/ } @$plan;
		$other{"@$plan"}++ unless "@segments" eq (@$plan > 1 ? 'Merge Append' : '');
	}
	is(join("\n", sort keys %other), '', "$name: by primary keys");
	note "$name: " . @plans . ' pages, the last one by: ' . join ', ', @{ $plans[-1] };
	return;
}

# The process waits for no lock for as long as this.
sub waits_for_nothing
{
	my ($name) = @_;
	my $from = log_end($node);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	ok(stays(1,
		sub {
			query("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'outbox relay'"
				  . " AND wait_event_type = 'Lock'") == 0;
		}), $name);
	is(join("\n", log_lines($node, $from, qr/still waiting/)), '', '... nor for long');
	return;
}

note 'statistics, while no segment is known to be published';
planned('empty segments', sub { });
planned('as if they were always empty', sub { query('VACUUM ANALYZE') });
planned('many events, and nobody knows', sub { emit(20_000) });
planned('many events', sub { query('VACUUM ANALYZE') });
planned('few columns that differ', sub {
	query('ALTER TABLE outbox.event_0 ALTER id SET STATISTICS 1, ALTER topic SET (n_distinct = 1)');
	query('VACUUM ANALYZE');
});
planned('dead rows', sub {
	query('DELETE FROM outbox.event_0');
	query('ANALYZE');
});

note 'other indexes';
planned('of times', sub { query('CREATE INDEX ON outbox.event_0 (emitted_at)') });
planned('of ids that are hashed', sub { query('CREATE INDEX ON outbox.event_0 USING hash (id)') });
planned('made anew', sub { query('REINDEX TABLE outbox.event_0') });
planned('made anew beside', sub { query('REINDEX TABLE CONCURRENTLY outbox.event_0') });

note 'settings';
planned('of the server', sub {
	conf_reload($node, <<~'END');
		enable_indexscan = off
		enable_seqscan = on
		enable_bitmapscan = on
		enable_sort = on
		seq_page_cost = 0
		random_page_cost = 1000
		cpu_index_tuple_cost = 1000
		plan_cache_mode = force_custom_plan
		cursor_tuple_fraction = 1
		END
});
planned('of the database, and another relay', sub {
	my $pid = relay_pid($node);

	query("ALTER DATABASE postgres SET $_") for
	  'enable_indexscan = off', 'enable_seqscan = on', 'enable_sort = on',
	  'random_page_cost = 1000', 'effective_cache_size = 8', 'work_mem = 1000000',
	  'min_parallel_table_scan_size = 0', 'parallel_setup_cost = 0';
	query("SELECT pg_terminate_backend($pid)");
	wait_next_relay($node, $pid);
});

note 'the planner, and an index that is locked';
conf_reload($node, "outbox.enabled = 'off'");
emit(100);
my $session = $node->background_psql('postgres');
$session->query_safe('BEGIN; REINDEX INDEX outbox.event_0_look');
conf_reload($node, "outbox.enabled = 'on'");
$node->poll_query_until('postgres', "SELECT state = 'publishing' FROM outbox.stat_relay")
  or die 'no relay';
waits_for_nothing('the relay does not wait for it');
$session->query_safe('COMMIT');
ok(wait_published($node), 'afterwards all is published');

note 'segments of which all is published';
conf_reload($node, 'outbox.retention = 4s');
wait_until(undef, sub {
	my $from = log_end($node);

	emit(10);
	wait_published($node);
	my @plans = plans($from);
	return @plans && @{ $plans[-1] } == 1
	  && query('SELECT count(last_id) > 1 FROM outbox.segment_status()') eq 't';
}, 'one of two segments is read');
my $old = query('SELECT segment FROM outbox.segment_status() WHERE NOT is_current'
	  . ' AND last_id IS NOT NULL ORDER BY last_id LIMIT 1');
$session->query_safe("BEGIN; LOCK TABLE outbox.event_$old");
planned('one of them is locked', sub { });
waits_for_nothing('the relay waits for nothing');
$session->query_safe('COMMIT');
$session->quit;

$consumer->drain or die 'not read';
is(scalar(grep { $_->{payload} =~ /^x/ } $consumer->records), $emitted,
	'each event has arrived once');
is(join("\n", log_lines($node, $start, qr/ERROR:|PANIC:/)), '',
	'nothing has failed');
$node->stop;
done_testing();
