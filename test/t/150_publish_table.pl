# outbox.publish_table(): every way in which rows of a table change, and ways in
# which the table itself does.
#
# Catches: a change without an event, or an event without a change; a row that a
# consumer who reads its key ends with, and that the table does not have; a
# column that is dropped, added, renamed or in another place in a partition; a
# writer who needs rights of ours; a table that cannot be published well, and
# is all the same.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use PostgreSQL::Test::Utils ();
use Test::More;

my $node = outbox_node('main', extension => 1, conf => 'outbox.enabled = off');

# The events of a transaction that is rolled back: "topic key payload" each; in
# place of a long topic, none.
sub emitted
{
	my ($sql) = @_;

	return query(<<~END) =~ s/^x //gmr;
		BEGIN;
		$sql;
		SELECT topic || ' ' || COALESCE(key, 'null') || ' ' || COALESCE(convert_from(payload, 'UTF8'), 'gone')
		FROM outbox.emitted();
		ROLLBACK;
		END
}

sub publish { query("SELECT outbox.publish_table($_[0])"); return; }

query(<<~'END');
	CREATE TABLE t (id bigint PRIMARY KEY, a text, b integer, big text);
	ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
	INSERT INTO t VALUES (1, 'one', 1, repeat('x', 10000)), (2, 'two', 2, NULL);
	END
publish("'t', 'x', columns => '{id,a,b}'");

note 'rows';
is(emitted("INSERT INTO t VALUES (3, 'three', NULL)"), '3 {"id":3,"a":"three","b":null}', 'insert');
is(emitted("UPDATE t SET a = 'uno' WHERE id = 1"), '1 {"id":1,"a":"uno","b":1}', 'update');
is(emitted('DELETE FROM t'), "1 gone\n2 gone", 'delete');
is(emitted('UPDATE t SET a = a, b = b + 0'), '', 'an update that changes nothing');
is(emitted("UPDATE t SET big = 'other'"), '', '... or only a column that is not published');
is(emitted('UPDATE t SET id = 4 WHERE id = 1'), qq(1 gone\n4 {"id":4,"a":"one","b":1}), 'another key');
is(emitted(q{INSERT INTO t VALUES (1, 'uno') ON CONFLICT (id) DO UPDATE SET a = excluded.a;
	INSERT INTO t VALUES (1, 'dos') ON CONFLICT DO NOTHING}), '1 {"id":1,"a":"uno","b":1}', 'ON CONFLICT');
is( emitted(q{MERGE INTO t USING (VALUES (1, 'uno'), (2, ''), (5, 'five')) n (id, a) ON n.id = t.id
	WHEN MATCHED AND n.a = '' THEN DELETE WHEN MATCHED THEN UPDATE SET a = n.a
	WHEN NOT MATCHED THEN INSERT (id, a) VALUES (n.id, n.a)}),
	qq(1 {"id":1,"a":"uno","b":1}\n2 gone\n5 {"id":5,"a":"five","b":null}), 'MERGE');
is(emitted("COPY t (id, a) FROM PROGRAM 'echo 6,six; echo 7,seven' (FORMAT csv)"),
	qq(6 {"id":6,"a":"six","b":null}\n7 {"id":7,"a":"seven","b":null}), 'COPY');
is(emitted("SAVEPOINT s; DELETE FROM t; ROLLBACK TO s; DELETE FROM t WHERE id = 2"), '2 gone', 'a savepoint');
is(emitted('SET LOCAL session_replication_role = replica; DELETE FROM t'), '', 'none in a replica');

note 'what others do in the same statement';
query(<<~'END');
	CREATE TABLE chain (id integer PRIMARY KEY, ref integer REFERENCES chain ON UPDATE CASCADE ON DELETE CASCADE, n integer);
	INSERT INTO chain VALUES (1, 1, 0), (2, 1, 0);
	CREATE TABLE pair (id integer PRIMARY KEY, n integer);
	INSERT INTO pair VALUES (1, 0), (2, 0);
	CREATE FUNCTION other() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN UPDATE pair SET n = n + 10 WHERE id = 3 - NEW.id AND n < 10; RETURN NULL; END $$;
	CREATE TRIGGER "a" AFTER UPDATE ON pair FOR EACH ROW EXECUTE FUNCTION other();
	CREATE TABLE again (id integer PRIMARY KEY, n integer);
	CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN UPDATE again SET n = 7 WHERE id = NEW.id; RETURN NULL; END $$;
	CREATE TRIGGER "a" AFTER INSERT ON again FOR EACH ROW EXECUTE FUNCTION again();
	END
publish("'$_', 'x'") for qw(chain pair again);

# What a consumer ends with who reads the keys, and what the table has
sub folded
{
	my ($table, $sql) = @_;
	my %last;

	for my $rows (query("SELECT id, to_json(t) FROM $table t") =~ s/\|/ /gr, emitted($sql))
	{
		$last{$1} = $2 while $rows =~ /^(\S+) (.*)$/mg;
	}
	return join ' ', map { $last{$_} } grep { $last{$_} ne 'gone' } sort keys %last;
}

sub folds
{
	my ($table, $sql, $name) = @_;
	my $have = query("BEGIN; $sql; SELECT string_agg(to_json(t)::text, ' ' ORDER BY id) FROM $table t; ROLLBACK");
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return is(folded($table, $sql), $have, $name);
}
folds('chain', 'UPDATE chain SET id = 3 WHERE id = 1', 'a cascade to the same row, and to another');
folds('chain', 'DELETE FROM chain WHERE id = 2; INSERT INTO chain VALUES (4, 1, 1); DELETE FROM chain WHERE id = 1',
	'a cascade that deletes');
folds('pair', 'UPDATE pair SET n = n + 1', 'a trigger that changes rows of the same statement once more');
folds('again', 'INSERT INTO again VALUES (1, 1), (2, 2)', 'a trigger that changes the row itself');
folds('again', 'INSERT INTO again VALUES (1, 1); UPDATE again SET id = 9; DELETE FROM again; INSERT INTO again VALUES (9, 1)',
	'one after another');

note 'operations that are not published hide nothing';
query(<<~'END');
	CREATE TABLE few (id integer PRIMARY KEY, n integer);
	CREATE FUNCTION few() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		UPDATE few SET n = n + 10 WHERE id = NEW.id + 1;
		DELETE FROM few WHERE id = NEW.id + 2;
		RETURN NULL;
	END $$;
	CREATE TRIGGER "a" AFTER INSERT ON few FOR EACH ROW EXECUTE FUNCTION few();
	END
for (
	[ 'insert', '1 {"id":1,"n":1}', '2 {"id":2,"n":2}', '3 {"id":3,"n":3}' ],
	[ 'insert,update', '1 {"id":1,"n":1}', '2 {"id":2,"n":12}', '3 {"id":3,"n":3}' ],
	[ 'insert,delete', '1 {"id":1,"n":1}', '3 gone', '2 {"id":2,"n":2}' ])
{
	my ($operations, @events) = @$_;

	publish("'few', 'x', operations => '{$operations}'");
	is(emitted('INSERT INTO few VALUES (1, 1), (2, 2), (3, 3)'), join("\n", @events), $operations);
}

note 'rows that are frozen at once';
query(<<~'END');
	CREATE TABLE frozen (id integer PRIMARY KEY, untold integer);
	CREATE FUNCTION frozen() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN UPDATE frozen SET untold = 1 WHERE id = NEW.id + 1; RETURN NULL; END $$;
	CREATE TRIGGER "a" AFTER INSERT ON frozen FOR EACH ROW EXECUTE FUNCTION frozen();
	END
publish("'frozen', 'x', columns => '{id}', on_truncate => 'ignore'");
is(emitted("TRUNCATE frozen; COPY frozen FROM PROGRAM 'echo 1,0; echo 2,0' (FORMAT csv, FREEZE)"),
	qq(1 {"id":1}\n2 {"id":2}), 'COPY FREEZE, and a trigger that changes what is not published');

note 'the table changes';
query('CREATE TABLE shape (gone integer, id integer PRIMARY KEY, a text)');
publish("'shape', 'x'");
query('ALTER TABLE shape DROP gone; ALTER TABLE shape ADD added text DEFAULT $$late$$');
is(emitted('INSERT INTO shape VALUES (1)'), '1 {"id":1,"a":null,"added":"late"}', 'dropped and added columns');
is(emitted(q{ALTER TABLE shape ADD twice integer DEFAULT 2; INSERT INTO shape VALUES (1)}),
	'1 {"id":1,"a":null,"added":"late","twice":2}', '... in the same transaction');
query('ALTER TABLE shape RENAME id TO number; ALTER TABLE shape RENAME TO form; CREATE SCHEMA other; ALTER TABLE form SET SCHEMA other');
is(emitted(q{INSERT INTO other.form VALUES (1, 'x')}), '1 {"number":1,"a":"x","added":"late"}', 'renamed');
is(query("SELECT relation FROM outbox.published_table WHERE relation::text LIKE '%form'"), 'other.form', '... and it is told so');
publish("'other.form', 'x', columns => '{number,a}', rename => '{\"a\": \"A\"}'");
fails_with($node, 'postgres', q{BEGIN; ALTER TABLE other.form ADD "A" text; SELECT outbox.publish_table('other.form', 'x', rename => '{"a": "A"}')},
	'42701', qr/two columns would be "A"/, 'a name that is taken');
publish("'other.form', 'x', rename => '{\"a\": \"A\"}'");
fails_with($node, 'postgres', q{BEGIN; ALTER TABLE other.form ADD "A" text; INSERT INTO other.form VALUES (1)}, '42701',
	qr/columns "a" and "A" of "form" would have the same name in events/, '... by a column that is added later');
publish("'other.form', 'x', columns => '{number,a}', rename => '{\"a\": \"A\"}'");
query('ALTER TABLE other.form RENAME a TO b');
fails_with($node, 'postgres', "INSERT INTO other.form VALUES (1, 'x')", '42703',
	qr/column "a" of "form" does not exist/, 'a column that was named, and is not there any more');
publish("'other.form', 'x', columns => '{number,b}', rename => '{\"b\": \"A \\\"\"}'");
is(emitted(q{INSERT INTO other.form VALUES (1, 'x')}), '1 {"number":1,"A \"":"x"}', 'published anew, under another name');

note 'partitions and children';
query(<<~'END');
	CREATE TABLE part (id integer, region text, n integer, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
	CREATE TABLE part_a PARTITION OF part FOR VALUES IN ('a');
	END
publish("'part', 'x', key => '{id}'");
query(<<~'END');
	CREATE TABLE part_b (n integer, dropped integer, region text NOT NULL, id integer NOT NULL);
	ALTER TABLE part_b DROP dropped;
	ALTER TABLE part ATTACH PARTITION part_b FOR VALUES IN ('b');
	INSERT INTO part VALUES (1, 'a', 1);
	END
is(emitted(q{INSERT INTO part VALUES (2, 'b', 1); INSERT INTO part_b (id, region) VALUES (3, 'b')}),
	qq(2 {"n":1,"region":"b","id":2}\n3 {"n":null,"region":"b","id":3}), 'a partition that was attached later');
is(emitted(q{UPDATE part SET region = 'b'}), qq(1 gone\n1 {"n":1,"region":"b","id":1}), 'a row that moves to another');
query('ALTER TABLE part DETACH PARTITION part_b');
is(emitted(q{INSERT INTO part_b (id, region) VALUES (3, 'b')}), '', 'one that is detached is not published any more');
query("CREATE TABLE child (c integer, PRIMARY KEY (id)) INHERITS (t)");
is(emitted("INSERT INTO child (id) VALUES (1)"), '', 'a child of a table is another table');
publish("'child', 'y', columns => '{id,c}'");
is(emitted("INSERT INTO child (id) VALUES (1)"), 'y 1 {"id":1,"c":null}', '... and published as such');

note 'destinations';
query('CREATE TABLE orders (id integer, line smallint, customer text, note text, PRIMARY KEY (id, line))');
publish("'orders', 'x'");
publish("'orders', 'created', key => '{customer}', columns => '{note,id}', operations => '{insert}'");
publish("'orders', 'unordered', key => '{}', columns => '{id}', operations => '{insert,update}'");
is(emitted("INSERT INTO orders VALUES (1, 2, 'Ann', 'n'); UPDATE orders SET note = 'm'; DELETE FROM orders"),
	join("\n", '[1,2] {"id":1,"line":2,"customer":"Ann","note":"n"}', 'created Ann {"note":"n","id":1}',
		'unordered null {"id":1}', '[1,2] {"id":1,"line":2,"customer":"Ann","note":"m"}',
		'unordered null {"id":1}', '[1,2] gone'),
	'each with its own key, columns and operations');
fails_with($node, 'postgres', "INSERT INTO orders VALUES (1, 2)", '23502',
	qr/column "customer" of "orders" is null, but a key of events/, 'a key that is null');
query("SELECT outbox.unpublish_table('orders', 'created')");
query("ALTER TABLE orders DISABLE TRIGGER ALL; ALTER TABLE orders ENABLE TRIGGER ALL");
is(emitted("INSERT INTO orders VALUES (1, 2)"),
	qq([1,2] {"id":1,"line":2,"customer":null,"note":null}\nunordered null {"id":1}), 'one is unpublished');
query("SELECT outbox.unpublish_table('orders')");
is(emitted("INSERT INTO orders VALUES (1, 2)"), '', 'all are');
is(query("SELECT count(*) FROM pg_trigger WHERE tgrelid = 'orders'::regclass"), 0, 'nothing is left');

note 'who may write the table needs no right of ours';
query(<<~'END');
	CREATE ROLE writer; CREATE ROLE stranger;
	GRANT INSERT, UPDATE, DELETE, SELECT ON t TO writer;
	ALTER TABLE t ENABLE ROW LEVEL SECURITY;
	CREATE POLICY mine ON t TO writer USING (id > 1) WITH CHECK (true);
	END
is(query("BEGIN; SET ROLE writer; INSERT INTO t VALUES (8, 'rls'); DELETE FROM t WHERE id < 3; RESET ROLE; SELECT key FROM outbox.emitted(); ROLLBACK"),
	"8\n2", 'rows that a policy lets him change');
fails_with($node, 'postgres', "SET ROLE writer; SELECT outbox_emit('x', 'k', 'v')", '42501', qr/permission denied/, 'he cannot emit');
fails_with($node, 'postgres', "SET ROLE writer; SELECT outbox.$_", '42501', qr/permission denied/, "nor $_")
  for "publish_table('t', 'mine')", "unpublish_table('t')";
fails_with($node, 'postgres', "SET ROLE writer; CREATE TEMP TABLE mine (id int); CREATE TRIGGER mine AFTER INSERT ON mine FOR EACH ROW EXECUTE FUNCTION outbox.capture(1)",
	'42501', qr/permission denied/, 'nor have a trigger of ours');

note 'refused';
query('CREATE TABLE late (id integer PRIMARY KEY DEFERRABLE); CREATE TABLE bare (id integer, a text); CREATE VIEW v AS SELECT 1 AS id');
for (
	[ "NULL, 'x'", '42P01', qr/does not exist/ ],
	[ "'v', 'x'", '42809', qr/public.v cannot be published/ ],
	[ "'outbox.relay', 'x'", '42809', qr/cannot be published/ ],
	[ "'pg_class', 'x'", '42809', qr/cannot be published/ ],
	[ "'bare', 'x'", '42704', qr/table "bare" has no primary key/ ],
	[ "'late', 'x'", '42704', qr/table "late" has no primary key.*One that is DEFERRABLE does not count/s ],
	[ "'t', NULL", '22023', qr/topic must not be null/ ],
	[ "'t', 'a b'", '22023', qr/cannot be the name of a topic/ ],
	[ "'t', 'x', key => '{nix}'", '42703', qr/column "nix" of "t" does not exist/ ],
	[ "'t', 'x', columns => '{id,ctid}'", '42703', qr/column "ctid" of "t" does not exist/ ],
	[ "'t', 'x', columns => '{}'", '22023', qr/columns must not be empty/ ],
	[ "'t', 'x', columns => '{id,NULL}'", '22004', qr/null/ ],
	[ "'t', 'x', rename => '{\"nix\": \"y\"}'", '42703', qr/column "nix" of "t" does not exist/ ],
	[ "'t', 'x', rename => '{\"a\": 1}'", '22023', qr/rename must be an object of strings/ ],
	[ "'t', 'x', rename => '[]'", '22023', qr/rename must be an object of strings/ ],
	[ "'t', 'x', rename => '{\"a\": \"b\"}'", '42701', qr/two columns would be "b" in events/ ],
	[ "'t', 'x', columns => '{a,a}'", '42701', qr/two columns would be "a"/ ],
	[ "'t', 'x', operations => '{truncate}'", '22023', qr/operations cannot be/ ],
	[ "'t', 'x', operations => '{}'", '22023', qr/operations cannot be/ ])
{
	my ($arguments, $sqlstate, $message) = @$_;

	fails_with($node, 'postgres', "SELECT outbox.publish_table($arguments)", $sqlstate, $message, $arguments);
}
fails_with($node, 'postgres', "SELECT outbox.unpublish_table('bare')", '42704', qr/table public.bare is not published/, 'unpublish');
fails_with($node, 'postgres', 'SELECT outbox.capture()', '39P01', qr/must be called as a trigger of outbox.publish_table/, 'no trigger');
query("CREATE TRIGGER wrong BEFORE INSERT ON bare FOR EACH ROW EXECUTE FUNCTION outbox.capture(1)");
fails_with($node, 'postgres', 'INSERT INTO bare VALUES (1)', '39P01', qr/must be called as a trigger of outbox.publish_table/, 'one that we have not made');
query("DROP TRIGGER wrong ON bare; CREATE TRIGGER wrong AFTER INSERT ON bare FOR EACH ROW EXECUTE FUNCTION outbox.capture(999)");
fails_with($node, 'postgres', 'INSERT INTO bare VALUES (1)', '55000', qr/does not know where to/, 'one that is left');
query(<<~'END');
	CREATE TABLE alone (id bigint PRIMARY KEY, a text);
	DO $$ DECLARE id integer := (SELECT id FROM outbox.published_table WHERE relation = 't'::regclass AND topic = 'x');
	BEGIN
		EXECUTE format('CREATE TRIGGER %I AFTER INSERT ON alone FOR EACH ROW EXECUTE FUNCTION outbox.capture(%s)', '00_outbox_' || id, id);
	END $$
	END
fails_with($node, 'postgres', 'INSERT INTO alone VALUES (1)', '55000', qr/does not know where to/,
	'one from a dump of a table alone, whose number is that of another table');
query('DROP TABLE alone');
fails_with($node, 'postgres', q{BEGIN READ ONLY; SELECT outbox.publish_table('t', 'x')}, '25006', qr/read-only/, 'read-only');
fails_with($node, 'postgres', 'DROP EXTENSION outbox', '2BP01', qr/trigger 00_outbox_\d+ on table t depends on/,
	'who drops the extension is told of tables that are published');

note 'a dump, and a table that is gone';
query('CREATE TABLE fleeting (id integer PRIMARY KEY)');
publish("'fleeting', 'x'");
query('DROP TABLE fleeting');
is(query("SELECT count(*) FROM outbox.published_table WHERE relation::text !~ '^[a-z_.]+\$'"), 0, 'it is not told any more');
query('DROP TABLE bare; CREATE DATABASE restored');
my $file = PostgreSQL::Test::Utils::tempdir() . '/dump';
my $session = $node->background_psql('postgres');
$session->query_safe("CREATE TEMP TABLE mine (id integer PRIMARY KEY); SELECT outbox.publish_table('mine', 'x')");
$node->command_ok([ 'pg_dump', '-Fc', '-f', $file, $node->connstr('postgres') ], 'dumped');
$node->command_ok([ 'pg_restore', '-d', $node->connstr('restored'), $file ], '... and restored, without the temporary table of a session');
$session->query_safe('DROP TABLE mine');
$session->quit;
is( $node->safe_psql('restored', "BEGIN; DELETE FROM t WHERE id = 2; DELETE FROM part; SELECT topic, key FROM outbox.emitted(); ROLLBACK"),
	"x|2\nx|1", 'it is published there, too');
is( $node->safe_psql('restored', 'SELECT count(*) FROM outbox.published_table'),
	query('SELECT count(*) FROM outbox.published_table'), 'as here');
publish("'t', 'x'");
is(query('SELECT count(*) FROM outbox.capture'), query('SELECT count(*) FROM outbox.published_table'), 'the next call sweeps');

$node->stop;
done_testing();
