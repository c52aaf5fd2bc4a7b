# outbox.create_view(): rows that are inserted into a view are events.
#
# Catches: a column that does not arrive where it belongs; an id of the client
# that is replaced; a view that shows events of others, or of a rolled back
# savepoint, or not its own; an update that is taken for a change, or a change
# that is swallowed; a deleted row that stays, or takes its event along; a role
# that emits without a right to the topic, or needs one that it should not; a view
# that a dump or a rename breaks.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use PostgreSQL::Test::Utils ();
use Test::More;

my $node = outbox_node('main', extension => 1, conf => 'outbox.enabled = off');
my $id = '11111111-2222-4333-8444-555555555555';

# The answer of a transaction that is rolled back.
sub in_transaction { return query("BEGIN; $_[0]; ROLLBACK"); }

# The events of a transaction that is rolled back.
sub emitted
{
	my ($sql) = @_;

	return query(<<~END) =~ s/^.*?x<//sr;
		BEGIN;
		$sql;
		SELECT 'x<' || COALESCE(string_agg(concat_ws(' ', topic, COALESCE(key, '-'), COALESCE(convert_from(payload, 'UTF8'), '-'),
			COALESCE(type, '-'), COALESCE(headers::text, '-')), E'\\n'), '') FROM outbox.emitted();
		ROLLBACK;
		END
}

my $columns = '(aggregatetype, aggregateid, type, payload)';

note q(Debezium's layout);
query('CREATE SCHEMA app');
is(query("SELECT outbox.create_view('app.outboxevent')"), 'app.outboxevent', 'its name');
is(emitted("INSERT INTO app.outboxevent $columns VALUES ('order', '1', 'Paid', '{\"a\": 1}')"),
	'outbox.event.order 1 {"a": 1} Paid -', 'an event');
is(emitted("INSERT INTO app.outboxevent $columns VALUES ('order', 7::bigint, 'Paid', '{\"a\":1}'::jsonb), ('x', NULL, NULL, NULL)"),
	"outbox.event.order 7 {\"a\": 1} Paid -\noutbox.event.x - - - -", 'other types, nulls, several rows');
is(emitted("INSERT INTO app.outboxevent VALUES ('$id', 'order', '1', 'Paid', '{}')"),
	'outbox.event.order 1 {} Paid -', 'without a list of columns');
is(in_transaction("INSERT INTO app.outboxevent VALUES ('$id', 'order', '1', 'Paid', '{}'); SELECT event_id FROM outbox.emitted()"),
	$id, 'the id of the client is kept');
is( in_transaction(<<~END), 't|t|t|order|', 'RETURNING, DEFAULT');
	INSERT INTO app.outboxevent (id, aggregatetype) VALUES (DEFAULT, 'order')
		RETURNING id = (SELECT event_id FROM outbox.emitted()), id IS NOT NULL, "timestamp" BETWEEN now() AND clock_timestamp(), aggregatetype, type
	END
is(emitted("COPY app.outboxevent $columns FROM PROGRAM 'echo order,1,A,x; echo order,2,B,y' (FORMAT csv)"),
	"outbox.event.order 1 x A -\noutbox.event.order 2 y B -", 'COPY');
is(emitted("INSERT INTO app.outboxevent $columns VALUES ('order', '1', 'Paid', '{}') ON CONFLICT DO NOTHING"),
	'outbox.event.order 1 {} Paid -', 'ON CONFLICT DO NOTHING');
is(emitted(q(MERGE INTO app.outboxevent e USING (VALUES ('1'), ('1')) v (k) ON e.aggregateid = v.k WHEN NOT MATCHED THEN INSERT (aggregatetype, aggregateid) VALUES ('order', k))),
	"outbox.event.order 1 - - -\noutbox.event.order 1 - - -", 'MERGE') if query('SHOW server_version_num') >= 170000;
fails_with($node, 'postgres', "INSERT INTO app.outboxevent (aggregatetype) VALUES ($_->[0])", $_->[1], $_->[2], "aggregatetype $_->[0]")
  for [ 'NULL', '22004', qr/topic must not be null/ ],
  [ q(''), '22023', qr/topic must not be empty/ ],
  [ q('a b'), '22023', qr/topic/ ];
fails_with($node, 'postgres', "INSERT INTO app.outboxevent VALUES ('00000000-0000-0000-0000-000000000000', 'a')",
	'22023', qr/event_id must not be the nil UUID/, 'the nil UUID');

note 'what the view shows';
my $three = join ';', map { "INSERT INTO app.outboxevent VALUES ('$id', 'order', '$_', 'Paid', 'p$_')" =~ s/11111111/$_$_$_$_$_$_$_$_/r } 1 .. 3;
my $show = q(SELECT string_agg(concat_ws(' ', aggregatetype, aggregateid, type, payload, "timestamp" > now()), ', ') FROM app.outboxevent);
is(in_transaction("$three; $show"), join(', ', map { "order $_ Paid p$_ t" } 1 .. 3), 'its rows');
is(in_transaction("SELECT outbox_emit('outbox.event.order', '1', 'x'); $show") =~ /order/ ? 'some' : 'none', 'none', 'not what came otherwise');
is(query("$show"), '', 'nothing in another transaction');
is(in_transaction("$three; SAVEPOINT s; INSERT INTO app.outboxevent (aggregatetype, aggregateid) VALUES ('order', '4'); ROLLBACK TO s; SELECT count(*) FROM app.outboxevent"),
	3, 'nothing of what was rolled back');
my $work_mem = "SET LOCAL work_mem = '64 kB'; INSERT INTO app.outboxevent $columns SELECT 'order', n, 'T', repeat('x', 100) FROM generate_series(1, 3000) n";
is(in_transaction("$work_mem; SELECT count(*), count(DISTINCT id), sum(aggregateid::integer), sum(length(payload)) FROM app.outboxevent"),
	'3000|3000|4501500|300000', 'more than fits into memory');

note 'the trace of Quarkus';
my $trace = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
query("SELECT outbox.create_view('app.traced', headers => '{traceparent}')");
sub headers_of_trace
{
	my ($context, %opt) = @_;

	return in_transaction(($opt{before} // 'SELECT') . '; INSERT INTO app.traced (aggregatetype, tracingspancontext, traceparent) VALUES '
		  . "('order', '$context', " . ($opt{own} // 'NULL') . '); SELECT headers FROM outbox.emitted(); SELECT tracingspancontext FROM app.traced') =~ s/^\n//r;
}
my $no_state = qq({"traceparent": "$trace"}\ntraceparent=$trace);
is(headers_of_trace("#Mon Nov 30 10:00:00 UTC 2026\ntraceparent=$trace\n"), $no_state, 'as it writes it');
is(headers_of_trace(" tracestate : a\\=b\\:c,d=e\r\n! traceparent=x\r\n\ttraceparent $trace"),
	qq({"tracestate": "a=b:c,d=e", "traceparent": "$trace"}\ntraceparent=$trace), 'in other ways, with a tracestate');
is(headers_of_trace("traceparent=$trace\ntracestate=" . 'x' x 600), $no_state, 'a tracestate that is none');
is(headers_of_trace($_), '', 'none: ' . substr($_, 0, 20))
  for '', '=', '\\', '#', "traceparent=$trace-", 'traceparent=', "traceparentx=$trace", 'uber-trace-id=1:2:3:4', 'x' x 100_000;
my $other = $trace =~ s/4bf9/0000/r;
is(headers_of_trace("traceparent=$trace\ntracestate=a=b", own => "'$other'"),
	qq({"traceparent": "$other"}\ntraceparent=$other), q(the event's own wins));
is(headers_of_trace("traceparent=$trace", before => "SET LOCAL outbox.traceparent = '$other'"), $no_state, q(... and this over the session's));

note 'updates';
my $one = "INSERT INTO app.outboxevent VALUES ('$id', 'order', '1', 'Paid', '{}')";
is(in_transaction("$one; UPDATE app.outboxevent SET aggregatetype = 'order', aggregateid = '1', type = 'Paid', payload = '{}', \"timestamp\" = now() WHERE id = '$id' RETURNING aggregateid"),
	1, 'one that changes nothing');
is(in_transaction("$one; UPDATE app.outboxevent SET payload = 'x' WHERE id = gen_random_uuid() RETURNING 1"), '', 'one of no row');
fails_with($node, 'postgres', "BEGIN; $one; UPDATE app.outboxevent SET $_->[0] = $_->[1]", '0A000',
	qr/cannot change column "$_->[0]" of an event that has been emitted/, "one that changes $_->[0]")
  for [ id => 'gen_random_uuid()' ], [ aggregatetype => "'x'" ], [ aggregateid => 'NULL' ], [ type => "'y'" ], [ payload => "'{ }'" ];

note 'deletes';
is(in_transaction("$three; DELETE FROM app.outboxevent WHERE aggregateid = '2' RETURNING payload; $show; SELECT count(*) FROM outbox.emitted()"),
	"p2\norder 1 Paid p1 t, order 3 Paid p3 t\n3", 'the row is gone, the event is not');
is(in_transaction("$three; DELETE FROM app.outboxevent; SELECT count(*) FROM app.outboxevent; $three; SELECT count(*) FROM app.outboxevent"),
	"0\n3", 'the same ids again');
my $count = 'SELECT count(*) FROM app.outboxevent';
is(in_transaction(<<~END), join("\n", 2, 1, 2, 0, 2, 2, 3, 0), 'and savepoints');
	$three; DELETE FROM app.outboxevent WHERE aggregateid = '1'; $count;
	SAVEPOINT a; DELETE FROM app.outboxevent WHERE aggregateid = '2'; $count; ROLLBACK TO a; $count;
	SAVEPOINT b; SAVEPOINT c; DELETE FROM app.outboxevent; RELEASE c; $count; ROLLBACK TO b; $count;
	SAVEPOINT d; DELETE FROM app.outboxevent; $three; DELETE FROM app.outboxevent WHERE aggregateid = '3'; RELEASE d; $count;
	SAVEPOINT e; $one; $count; DELETE FROM app.outboxevent; RELEASE e; $count
	END

note 'a row that is asked for by its id is found without the others';
my $many = "INSERT INTO app.outboxevent (id, aggregatetype, aggregateid) SELECT md5(n::text)::uuid, 'order', n FROM generate_series(1, 100) n";
my $seven = "md5('7')::uuid";
for my $where ("id = $seven", "$seven = id", "id = (SELECT $seven)", "payload IS NULL AND id = $seven")
{
	is(in_transaction("$many; SELECT aggregateid FROM app.outboxevent WHERE $where; DELETE FROM app.outboxevent WHERE $where RETURNING aggregateid; SELECT aggregateid FROM app.outboxevent WHERE $where; $count"),
		"7\n7\n99", $where);
	like(query("EXPLAIN (VERBOSE) DELETE FROM app.outboxevent WHERE $where"), qr/event_view_rows\('app\.outboxevent'::text, (?!NULL)/, '... by the function itself');
}
is(in_transaction("$many; PREPARE p (uuid) AS SELECT aggregateid FROM app.outboxevent WHERE id = \$1; " . join(';', ("EXECUTE p($seven)", 'EXECUTE p(NULL)') x 7) . "; EXECUTE p(md5('8')::uuid)"),
	join("\n", (7) x 7, 8), 'a prepared statement');
is(in_transaction("$many; SELECT string_agg(v.aggregateid, ' ') FROM (VALUES (md5('3')::uuid), (md5('5')::uuid), (NULL)) w (id) JOIN app.outboxevent v ON v.id = w.id"), '3 5', 'a join');
is(in_transaction("$many; SELECT count(*), count(v.id) FROM (VALUES (1), (2)) w (n) LEFT JOIN app.outboxevent v ON v.id = $seven AND w.n = 2"), '2|1', 'an outer join');
$node->safe_psql('template1', 'CREATE DATABASE other');
is($node->safe_psql('other', <<~END), 'b', q(where the extension is not, a function of this name is another one));
	CREATE SCHEMA outbox;
	CREATE FUNCTION outbox.event_view_rows(a text, b text, OUT event_id uuid, OUT t text) RETURNS SETOF record
		LANGUAGE plpgsql AS \$\$ BEGIN RETURN QUERY SELECT $seven, b; END \$\$;
	SELECT t FROM outbox.event_view_rows('a', 'b') WHERE event_id = $seven;
	END

note 'rights';
query('CREATE ROLE writer; CREATE ROLE stranger; GRANT USAGE ON SCHEMA app TO writer, stranger; GRANT INSERT, SELECT, DELETE ON app.outboxevent TO writer, stranger');
query(q(SELECT outbox.grant_emit('writer', '{outbox.event.order}'); REVOKE USAGE ON SCHEMA outbox FROM writer));
is(query("BEGIN; SET ROLE writer; $one; SELECT aggregateid FROM app.outboxevent; DELETE FROM app.outboxevent; COMMIT"), 1,
	'INSERT on the view and the right to the topic are enough');
fails_with($node, 'postgres', "SET ROLE writer; INSERT INTO app.outboxevent (aggregatetype) VALUES ('other')", '42501',
	qr/permission denied for topic "outbox.event.other"/, 'another topic');
fails_with($node, 'postgres', "SET ROLE stranger; $one", '42501', qr/permission denied for topic "outbox.event.order"/, 'no right to the topic');
query('REVOKE INSERT ON app.outboxevent FROM writer');
fails_with($node, 'postgres', "SET ROLE writer; $one", '42501', qr/permission denied for view outboxevent/, 'no INSERT');


note 'the layout plain';
query(q(SELECT outbox.create_view('app.event', 'plain', payload_type => 'jsonb', headers => '{tenant,Trace-No}', rename => '{"Trace-No": "trace no", "key": "subject"}')));
is(query(q(SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'app.event'::regclass AND attnum > 0)),
	'event_id topic subject payload headers type source content_type expires_at deliver_at emitted_at tenant trace no', 'its columns');
is(emitted(q(INSERT INTO app.event (topic, subject, payload, type, tenant, "trace no", headers) VALUES ('t', 'k', '{"b":1}', 'T', 'eu', '7', '{"x": 1, "tenant": "us"}'))),
	't k {"b": 1} T {"x": 1, "tenant": "eu", "Trace-No": "7"}', 'an event, and its headers');
is( in_transaction(<<~'END'), 't|/shop|text/plain|2100-01-01 00:00:00+00|2099-01-01 00:00:00+00', 'the other columns, by RETURNING');
	SET LOCAL TimeZone = 'UTC';
	INSERT INTO app.event (topic, source, content_type, expires_at, deliver_at) VALUES ('t', '/shop', 'text/plain', '2100-01-01', '2099-01-01')
		RETURNING topic, source, content_type, expires_at, deliver_at
	END
is(in_transaction(q(INSERT INTO app.event (topic, deliver_at) VALUES ('t', '2099-01-01'), ('t', '2000-01-01') RETURNING deliver_at IS NULL)),
	"f\nt", 'what is due already is not delayed');
is(query(q(BEGIN; INSERT INTO app.event (topic, deliver_at) VALUES ('later', '2099-01-01'); COMMIT; SELECT count(*) FROM outbox.delayed WHERE topic = 'later')),
	1, 'what is delayed is kept apart');
fails_with($node, 'postgres', "INSERT INTO app.event (topic, $_->[0]) VALUES ('t', $_->[1])", '22023', $_->[2], "$_->[0] $_->[1]")
  for [ 'deliver_at', "'infinity'", qr/cannot be due at infinity/ ],
  [ 'deliver_at, expires_at', "'2100-01-01', '2099-01-01'", qr/would expire before it is due/ ],
  [ 'source', "'a b'", qr/URI reference/ ],
  [ 'headers', "'[1]'", qr/headers must be an object/ ],
  [ 'headers, tenant', "'[1]', 'eu'", qr/headers must be an object/ ],
  [ 'type', "''", qr/type must have 1 to/ ];
is(in_transaction(q(INSERT INTO app.event (topic, payload) VALUES ('t', '{"b": [1, null], "a": 1.50}'); SELECT payload -> 'b', payload ->> 'a' FROM app.event)),
	'[1, null]|1.50', 'jsonb is read as jsonb');
query(q(SELECT outbox.create_view('app.bytes', 'plain', payload_type => 'bytea', topic_prefix => 'raw.')));
is(in_transaction(q(INSERT INTO app.bytes (topic, payload) VALUES ('t', '\x00ff'); SELECT topic, payload FROM app.bytes; SELECT topic, payload FROM outbox.emitted(); SELECT count(*) FROM app.event)),
	"t|\\x00ff\nraw.t|\\x00ff\n0", 'bytes; each view has its own');

note 'rules for topics';
query(q(SELECT outbox.set_topic_rule('raw.*', type => 'Raw', content_type => 'application/x', schema_id => 7, schema_guid => gen_random_uuid(), schema_placement => 'prefix')));
query(q(SELECT outbox.set_topic_rule('outbox.event.strict', key_required => true, schema_id => 7)));
is(in_transaction(q(INSERT INTO app.bytes (topic, payload) VALUES ('t', '\x01') RETURNING type; SELECT payload, type, content_type FROM app.bytes; UPDATE app.bytes SET payload = '\x01', type = 'Raw' RETURNING 1; SELECT payload FROM outbox.emitted())),
	"Raw\n\\x01|Raw|application/x\n1\n\\x000000000701", 'the view shows what was inserted, and what the rule gives');
is(in_transaction(q(INSERT INTO app.outboxevent (aggregatetype, aggregateid, payload) VALUES ('strict', 'k', 'text'); SELECT payload FROM app.outboxevent)), 'text', 'text with a prefix');
fails_with($node, 'postgres', q(INSERT INTO app.outboxevent (aggregatetype) VALUES ('strict')), '23514', qr/It has no key/, 'a rule that refuses');
is(emitted(q(SET LOCAL outbox.traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'; INSERT INTO app.event (topic) VALUES ('t'))),
	't - - - {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}', q(the session's trace));

note 'an object that is saved again, as it was';
query(q(SELECT outbox.create_view('app.saved', 'plain', topic_prefix => 'raw.', payload_type => 'bytea', headers => '{h,traceparent}')));
query(q(SELECT outbox.set_topic_rule('raw.guid', type => 'Raw', schema_guid => gen_random_uuid())));
my $saved = q(SET LOCAL outbox.traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
	INSERT INTO app.saved (topic, payload, headers, h, deliver_at) VALUES ('guid', '\x01', '{"a": "b"}', 'c', '2000-01-01');
	UPDATE app.saved SET type = NULL, payload = '\x01', headers = '{"a": "b"}', h = 'c', traceparent = NULL, deliver_at = '2000-01-01');
is(in_transaction("$saved RETURNING 1"), 1, 'although a trace, a rule and a column have added to it');
is(in_transaction(q(INSERT INTO app.saved (topic) VALUES ('guid'); UPDATE app.saved SET headers = NULL RETURNING 1)), 1, '... and no headers');
fails_with($node, 'postgres', "BEGIN; $saved; UPDATE app.saved SET $_->[0] = $_->[1]", '0A000', qr/cannot change column "$_->[0]"/, "... but not $_->[0]")
  for [ type => q('x') ], [ headers => q('{"a": "c"}') ], [ headers => q('{}') ], [ headers => q('[]') ], [ h => 'NULL' ], [ deliver_at => q('2099-01-01') ];
fails_with($node, 'postgres', q(BEGIN; INSERT INTO app.saved (topic, type) VALUES ('guid', 'given'); UPDATE app.saved SET type = NULL), '0A000',
	qr/cannot change column "type"/, '... nor a type that the rule has not given');

note 'what cannot be created';
fails_with($node, 'postgres', "SELECT outbox.create_view($_->[0])", $_->[1], $_->[2], $_->[0])
  for [ 'NULL', '22023', qr/cannot be the name/ ],
  [ q('a.b.c'), '22023', qr/cannot be the name/ ],
  [ q('a b'), '22023', qr/string is not a valid identifier/ ],
  [ q('app.outboxevent'), '42P07', qr/already exists/ ],
  [ q('nowhere.x'), '3F000', qr/schema "nowhere" does not exist/ ],
  [ q('app.x', 'other'), '22023', qr/It is debezium or plain/ ],
  [ q('app.x', topic_prefix => 'a b'), '22023', qr/topic_prefix cannot be "a b"/ ],
  [ q('app.x', payload_type => 'integer'), '22023', qr/payload_type cannot be integer/ ],
  [ q('app.x', headers => '{a,NULL}'), '22023', qr/headers must be names/ ],
  [ q('app.x', headers => '{event_id}'), '42939', qr/header "event_id" is reserved/ ],
  [ q('app.x', headers => '{payload}'), '42701', qr/column "payload" specified more than once/ ],
  [ q('app.x', rename => '{"nothing": "y"}'), '42703', qr/column "nothing" cannot be renamed/ ],
  [ q('app.x', rename => '{"id": 1}'), '42703', qr/column "id" cannot be renamed/ ],
  [ q('app.x', rename => '[]'), '22023', qr/rename must be an object of strings/ ];

note 'who creates it';
query(q(SELECT outbox.grant_emit('writer', '{mine}'); CREATE SCHEMA writer AUTHORIZATION writer));
is(query(q(SET ROLE writer; SELECT outbox.create_view('v', 'plain'); INSERT INTO v (topic) VALUES ('mine'))), 'v', 'who may emit, in a schema of his own, the first of search_path');
is(query(q(SELECT relowner::regrole FROM pg_class WHERE oid = 'writer.v'::regclass)), 'writer', 'it is his');
fails_with($node, 'postgres', q(SET ROLE writer; INSERT INTO v (topic) VALUES ('other')), '42501', qr/permission denied for topic "other"/, '... with his rights');
fails_with($node, 'postgres', q(SET ROLE writer; SELECT outbox.create_view('app.mine')), '42501', qr/permission denied for schema app/, '... and nowhere else');
fails_with($node, 'postgres', q(SET ROLE stranger; SELECT outbox.create_view('app.mine')), '42501', qr/permission denied for schema outbox/, 'nobody else');
query('GRANT INSERT ON writer.v TO stranger; GRANT USAGE ON SCHEMA writer TO stranger');
fails_with($node, 'postgres', q(SET ROLE stranger; INSERT INTO writer.v (topic) VALUES ('mine')), '42501',
	qr/permission denied for topic "mine"/, q(it is not the owner's right that counts));

note 'what becomes of the view itself';
query('ALTER VIEW app.outboxevent RENAME COLUMN aggregatetype TO aggregate_type; ALTER VIEW app.outboxevent RENAME TO events; ALTER VIEW app.events SET SCHEMA public');
query(q(ALTER VIEW events ALTER COLUMN type SET DEFAULT 'Paid'; ALTER VIEW app.event ALTER COLUMN topic SET DEFAULT 'usual'));
query(q(SELECT outbox.create_view('app.outboxevent', topic_prefix => '')));
query(q(SET standard_conforming_strings = off; SELECT outbox.create_view('app.backslash'); DROP VIEW app.backslash));
is(in_transaction(q(INSERT INTO app.outboxevent (aggregatetype) VALUES ('new'); SELECT aggregate_type FROM events; SELECT aggregatetype FROM app.outboxevent)),
	'new', 'one that gets the name that another had shows its own');
my $both = q(INSERT INTO events (aggregate_type, aggregateid, payload) VALUES ('order', '1', 'x'); INSERT INTO app.event (payload) VALUES ('{}'));
is(emitted($both), "outbox.event.order 1 x Paid -\nusual - {} - -", 'other names, defaults');
fails_with($node, 'postgres', 'DROP EXTENSION outbox', '2BP01', qr/view app.event depends on function outbox.event_view_rows/, 'DROP EXTENSION refuses');
my $file = PostgreSQL::Test::Utils::tempdir() . '/dump';
query('CREATE DATABASE restored');
$node->command_ok([ 'pg_dump', '-Fc', '-f', $file, $node->connstr('postgres') ], 'dumped');
$node->command_ok([ 'pg_restore', '-d', $node->connstr('restored'), $file ], 'restored');
is($node->safe_psql('restored', "BEGIN; $both; SELECT aggregateid FROM events; DELETE FROM events; SELECT count(*) FROM events; SELECT topic FROM outbox.emitted(); ROLLBACK"),
	"1\n0\noutbox.event.order\nusual", 'it works there, too');
query(q(CREATE VIEW mine AS SELECT * FROM events; INSERT INTO mine (aggregate_type) VALUES ('order')));
query(q(CREATE VIEW other (a) AS SELECT 1; CREATE TRIGGER t INSTEAD OF INSERT ON other FOR EACH ROW EXECUTE FUNCTION outbox.event_view('other', '', 'event_id')));
fails_with($node, 'postgres', 'INSERT INTO other VALUES (1)', '55000', qr/does not have the columns/, 'a trigger on a view of other columns');
query(q(CREATE TABLE plain (id uuid, topic text); CREATE TRIGGER t AFTER INSERT ON plain FOR EACH ROW EXECUTE FUNCTION outbox.event_view('plain', '', 'event_id', 'topic')));
fails_with($node, 'postgres', 'INSERT INTO plain VALUES (NULL)', '39P01', qr/must be called as a trigger of outbox.create_view/, '... or on a table');
query('DROP VIEW app.outboxevent, app.event, app.bytes, app.saved, app.traced, other, mine, events, writer.v; DROP TABLE plain; DROP EXTENSION outbox');
$node->stop;
done_testing();
