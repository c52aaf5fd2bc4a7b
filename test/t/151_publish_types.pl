# outbox.publish_table(): values of every type become the JSON that to_json()
# makes of them in UTC, whatever the session's settings are.
#
# Catches: a type whose text depends on DateStyle, the time zone or another
# setting; a number that JSON does not have; a string that is not escaped; arrays,
# composites and domains that are written as text.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use Test::More;

my $node = outbox_node('main', extension => 1, conf => 'outbox.enabled = off');
my $strange = <<~'END';
	SET LOCAL DateStyle = 'German'; SET LOCAL TimeZone = 'Asia/Kathmandu'; SET LOCAL IntervalStyle = 'iso_8601';
	SET LOCAL extra_float_digits = -10; SET LOCAL bytea_output = 'escape'; SET LOCAL search_path = pg_temp;
	END
my $plain = <<~'END';
	SET LOCAL DateStyle = 'ISO, MDY'; SET LOCAL TimeZone = 'UTC'; SET LOCAL IntervalStyle = 'postgres';
	SET LOCAL extra_float_digits = 1; SET LOCAL bytea_output = 'hex';
	END

query(<<~'END');
	CREATE TYPE mood AS ENUM ('sad', 'ha"ppy', '');
	CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
	CREATE DOMAIN positives AS positive[];
	CREATE TYPE point3 AS (x integer, "y ""z" text, at timestamptz);
	CREATE DOMAIN place AS point3;
	ALTER TYPE point3 ADD ATTRIBUTE gone integer; ALTER TYPE point3 DROP ATTRIBUTE gone;
	CREATE TYPE span AS RANGE (subtype = timestamptz);
	CREATE TABLE other (n integer, p point3[]);
	END

# Values of each type, as SQL
my %values = (
	boolean => [qw(true false)],
	smallint => [qw(-32768 0)],
	integer => [qw(-2147483648 2147483647)],
	bigint => [qw(-9223372036854775808 9223372036854775807)],
	real => [ qw(0.1 -1e-20 3.4e38 -0), q('NaN'), q('-Infinity') ],
	'double precision' => [ qw(0.1 1e300 5e-324 123456789012345680), q('Infinity'), q('NaN') ],
	numeric => [ qw(0 -0.00 12345678901234567890.123456789), '1e200', q('NaN'), q('Infinity') ],
	'numeric(10,2)' => [qw(1.5 -99999999.99)],
	money => ['1234.5'],
	text => [ q(''), q('a"b\c/'), q(E'\b\f\n\r\t\x01\x1f\x7f'), "'\x{e2}\x{82}\x{ac}'", q(repeat('long ', 10000)) ],
	'varchar(5)' => [q('abc')],
	'char(5)' => [q('abc')],
	name => [q('a"b')],
	'"char"' => [q('"')],
	bytea => [ q('\x'), q('\x00ff5c22'), q(decode(repeat('ff', 5000), 'hex')) ],
	date => [ q('2024-02-29'), q('infinity'), q('0044-03-15 BC') ],
	timestamp => [ q('2024-02-29 23:59:59.123456'), q('-infinity'), q('294276-12-31 23:59:59') ],
	timestamptz => [ q('2024-02-29 23:59:59.1+05:45'), q('infinity'), q('1883-11-18 12:00 America/New_York') ],
	time => [ q('24:00'), q('01:02:03.4') ],
	timetz => [q('01:02:03+05:45')],
	interval => [ q('1 year -2 mons 3 days -04:05:06.7'), q('0') ],
	uuid => [q('A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11')],
	json => [ q('{"a": [1,  "x\"y", null], "a": 1e5}'), q('"s"') ],
	jsonb => [ q('{"b": 1, "a": [1.50, "x\"y", null, true]}'), q('null') ],
	xml => [q('<a b="c"/>')],
	inet => [q('192.168.0.1/24')],
	cidr => [q('2001:db8::/32')],
	macaddr => [q('08:00:2b:01:02:03')],
	'bit(3)' => [q(B'101')],
	point => [q('(0.12345678901234567,-2)')],
	tsvector => [q('a "b c":1')],
	oid => ['4294967295'],
	regclass => [q('pg_class')],
	pg_lsn => [q('16/B374D848')],
	int4range => [ "'[1,10)'", q('empty') ],
	daterange => ["'[2024-01-02,infinity)'"],
	tstzrange => ["'[2024-01-02 00:00+05:45,)'"],
	tstzmultirange => ["'{[2024-01-02 00:00+05:45,2024-01-03)}'"],
	span => ["'[2024-01-02 00:00+05:45,)'"],
	mood => [ q('sad'), q('ha"ppy'), q('') ],
	positive => [7],
	positives => [q('{1,2}')],
	point3 => [ q(ROW(1, 'a"b', '2024-01-02 00:00+05:45')), q(ROW(NULL, NULL, NULL)) ],
	place => [q(ROW(1, 'x', 'infinity'))],
	other => [q(ROW(1, ARRAY[ROW(1, NULL, NULL), NULL]::public.point3[]))],
	int2vector => [q('1 2')],
	'integer[]' => [ q('{}'), q('{1,NULL,3}'), q('{{1,2},{3,4}}'), q('[2:3]={5,6}'), q('{{{1},{2}},{{3},{4}}}') ],
	'text[]' => [q(ARRAY['a"b', '', NULL, '{}'])],
	'numeric[]' => [q('{NaN,1.50}')],
	'timestamptz[]' => [q('{"2024-01-02 00:00+05:45",infinity}')],
	'jsonb[]' => [q(ARRAY['{"a": 1}', NULL]::jsonb[])],
	'mood[]' => [q('{sad,"ha\"ppy"}')],
	'point3[]' => [q(ARRAY[ROW(1, 'x', NULL)]::public.point3[])],
	'bytea[]' => [q(ARRAY['\x01'::bytea])]);

for my $type (sort keys %values)
{
	my $n = 0;
	my $rows = join ', ', map { '(' . ++$n . ", $_)" } @{ $values{$type} }, 'NULL';

	query("DROP TABLE IF EXISTS t; CREATE TABLE t (id integer PRIMARY KEY, v $type)");
	query("SELECT outbox.publish_table('t', 't', columns => '{v}')");
	is(query(<<~END), "$n|", $type);
		BEGIN;
		$strange
		INSERT INTO public.t VALUES $rows;
		$plain
		SELECT count(*), string_agg(format('got %s, should be %s', e.payload, t.json), E'\n')
			FILTER (WHERE e.payload IS DISTINCT FROM t.json)
		FROM (SELECT key, convert_from(payload, 'UTF8') AS payload FROM outbox.emitted()) e
			JOIN (SELECT id::text AS key, '{"v":' || COALESCE(to_json(v)::text, 'null') || '}' AS json
				FROM public.t) t USING (key);
		ROLLBACK;
		END
}

note 'keys';
for (
	[ text => q('a"b'), 'a"b' ],
	[ integer => -7, -7 ],
	[ numeric => '1.500', '1.5' ],
	[ uuid => q('A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'), 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11' ],
	[ timestamptz => q('2024-02-29 23:59:59.1+05:45'), '2024-02-29T18:14:59.1+00:00' ],
	[ bytea => q('\x00ff'), '\x00ff' ],
	[ mood => q('ha"ppy'), 'ha"ppy' ],
	[ boolean => 'true', 'true' ],
	[ interval => q('1 day'), '1 day' ],
	[ date => q('2024-02-29'), '2024-02-29' ],
	[ 'integer[]' => q('{1,2}'), '[1,2]' ],
	[ positive => 3, 3 ])
{
	my ($type, $value, $key) = @$_;

	query("DROP TABLE IF EXISTS t; CREATE TABLE t (k $type PRIMARY KEY)");
	query("SELECT outbox.publish_table('t', 't')");
	is(query("BEGIN; $strange INSERT INTO public.t VALUES ($value); DELETE FROM public.t; SELECT DISTINCT key FROM outbox.emitted(); ROLLBACK"),
		$key, $type);
}
query(q{DROP TABLE t; CREATE TABLE t (a text, b timestamptz, c numeric, PRIMARY KEY (a, c, b)); SELECT outbox.publish_table('t', 't')});
is(query(qq{BEGIN; $strange INSERT INTO public.t VALUES ('x"y', '2024-02-29 12:00+00', 1.50); SELECT key FROM outbox.emitted(); ROLLBACK}),
	'["x\"y",1.50,"2024-02-29T12:00:00+00:00"]', 'several columns');
is(query("BEGIN; $strange INSERT INTO public.t VALUES ('x', now(), 1); SHOW DateStyle; SHOW search_path; ROLLBACK"),
	"German, DMY\npg_temp", 'settings are what they were');

SKIP:
{
	note 'virtual generated columns';
	skip 'there are none in this PostgreSQL', 6 if $node->pg_version < 18;
	query(<<~'END');
		CREATE TABLE virtual (id integer PRIMARY KEY, a text, twice text GENERATED ALWAYS AS (a || a) VIRTUAL,
			n numeric, half numeric GENERATED ALWAYS AS (n / 2));
		SELECT outbox.publish_table('virtual', 'all');
		SELECT outbox.publish_table('virtual', 'some', key => '{twice}', columns => '{half}', condition => 'twice <> ''bb''');
		END
	my $emitted = q{SELECT topic, key, COALESCE(convert_from(payload, 'UTF8'), 'gone') FROM outbox.emitted()};
	is(query("BEGIN; INSERT INTO virtual (id, a, n) VALUES (1, 'a', 3), (2, 'b', NULL); $emitted ORDER BY topic; ROLLBACK"),
		join("\n", 'all|1|{"id":1,"a":"a","twice":"aa","n":3,"half":1.5000000000000000}',
			'all|2|{"id":2,"a":"b","twice":"bb","n":null,"half":null}', 'some|aa|{"half":1.5000000000000000}'), 'they are computed');
	query("INSERT INTO virtual VALUES (1, 'a', DEFAULT, 4)");
	is(query("BEGIN; UPDATE virtual SET n = 5; $emitted WHERE topic = 'some'; ROLLBACK"),
		'some|aa|{"half":2.5000000000000000}', 'one that changes with another');
	is(query("BEGIN; UPDATE virtual SET a = 'b'; $emitted WHERE topic = 'some'; ROLLBACK"), 'some|aa|gone', 'in a condition');
	is(query("BEGIN; UPDATE virtual SET a = 'c'; $emitted WHERE topic = 'some'; ROLLBACK"),
		qq(some|aa|gone\nsome|cc|{"half":2.0000000000000000}), 'in a key');
	is(query("BEGIN; UPDATE virtual SET a = a; $emitted; ROLLBACK"), '', 'an update that changes nothing');
	query("ALTER TABLE virtual ALTER twice SET EXPRESSION AS ('<' || a || '>')");
	is(query("BEGIN; DELETE FROM virtual; $emitted WHERE topic = 'some'; ROLLBACK"), 'some|<a>|gone', 'one that is computed otherwise from now on');
}

note 'other encodings';
query("CREATE DATABASE latin ENCODING latin1 LOCALE 'C' TEMPLATE template0");
$node->safe_psql('latin', "CREATE EXTENSION outbox; CREATE TABLE t (id integer PRIMARY KEY, v text); SELECT outbox.publish_table('t', 't')");
is($node->safe_psql('latin', q{BEGIN; INSERT INTO t VALUES (1, chr(228)); SELECT payload FROM outbox.emitted(); ROLLBACK}),
	'\x7b226964223a312c2276223a22c3a4227d', 'events are in UTF-8');

note 'sizes';
query(q{CREATE TABLE large (id integer PRIMARY KEY, v text); SELECT outbox.publish_table('large', 't')});
fails_with($node, 'postgres', q{INSERT INTO large VALUES (1, repeat('x', 1000000))}, '54000', qr/event of \d+ bytes is too large/,
	'a row that is too large');

$node->stop;
done_testing();
