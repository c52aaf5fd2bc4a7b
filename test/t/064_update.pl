# ALTER EXTENSION outbox UPDATE from an older version, under traffic; and
# versions of library and extension that do not fit together.
#
# Catches: clients that fail or deadlock with the update; events lost, repeated
# or out of order; a relay that misreads tables of another version, fills the
# log with it, or needs a restart after the update; privileges, and objects of
# the application that are built on ours, that get lost.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Older;
use OutboxTest::Server;
use Test::More;
use Time::HiRes qw(time);

my $mock = OutboxTest::Mock->new;
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	install_path => older_install_path());
my $older = older_version();
my $unclean = qr/ERROR|deadlock|outbox .*exited with exit code/;

sub version
{
	return query("SELECT extversion FROM pg_extension WHERE extname = 'outbox'");
}

note "version $older";
query("CREATE EXTENSION outbox VERSION '$older'");
query(<<~'END');
	CREATE ROLE app;
	CREATE ROLE "Grantor's";
	CREATE ROLE watcher;
	SELECT outbox.grant_emit('app');
	GRANT EXECUTE ON FUNCTION outbox_emit(text, "any", text, jsonb)
		TO "Grantor's" WITH GRANT OPTION;
	GRANT EXECUTE ON FUNCTION outbox.emitted() TO watcher;
	GRANT USAGE ON SCHEMA outbox TO watcher;
	GRANT SELECT ON outbox.stat_relay TO watcher;
	GRANT EXECUTE ON FUNCTION outbox.relay_status(text) TO watcher;
	-- objects that depend on ours
	CREATE VIEW emitting AS SELECT outbox_emit('t', 'view', 'from a view') AS event_id;
	CREATE FUNCTION emitting() RETURNS uuid
		BEGIN ATOMIC SELECT outbox_emit('t', 'atomic', 'from a function'); END;
	GRANT EXECUTE ON FUNCTION outbox.requeue(text) TO watcher;
	CREATE VIEW requeued AS SELECT * FROM outbox.requeue(topic => 'nothing');
	CREATE VIEW own_events AS SELECT event_id, topic FROM outbox.emitted();
	CREATE VIEW lag AS SELECT relay, pending_events FROM outbox.stat_relay;
	END
wait_state($node, 'incompatible');
pass('the relay waits');
like(query('SELECT last_error FROM outbox.stat_relay'),
	qr/library is of version 1\.\d+, the extension of version \Q$older\E/,
	'... and the view tells why');
query("SELECT outbox_emit('t', 'k' || n % 20, n::text, '{\"old\": 1}') FROM generate_series(1, 500) n");
# a relay of that version has published half of them
query('UPDATE outbox.relay SET position = 250');
is(query('SELECT pending_events FROM outbox.stat_relay'), 250, 'pending');
is(query("BEGIN; SELECT outbox_emit('t', 'k', 'never'); SELECT topic, payload FROM outbox.emitted(); ROLLBACK") =~ /^t\|/m,
	1, 'emitted()');

note 'update under traffic';
my $from = log_end($node);
my $writers = pgbench($node, <<~'END', clients => 4, rate => 300,
	\set k random(1, 50)
	BEGIN;
	SELECT outbox_emit('t', 'k' || :k, :client_id || ' ' || clock_timestamp());
	SELECT count(*) FROM outbox.emitted();
	END;
	END
	duration => 600, background => 1, args => [qw(-M prepared)]);
# They lock our tables in an order of their own, and emit in between.
my $readers = pgbench($node, <<~'END', clients => 4, rate => 60,
	BEGIN;
	SELECT count(*) FROM outbox.parked;
	SELECT outbox_emit('t', :client_id::bigint, 'reader'::text);
	SELECT count(*) FROM outbox.event_5;
	SELECT count(*) FROM outbox.relay;
	SELECT count(*) FROM outbox.event;
	SELECT count(*) FROM lag;
	END;
	END
	duration => 600, background => 1);

sub has_traffic
{
	my $id = query('SELECT last_value FROM outbox.event_id_seq');

	return wait_until(undef,
		sub { query('SELECT last_value FROM outbox.event_id_seq') > $id + 200 },
		'traffic');
}
ok(has_traffic(), 'traffic');
for (1 .. 3)
{
	query('BEGIN; ALTER EXTENSION outbox UPDATE; ROLLBACK');
	has_traffic();
}
is(version(), $older, 'a rolled back update');
is(relay_state($node), 'incompatible', '... changes nothing');
is(log_lines($node, 0, qr/outbox relay for .* -> incompatible/), 1, 'told once in all');

my $start = time;
query('ALTER EXTENSION outbox UPDATE');
note sprintf 'the update took %.2f s', time - $start;
$start = time;
wait_state($node, 'publishing');
pass('the relay starts by itself');
cmp_ok(time - $start, '<', 10, '... at once');
note sprintf 'after %.2f s', time - $start;
ok(has_traffic(), 'traffic goes on');
is($_->log_tail =~ /aborted|ERROR/ ? $_->log_tail : '', '', 'no client failed')
  for $writers, $readers;
clean_log($node, 'nor is anything in the log', from => $from, also => $unclean);
stop_load($node, $_) for $writers, $readers;

note 'what the application has';
query("SET ROLE app; SELECT outbox_emit('t', 'app', 'text'); SELECT outbox_emit('t', 1, 'text');"
	  . " SELECT outbox_emit('t', 'app', '{}'::jsonb); SELECT outbox_emit('t', 1, '{}'::jsonb);"
	  . ' SELECT count(*) FROM outbox.emitted()');
my $new = "jsonb,timestamptz,interval,timestamptz,uuid,text,text,text)";
is(query(<<~END), 'f|t|t|f|t|t|f|t|f', 'privileges');
	SELECT has_function_privilege('public', 'outbox_emit(text,"any",text,$new', 'EXECUTE'),
		has_function_privilege('app', 'outbox_emit(text,"any","any",$new', 'EXECUTE'),
		has_function_privilege('Grantor''s', 'outbox_emit(text,"any",text,$new', 'EXECUTE WITH GRANT OPTION'),
		has_function_privilege('Grantor''s', 'outbox_emit(text,text,text,$new', 'EXECUTE'),
		has_function_privilege('watcher', 'outbox.emitted()', 'EXECUTE'),
		has_table_privilege('watcher', 'outbox.stat_relay', 'SELECT'),
		has_table_privilege('public', 'outbox.stat_relay', 'SELECT'),
		has_function_privilege('watcher', 'outbox.requeue(uuid,text,text,text,timestamptz,timestamptz,boolean,text)', 'EXECUTE'),
		has_function_privilege('public', 'outbox.requeue(uuid,text,text,text,timestamptz,timestamptz,boolean,text)', 'EXECUTE')
	END
# which has come to use more functions
query('GRANT EXECUTE ON FUNCTION outbox.relay_figures(text), outbox.topic_matches(text, text[], text[]) TO watcher');
is(query('SET ROLE watcher; SELECT state FROM outbox.stat_relay'),
	'publishing', 'stat_relay');
is(query('SELECT count(*) FROM lag'), 1, 'a view on stat_relay');
is(query('SELECT count(*) FROM requeued'), 0, 'a view on requeue()');
is(query(q{SELECT count(*) FROM outbox.requeue(topic => 'nothing')}), 0, 'requeue()');
is(query('BEGIN; SELECT count(*) FROM emitting; SELECT emitting() IS NOT NULL; SELECT count(*) FROM own_events; COMMIT'),
	"1\nt\n2", 'objects built on the old functions');

ok(wait_published($node), 'published');
ok($consumer->drain, 'drained');
is( check_delivery(
		[ events($node, 'postgres', 'id > 250') ], [ $consumer->records ],
		'update'),
	0,
	'nothing twice');
is(query("SELECT count(*) FROM outbox.event_status WHERE id <= 250 AND status <> 'published'"),
	0, 'what was published before is');

note 'a later version';
my $version = version();
$from = log_end($node);
query(<<~'END');
	CREATE TABLE later ();
	BEGIN;
	UPDATE pg_extension SET extversion = '9.9' WHERE extname = 'outbox';
	SET allow_system_table_mods = on;
	ALTER EXTENSION outbox ADD TABLE later;
	COMMIT
	END
wait_state($node, 'incompatible');
pass('the relay stops');
is(log_lines($node, $from, qr/DETAIL:  The extension has become one of version 9\.9/),
	1, '... says so');
is(log_lines($node, $from, qr/HINT:  Run ALTER EXTENSION/), 1, '... and what to do');
query("SELECT outbox_emit('t', 'k', 'later')");
$node->restart;
wait_state($node, 'incompatible');
pass('also after a restart');
query("SELECT outbox_emit('t', 'k', 'later')");
ok( stays(1, sub { query("SELECT outbox.wait_published('0 s')") eq 'f' }),
	'nothing is published');
query(<<~END);
	BEGIN;
	UPDATE pg_extension SET extversion = '$version' WHERE extname = 'outbox';
	SET allow_system_table_mods = on;
	ALTER EXTENSION outbox DROP TABLE later;
	COMMIT
	END
wait_state($node, 'publishing');
pass('until it is the right one');
ok(wait_published($node), 'published');
ok($consumer->drain, 'drained');
is( check_delivery(
		[ events($node, 'postgres', 'id > 250') ], [ $consumer->records ],
		'another version'),
	0,
	'nothing twice');
clean_log($node, 'nothing unclean in the log', from => $from, also => qr/ERROR/);

note 'tables that we do not know';
for (
	[ 'ADD COLUMN more integer', qr/table "outbox\.event" is not of outbox version/ ],
	[ 'ALTER expires_at TYPE text', qr/table "outbox\.event_\d" is not of outbox version/ ])
{
	my ($change, $message) = @$_;

	query('CREATE DATABASE other');
	$node->safe_psql('other', 'CREATE EXTENSION outbox');
	$node->safe_psql('other', "SELECT outbox_emit('t', 'k', 'x')");
	ok(wait_published($node, 'other'), 'published');
	$node->safe_psql('other',
		"SET allow_system_table_mods = on; ALTER TABLE outbox.event $change");
	fails_with($node, 'other', "SELECT outbox_emit('t', 'k', 'x')", '55000',
		qr/$message.*HINT:  Run ALTER EXTENSION outbox UPDATE/s, $change);
	query('DROP DATABASE other');
}
note 'tables that another version has renamed, or replaced';
for my $change (
	'ALTER TABLE outbox.event RENAME TO occurrence',
	'ALTER TABLE outbox.parked RENAME TO put_aside',
	'ALTER TABLE outbox.delayed RENAME TO later',
	'ALTER SEQUENCE outbox.event_id_seq RENAME TO occurrence_id_seq',
	'ALTER TABLE outbox.event_0 RENAME TO old; CREATE VIEW outbox.event_0 AS TABLE outbox.old',
	'ALTER TABLE outbox.event_0 RENAME TO old;'
	  . ' CREATE TABLE outbox.event_0 (LIKE outbox.old) PARTITION BY RANGE (id)')
{
	query('CREATE DATABASE other');
	$node->safe_psql('other', 'CREATE EXTENSION outbox');
	$node->safe_psql('other', "SET allow_system_table_mods = on; $change; UPDATE pg_extension SET extversion = '9.9' WHERE extname = 'outbox'");
	# the relay that is there may yet see the change
	$node->stop;
	$from = log_end($node);
	$node->start;
	$node->psql('other', "SELECT outbox_emit('t', 'k', 'x')");
	$node->psql('other', "SELECT outbox_emit('t', 'k', 'x', deliver_after => '1 hour')");
	$node->psql('other', 'TABLE outbox.stat_storage');
	wait_until(undef, sub { log_lines($node, $from, qr/DETAIL:  The library .*of version 9\.9/) },
		"$change: the relay waits");
	is(log_lines($node, $from, qr/with OID 0|Run CREATE EXTENSION|(?:has been|was) dropped/),
		0, "$change: no other message");
	clean_log($node, '... and no crash', from => $from);
	query('DROP DATABASE other');
}
$node->stop;
done_testing();
