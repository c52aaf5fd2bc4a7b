# outbox.audit: each function that changes something of outbox tells who has
# called it, from where, with what, and how much it has changed.
#
# Catches: a function that leaves no row, or an argument out of it; a row of a
# call that was undone; the owner of a function in the place of who has called
# it; rows that others can change; rows that are kept for ever, or not as long
# as they should.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use Test::More;

my $node = outbox_node('main', extension => 1, conf => <<~'END');
	listen_addresses = '127.0.0.1'
	END
my $members = <<~'END';
	SELECT d.objid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
	WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'outbox'
	END

sub rows { return query('SELECT count(*) FROM outbox.audit'); }

# The newest rows, oldest first
sub newest
{
	my ($columns, $count) = @_;

	return query("SELECT $columns FROM (SELECT * FROM outbox.audit ORDER BY id DESC LIMIT $count) a ORDER BY id");
}

note 'from the catalogs: who changes something says so, with all of its arguments';
my @administrative;
for my $line (split /\n/, query(<<~END))
	SELECT p.proname, l.lanname, COALESCE(array_to_string(p.proargnames[:p.pronargs], ' '), ''),
		p.prosrc ~ '\\m(INSERT|UPDATE|DELETE|TRUNCATE|EXECUTE|PERFORM|_changed)\\M',
		(SELECT COALESCE(string_agg(name, ' '), '') FROM unnest(p.proargnames[:p.pronargs]) name
		 WHERE strpos(p.prosrc, format('%L, %I', name, name)) = 0),
		strpos(p.prosrc, format('outbox.write_audit(%L', p.proname)) > 0
	FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang JOIN ($members) m ON m.objid = p.oid
	WHERE p.provolatile = 'v' AND obj_description(p.oid, 'pg_proc') NOT LIKE 'Internal:%'
	ORDER BY 1
	END
{
	my ($name, $language, $arguments, $changes, $missing, $writes) = split /\|/, $line, -1;

	if ($language eq 'c')
	{
		like($name, qr/^(?:(?:outbox_)?emit(?:_now)?|emitted|receive|wait_published)$/,
			"$name() in C changes nothing but the transaction's events: else it needs outbox.write_audit()");
		next;
	}
	next if $changes eq 'f' && $writes eq 'f';
	# makes objects of the caller's own, and changes nothing of ours
	next if $name eq 'create_view';
	push @administrative, $name;
	is($writes, 't', "$name($arguments) calls outbox.write_audit('$name', ...)");
	is($missing, '', '... with all arguments');
}
cmp_ok(@administrative, '>=', 16, "there are some: @administrative");

note 'each call';
query('CREATE ROLE app; CREATE ROLE boss LOGIN; CREATE ROLE team; GRANT team TO boss');
query(q{CREATE TABLE t (id integer PRIMARY KEY)});
query(q{CREATE FUNCTION handle(m outbox.message) RETURNS void LANGUAGE sql AS ''});
query(q{SELECT outbox.publish_table('t', 'table')});
query(<<~'END');
	INSERT INTO outbox.parked (relay, id, event_id, emitted_at, topic, key, payload, state, blocking, class, last_failed_at)
		SELECT 'default', n, gen_random_uuid(), now(), 't' || n % 2, 'k', 'x', 'dead', true, 'event', now()
		FROM generate_series(1, 7) n;
	INSERT INTO outbox.parked (relay, id, event_id, emitted_at, topic, key, payload, state, blocking, class, last_failed_at)
		VALUES ('other', 1, gen_random_uuid(), now(), 't', 'k', 'x', 'dead', true, 'event', now());
	SELECT outbox_emit('t', 'k', 'p', deliver_after => '1 day');
	END
my ($delayed) = query('SELECT event_id FROM outbox.delayed');
for (
	[ "create_relay('other', topics => '{a,b}', retry_base_delay => '2 s')",
		'{"name": "other", "start": "now", "topics": ["a", "b"], "retry_base_delay": "00:00:02"}', 1 ],
	[ "alter_relay('other', on_failure => 'skip', reset => '{topics}')",
		'{"name": "other", "reset": ["topics"], "on_failure": "skip"}', 1 ],
	[ "pause(reason => 'why')", '{"reason": "why"}', 2 ],
	[ "pause('other')", '{"relay": "other"}', 0 ],
	[ 'resume()', '{}', 2 ],
	[ 'resume()', '{}', 0 ],
	[ "pause_topic('a', 'other', 'why')", '{"relay": "other", "topic": "a", "reason": "why"}', 1 ],
	[ "pause_topic('a', 'other')", '{"relay": "other", "topic": "a"}', 0 ],
	[ "resume_topic('a')", '{"topic": "a"}', 1 ],
	[ "resume_topic('a')", '{"topic": "a"}', 0 ],
	[ "requeue(topic => 't0')", '{"topic": "t0", "new_timestamp": false}', 3 ],
	[ "discard(topic => 't1', class => 'event')",
		'{"class": "event", "topic": "t1", "waiting": false, "retrying": false}', 4 ],
	[ "drop_relay('other', discard => true)", '{"name": "other", "discard": true}', 1 ],
	[ "subscribe('s', '{a}', 'handle(outbox.message)', workers => 2)",
		'{"name": "s", "start": "latest", "caller": "postgres", "on_gap": "wait", "topics": ["a"], "cluster": "default", "handler": "public.handle(outbox.message)", "workers": 2, "batch_size": 500, "on_failure": "block_key", "handler_timeout": "00:00:30"}', 1 ],
	[ "pause_subscription('s', 'why')", '{"name": "s", "reason": "why"}', 1 ],
	[ 'pause_subscription()', '{}', 0 ],
	[ "alter_subscription('s', topics => '{b}', reset => '{group_id}')",
		'{"name": "s", "reset": ["group_id"], "caller": "postgres", "topics": ["b"]}', 1 ],
	[ "seek('s', place => 'latest', topic => 'b')",
		'{"place": "latest", "topic": "b", "repeat": true, "subscription": "s"}', 3 ],
	[ "inbox_requeue(subscription => 's', sqlstate => '22000')", '{"sqlstate": "22000", "subscription": "s"}', 2 ],
	[ "inbox_discard('{1,2,3,4}')", '{"ids": [1, 2, 3, 4], "waiting": false, "retrying": false}', 1 ],
	[ "inbox_discard(subscription => 's', retrying => true, waiting => true)",
		'{"waiting": true, "retrying": true, "subscription": "s"}', 2 ],
	[ 'resume_subscription()', '{}', 1 ],
	[ "unsubscribe('s')", '{"name": "s", "discard": false}', 0 ],
	[ "replay(topic => 't', rate => 5)", '{"id": 1, "rate": 5, "topic": "t", "new_timestamp": false}', 1 ],
	[ 'cancel_replay(1)', '{"id": 1}', 1 ],
	[ 'cancel_replay(1)', '{"id": 1}', 0 ],
	[ "backfill('t', rate => 5)", '{"id": 1, "rate": 5, "relation": "public.t"}', 1 ],
	[ 'cancel_backfill(1)', '{"id": 1}', 1 ],
	[ 'cancel_backfill(1)', '{"id": 1}', 0 ],
	[ 'resume_backfill(1)', '{"id": 1}', 1 ],
	[ "cancel_delayed('$delayed')", "{\"event_id\": \"$delayed\"}", 1 ],
	[ "cancel_delayed('$delayed')", "{\"event_id\": \"$delayed\"}", 0 ],
	[ "grant_emit('app', '{a,b}')", '{"role": "app", "topics": ["a", "b"]}', 2 ],
	[ "revoke_emit('app', '{a}')", '{"role": "app", "topics": ["a"]}', 1 ],
	[ "grant_operate('app')", '{"role": "app"}', 1 ],
	[ "revoke_operate('app')", '{"role": "app"}', 1 ])
{
	my ($call, $arguments, $affected) = @$_;
	my ($function) = $call =~ /^(\w+)/;
	my $before = rows();

	query("SELECT count(*) FROM outbox.$call");
	query(<<~'END') if $function eq 'alter_subscription';
		INSERT INTO outbox.subscription_offset (subscription, topic, partition, next_offset, updated_at)
			SELECT 's', 'b', n, 1, now() FROM generate_series(1, 3) n;
		INSERT INTO outbox.inbox_dead (subscription, topic, partition, "offset", headers, attempts, sqlstate)
			SELECT 's', 'b', 1, n, '{}', 1, CASE WHEN n < 3 THEN '22000' END FROM generate_series(1, 3) n;
		END
	is(rows() - $before, 1, "$call: one row");
	is(newest('function, arguments, affected', 1), "$function|$arguments|$affected", '... which tells all');
}

note 'who, from where, when';
query("SELECT outbox.grant_operate('boss'), outbox.grant_operate('team')");
$node->safe_psql('postgres',
	"SELECT outbox.pause_topic('a'); SET ROLE team; SELECT outbox.resume_topic('a')",
	connstr => "host=127.0.0.1 port=${\ $node->port } user=boss dbname=postgres application_name=console");
is( newest("function, called_by, as_role, client_addr, application_name, at BETWEEN now() - interval '5 min' AND now()", 2),
	"pause_topic|boss|boss|127.0.0.1|console|t\nresume_topic|boss|team|127.0.0.1|console|t",
	'the login, its role, the address, the application');
query("SELECT outbox.pause_topic('a')");
is(newest('client_addr IS NULL', 1), 't', 'no address by a socket');

note 'what is undone leaves nothing';
my $before = rows();
query("BEGIN; SELECT outbox.pause(); SAVEPOINT s; SELECT outbox.resume(); ROLLBACK TO s; ROLLBACK");
fails_with($node, 'postgres', "SELECT outbox.pause('missing')", '42704', qr/relay "missing" does not exist/, 'an error');
is(rows(), $before, 'no row');
query("BEGIN; SELECT outbox.pause(); SAVEPOINT s; SELECT outbox.resume(); ROLLBACK TO s; COMMIT; SELECT outbox.resume()");
is(newest('function', 2), "pause\nresume", 'and what is not undone does');

note 'read by operators, changed by nobody';
like($node->safe_psql('postgres', 'SELECT count(*) FROM outbox.audit', extra_params => [ '-U', 'boss' ]),
	qr/^\d\d$/, 'read');
fails_with($node, 'postgres', "SET ROLE boss; $_", '42501', qr/permission denied/, $_)
  for 'DELETE FROM outbox.audit', 'UPDATE outbox.audit SET called_by = NULL',
  "INSERT INTO outbox.audit (function, arguments) VALUES ('x', '{}')", 'DELETE FROM outbox.audit_entry',
  "SELECT outbox.write_audit('x', '{}', 1)", "SELECT nextval('outbox.audit_id_seq')";

note 'retention';
query(<<~'END');
	INSERT INTO outbox.audit_entry (function, arguments, at)
		SELECT 'old', '{}', now() - interval '40 days' FROM generate_series(1, 2500);
	INSERT INTO outbox.audit_entry (function, arguments, at) VALUES ('older', '{}', now() - interval '91 days');
	END
$before = rows();
conf_taken($node);
$node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM outbox.audit WHERE function = 'older')")
  or die 'it is kept';
is(rows(), $before - 1, 'what is older than 90 days goes, and nothing else');
query("INSERT INTO outbox.audit_entry (function, arguments, at) VALUES ('older', '{}', '2000-01-01')");
conf_taken($node, 'outbox.audit_retention = 0');
is(rows(), $before, '0: all are kept');
conf_taken($node, 'outbox.audit_retention = 30d');
$node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM outbox.audit WHERE function LIKE 'old%')")
  or die 'they are kept';
is(rows(), $before - 2501, 'more than one transaction removes');

$node->stop;
done_testing();
