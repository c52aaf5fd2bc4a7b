# What a database's owner or a careless administrator can set for a database, or
# do to one, that must not stop its relay, or that must be told: settings of the
# database and its roles, which reach the relay's session; a database that is
# not quite gone; a name that is folded; no worker that is free; a schema that
# only looks like ours.
#
# Catches: a relay that stops by such a setting, or a function that does something
# else; a log full of failed starts, and a relay that is not there without a
# reason.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use PostgreSQL::Test::Utils;
use Test::More;

my $mock = OutboxTest::Mock->new(topics => { events => 1 });
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	conf => <<~'END');
		outbox.max_databases = 3
		outbox.retention = 1s
		outbox.retry_base_delay = 50ms
		outbox.retry_max_delay = 100ms
		END

# For the test's own sessions, in spite of what is set below
local $ENV{PGOPTIONS} = join ' ', map { "-c $_" } qw(role=none search_path=public
  default_transaction_read_only=off statement_timeout=0 lock_timeout=0
  idle_session_timeout=0 exit_on_error=off session_replication_role=origin
  log_planner_stats=off debug_print_plan=off max_parallel_workers_per_gather=0),
  $node->pg_version >= 16 ? 'debug_parallel_query=off' : 'force_parallel_mode=off',
  $node->pg_version >= 17 ? 'transaction_timeout=0' : ();

sub hostile { return query($_[0], 'hostile'); }

note 'settings';
query('CREATE ROLE nobody');
query('CREATE DATABASE hostile');
hostile('CREATE EXTENSION outbox');
my %settings = (
	role => 'nobody',
	session_authorization => 'nobody',
	search_path => 'nowhere',
	row_security => 'on',
	event_triggers => 'on',
	session_replication_role => 'origin',
	commit_delay => '100000',
	default_transaction_read_only => 'on',
	default_transaction_isolation => 'serializable',
	default_transaction_deferrable => 'on',
	exit_on_error => 'on',
	statement_timeout => '1',
	lock_timeout => '1',
	transaction_timeout => '1',
	idle_in_transaction_session_timeout => '1',
	idle_session_timeout => '1',
	temp_file_limit => '0',
	zero_damaged_pages => 'on',
	standard_conforming_strings => 'off',
	transform_null_equals => 'on',
	DateStyle => 'SQL, DMY',
	IntervalStyle => 'sql_standard',
	bytea_output => 'escape',
	xmloption => 'document',
	array_nulls => 'off',
	default_tablespace => 'nowhere',
	temp_tablespaces => 'nowhere',
	plan_cache_mode => 'force_custom_plan',
	force_parallel_mode => 'on',
	debug_parallel_query => 'on',
	max_parallel_workers_per_gather => '8',
	parallel_setup_cost => '0',
	parallel_tuple_cost => '0',
	min_parallel_table_scan_size => '0',
	random_page_cost => '1e10',
	log_planner_stats => 'on',
	debug_print_plan => 'on',
	work_mem => '64',
	(map { ("enable_$_" => 'off') } qw(indexscan indexonlyscan tidscan nestloop
		  hashjoin mergejoin hashagg material memoize)));
my %known = map { $_ => 1 } split /\n/,
  query('SELECT name FROM pg_settings'), -1;
$known{$_} = 1 for qw(role session_authorization);
query(join('', map { "ALTER DATABASE hostile SET $_ = '$settings{$_}';\n" }
		  grep { $known{$_} } sort keys %settings), 'postgres');
my $from = log_end($node);
replace_relay($node, db => 'hostile');

hostile("SELECT count(outbox_emit('events', 'k', 'now ' || n)) FROM generate_series(1, 100) n");
hostile("SELECT outbox_emit('events', 'k', 'later', deliver_after => '1 s')");
ok(wait_published($node, 'hostile'), 'events are published');
$mock->command('fail Produce 1 INVALID_RECORD');
hostile("SELECT outbox_emit('events', 'p', 'parked')");
wait_until(undef,
	sub { hostile('SELECT dead_letters FROM outbox.stat_relay') == 1 },
	'a dead letter');
hostile('SELECT count(*) FROM outbox.requeue()');
wait_until(
	undef,
	sub { hostile('SELECT dead_letters + retrying + waiting + delayed FROM outbox.stat_relay') == 0 },
	'it is published after all');
ok(wait_published($node, 'hostile'), 'delayed events, too');
ok($consumer->drain, 'read');
is(scalar($consumer->records), 102, 'all of them');
wait_until(undef, sub { hostile('SELECT count(*) FROM outbox.event') == 0 },
	'segments are emptied');
is_deeply(
	[ log_lines($node, $from, qr/ERROR|PLANNER STATISTICS|has failed/) ],
	[], 'no error')
  or diag slurp_file($node->logfile, $from);

hostile("SELECT outbox.create_view('public.v')");
# other letters are hard to see in what functions return
is(hostile(<<~'END'), '', 'a backslash means in no function what standard_conforming_strings says');
	SELECT p.proname, l.line FROM pg_proc p CROSS JOIN regexp_split_to_table(p.prosrc, E'\n') l (line)
	WHERE p.pronamespace = 'outbox'::regnamespace AND p.prolang <> 13 AND l.line LIKE E'%\\\\%' AND l.line NOT LIKE '%E''%'
	END

note 'a database that is not quite gone';
query('CREATE DATABASE gone');
query("UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'gone'",
	'postgres');
query('CREATE DATABASE last');
query('CREATE EXTENSION outbox', 'last');
$from = log_end($node);
$node->restart;
wait_state($node, 'publishing', 'last');
is_deeply([ log_lines($node, $from, qr/gone/) ], [], 'it is left alone');
query('DROP DATABASE gone');

note 'a name that is folded';
query('CREATE DATABASE "Orders"');
query('CREATE EXTENSION outbox', 'Orders');
$from = log_end($node);
conf_reload($node, "outbox.databases = 'Orders, hostile'");
wait_state($node, 'disabled', 'Orders');
like(query('SELECT last_error FROM outbox.stat_relay', 'Orders'),
	qr/folded to lower case; write '"Orders"'/, 'the view says why');
wait_until(
	undef,
	sub { log_lines($node, $from, qr/does not name database "Orders"/) },
	'the log, too');
conf_reload($node, q{outbox.databases = '"Orders", hostile'});
wait_state($node, 'publishing', 'Orders');

note 'a schema that looks like ours';
query('DROP DATABASE "Orders"');
query(<<~'END');
	CREATE ROLE mallory;
	CREATE DATABASE lookalike OWNER mallory;
	END
query(<<~'END', 'lookalike');
	SET SESSION AUTHORIZATION mallory;
	CREATE SCHEMA outbox;
	CREATE SEQUENCE outbox.event_id_seq;
	RESET SESSION AUTHORIZATION;
	DROP EXTENSION plpgsql;
	SET SESSION AUTHORIZATION mallory;
	CREATE EXTENSION plpgsql;
	END
query('CREATE DATABASE third');
query('CREATE EXTENSION outbox', 'third');
pass('it takes no place of a database that has the extension');

note 'no worker is free';
$node->append_conf('postgresql.conf',
	"outbox.databases = ''\nmax_worker_processes = 2");
$node->restart;
wait_until(
	undef,
	sub {
		hostile('SELECT last_error FROM outbox.stat_relay') =~
		  /^no background worker is free .* raise max_worker_processes/;
	},
	'the view says why');
is(relay_state($node, 'hostile'), 'stopped', 'there is no relay');

$node->stop;
done_testing();
