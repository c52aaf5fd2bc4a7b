# Applications behind PgBouncer, in its three modes: clients that take turns at
# one connection of the server, that are killed in the middle of a transaction,
# prepared statements, a pooler that is reconnected and killed under load, two
# databases, and a restore that comes through it.
#
# Catches: events of one client in another's transaction; state of a session
# that outlives the client it belongs to, such as a restore that keeps the relay
# away and refuses events as long as the pooler keeps its connection.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Bouncer;
use OutboxTest::Server;
use Test::More;

if (my $why = OutboxTest::Bouncer::skip_reason())
{
	plan skip_all => $why;
}

my $mock = OutboxTest::Mock->new(topics => { map { $_ => 2 } qw(t count far) });
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap, topics => ['count']);
my $node = outbox_node('main', bootstrap => $mock->bootstrap, extension => 1);

# One connection of the server each, but for the load; in mode session as many
# as clients.
my $prepares = OutboxTest::Bouncer::can_prepare();
my $bouncer = OutboxTest::Bouncer->new(
	$node,
	users => { app => 'secret', boss => 'boss', admin => 'admin' },
	databases => {
		session => 'dbname=postgres pool_mode=session pool_size=1',
		transaction => 'dbname=postgres pool_mode=transaction pool_size=1',
		statement => 'dbname=postgres pool_mode=statement pool_size=1',
		busy => 'dbname=postgres pool_mode=transaction pool_size=3',
		busy_sessions => 'dbname=postgres pool_mode=session pool_size=4',
		other => 'dbname=other pool_mode=transaction pool_size=1',
	},
	conf => $prepares ? "max_prepared_statements = 100\n" : '');
my $pooled = $bouncer->node;

$ENV{PGPASSWORD} = 'secret';
my @app = (extra_params => [ '-U', 'app' ]);

query(<<~'END');
	CREATE ROLE app LOGIN;
	CREATE ROLE boss LOGIN SUPERUSER;
	SELECT outbox.grant_emit('app');
	CREATE TABLE work (n int);
	CREATE TABLE counter (key int PRIMARY KEY, n int) WITH (fillfactor = 10);
	INSERT INTO counter SELECT k, 0 FROM generate_series(1, 4) k;
	GRANT ALL ON work, counter TO app;
	CREATE FUNCTION emit_work() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM outbox_emit('t', 'trigger', NEW.n::text);
		RETURN NEW;
	END $$;
	CREATE TRIGGER emit_work AFTER INSERT ON work FOR EACH ROW EXECUTE FUNCTION emit_work();
	END
query('CREATE DATABASE other');
query("CREATE EXTENSION outbox; SELECT outbox.grant_emit('app')", 'other');

sub client { return $pooled->background_psql($_[0], @app); }

sub emitted
{
	my ($client) = @_;

	return $client->query_safe(q{SELECT coalesce(string_agg(key || ' '
		|| convert_from(payload, 'UTF8'), ', '), 'none') FROM outbox.emitted()});
}

sub as_boss
{
	my ($db, $sql) = @_;
	local $ENV{PGPASSWORD} = 'boss';

	return $pooled->safe_psql($db, $sql, extra_params => [ '-U', 'boss' ]);
}

# The events of a topic, in order
sub stored
{
	my ($key) = @_;

	return query(qq{SELECT string_agg(convert_from(payload, 'UTF8'), ' ' ORDER BY id)
		FROM outbox.event WHERE topic = 't' AND key = '$key'});
}

for my $mode (qw(session transaction))
{
	note "mode $mode";
	my $one = client($mode);
	my $emit = sub { "SELECT outbox_emit('t', '$mode', '$_[0]');" };
	my $server = $one->query_safe(
		"BEGIN; @{[ $emit->(1) ]} SAVEPOINT s; @{[ $emit->(2) ]} ROLLBACK TO s; "
		  . "@{[ $emit->(3) ]} SELECT pg_backend_pid()");
	is(emitted($one), "$mode 1, $mode 3", 'a client sees what it has emitted');
	$server =~ s/.*\n//s;
	$one->query_safe('COMMIT');
	$one->quit if $mode eq 'session';

	my $two = client($mode);
	is($two->query_safe("BEGIN; SELECT pg_backend_pid()"), $server, 'the next has its connection');
	is(emitted($two), 'none', '... and none of its events');
	$two->query_safe($emit->(4));
	is(emitted($two), "$mode 4", '... but its own');
	$two->query_safe('ROLLBACK');
	if ($mode eq 'transaction')
	{
		$one->query_safe("BEGIN; @{[ $emit->(5) ]}");
		$one->query_safe('COMMIT');
		$one->quit;
	}
	else
	{
		$two->query_safe($emit->(5));
	}

	# killed, as a client that has crashed is
	$two->query_safe("BEGIN; @{[ $emit->(6) ]}");
	$two->{run}->kill_kill;
	my $three = client($mode);
	$three->query_safe("BEGIN; @{[ $emit->(7) ]}");
	is(emitted($three), "$mode 7", 'a killed client leaves nothing behind');
	$three->query_safe('COMMIT');
	$three->quit;
	is(stored($mode), '1 3 5 7', 'what was committed is there, and nothing else');
}

note 'mode statement';
my $refused;
$pooled->psql('statement', 'BEGIN', stderr => \$refused, @app);
like($refused, qr/transaction blocks not allowed/, 'BEGIN is refused by PgBouncer');
$pooled->safe_psql('statement', $_, @app) for
  'INSERT INTO work VALUES (1)',
  q{WITH w AS (INSERT INTO counter VALUES (0, 0) RETURNING key)
	SELECT outbox_emit('t', 'with', key::text) FROM w},
  q{DO $$ BEGIN PERFORM outbox_emit('t', 'do', '1'), outbox_emit('t', 'do', '2'); END $$};
is(join('; ', map { stored($_) } qw(trigger with do)), '1; 0; 1 2',
	'a statement is a transaction of its own: a trigger, WITH, DO');
query('DELETE FROM counter WHERE key = 0');

note 'settings, locks, and waiting';
my $one = client('transaction');
my $two = client('transaction');
$one->query_safe('SET work_mem = 64');
is($two->query_safe('SHOW work_mem'), '64kB', 'SET is seen by the next client');
$one->query_safe("RESET work_mem; BEGIN; SET LOCAL work_mem = 64; SELECT "
	  . "count(outbox_emit('t', 'spill', repeat('x', 1000))) FROM generate_series(1, 300)");
cmp_ok(temp_files($node), '>', 0, 'events are on disk');
$one->query_safe('COMMIT');
is($two->query_safe('SHOW work_mem'), '4MB', 'SET LOCAL is not');
is(temp_files($node), 0, 'nothing is left on disk');
$_->quit for $one, $two;
is(as_boss($_, "SELECT outbox.wait_published('1 min')"), 't', "wait_published: $_")
  for qw(session transaction statement);
is( query(<<~'END'), '0', 'connections that rest hold no lock');
	SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
	WHERE state = 'idle' AND usename = 'app'
	END

note 'two databases';
$pooled->safe_psql('other', q{SELECT outbox_emit('far', 'k', 'x')}, @app);
is(query('SELECT count(*) FROM outbox.event', 'other'), 1, 'an event of the other database');
is(query(q{SELECT count(*) FROM outbox.event WHERE topic = 'far'}), 0, '... is not in this one');
ok(wait_published($node, 'other'), '... and published');

note 'a restore through the pooler';
my $restore = q{INSERT INTO outbox.position_0 SELECT * FROM outbox.position_0 WHERE false};
my $emit = q{SELECT outbox_emit('t', 'restored', 'x')};
as_boss('session', $restore);
ok($node->poll_query_until('postgres', "SELECT state = 'publishing' FROM outbox.stat_relay"),
	'mode session: it ends with the client');
is(as_boss('session', "$emit IS NOT NULL"), 't', '... and events can be emitted');
is( query(q{SELECT count(*) FROM pg_stat_activity WHERE usename = 'boss'
		AND state = 'idle'}) > 0,
	1, '... while its connection lives on');

as_boss('transaction', $restore);
my ($pid) = query(q{SELECT pid FROM pg_stat_activity WHERE query LIKE '%position_0%'
	AND usename = 'boss' AND state = 'idle'});
fails_with($node, 'postgres', $emit, '55000', qr/process $pid\b.*DISCARD ALL/s,
	'mode transaction: the refusal tells whose connection it is');
as_boss('transaction', 'DISCARD ALL');
ok($node->poll_query_until('postgres', "SELECT state = 'publishing' FROM outbox.stat_relay"),
	'it ends with DISCARD ALL');
is(query("$emit IS NOT NULL"), 't', '... and events can be emitted');
is(query("SELECT count(*) FROM pg_stat_activity WHERE pid = $pid"), 1,
	'... while the connection lives on');

as_boss('transaction', $restore);
query("SELECT pg_terminate_backend($pid)");
ok($node->poll_query_until('postgres', "SELECT state = 'publishing' FROM outbox.stat_relay"),
	'or with the connection');
is(query("$emit IS NOT NULL"), 't', '... and events can be emitted');

note 'prepared statements, under load, while the pooler is reconnected and killed';
my $script = <<~'END';
	\set key random(1, 4)
	\set fate random(1, 10)
	BEGIN;
	UPDATE counter SET n = n + 1 WHERE key = :key RETURNING n \gset
	SELECT outbox_emit('count', :key, :n::text);
	\if :fate = 1
	ROLLBACK;
	\else
	COMMIT;
	\endif
	END
my $mode = $prepares ? 'prepared' : 'extended';

sub load
{
	my ($db, $protocol) = @_;

	return pgbench(
		$pooled, $script,
		clients => 4,
		rate => 600,
		duration => 600,
		background => 1,
		db => $db,
		args => [ '-M', $protocol, '-U', 'app' ]);
}

sub sum { return query('SELECT sum(n) FROM counter'); }

sub goes_on
{
	my ($load, $name) = @_;
	my $from = sum();

	wait_until(undef, sub { return sum() > $from + 100 || !$load->is_running; }, $name);
	return ok($load->is_running, $name) || diag $load->log_tail;
}

my $load = load('busy', $mode);
goes_on($load, "mode transaction, $mode");
$bouncer->admin('RECONNECT');
goes_on($load, 'reconnected');
$bouncer->admin('PAUSE busy');
$bouncer->admin('RESUME busy');
goes_on($load, 'paused and resumed');
$bouncer->kill9;
is(defined $load->wait, 1, 'killed: its clients are cut off');
$bouncer->start;
$load = load('busy', $mode);
goes_on($load, 'started again');
$bouncer->stop;
$load->wait;
$bouncer->start;
$load = load('busy_sessions', 'prepared');
goes_on($load, 'mode session, prepared');
stop_load($node, $load);
$node->poll_query_until('postgres', <<~'END') or die;
	SELECT NOT EXISTS (SELECT FROM pg_stat_activity
	WHERE usename = 'app' AND state <> 'idle')
	END

ok(wait_published($node) && $consumer->drain, 'published');
is( query(<<~'END'), 't', 'events and rows agree');
	SELECT bool_and(c.n = e.n AND c.n = e.last) FROM counter c JOIN (
		SELECT key::int, count(*) AS n, max(convert_from(payload, 'UTF8')::int) AS last
		FROM outbox.event WHERE topic = 'count' GROUP BY key) e USING (key)
	END
is( check_delivery(
		[ events($node, 'postgres', "topic = 'count'") ], [ $consumer->records ], 'poolers'),
	0,
	'nothing twice');
clean_log($node, 'no crash');

$bouncer->stop;
$node->stop;
done_testing();
