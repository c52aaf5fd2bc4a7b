# The basic job: what was committed arrives as it was emitted, and what was
# rolled back does not.
#
# Catches: a product that mangles a type, a key or a header, mistakes NULL for
# empty, publishes what a savepoint or an exception block took back, changes the
# order within a transaction, or chooses other partitions than the Java clients.

use strict;
use warnings;

use OutboxTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $uuid = '01890a5d-ac96-774b-bcce-b302099a8057';

# arguments of outbox_emit() => key, payload, FROM, headers without event_id
my @cases = (
	[ "'k', 'text grüße €'" => 'k', 'text grüße €' ],
	[ "'k', ''" => 'k', '' ],
	[ "'k', 'v'::varchar(9)" => 'k', 'v' ],
	[ "'k', 'name'::name" => 'k', 'name' ],
	[ q('k', '{"b": "ü",  "a":1}'::jsonb) => 'k', '{"a": 1, "b": "ü"}' ],
	[ q('k', '{"b": "ü",  "a":1}'::json) => 'k', '{"b": "ü",  "a":1}' ],
	[ q('k', '[null]'::document) => 'k', '[null]' ],
	[ q('k', '\x00ff0a0900'::bytea) => 'k', "\x00\xff\x0a\x09\x00" ],
	[ q('k', ''::bytea) => 'k', '' ],
	[ "'k', r" => 'k', '{"id":7,"label":"row \"7\""}', 'FROM r' ],
	[ "'k', NULL" => 'k', undef ],
	[ "'k', NULL::jsonb" => 'k', undef ],
	[ "NULL, NULL" => undef, undef ],
	[ "NULL, 'x'" => undef, 'x' ],
	[ "'', 'x'" => '', 'x' ],
	[ "'Schlüssel', 'x'" => 'Schlüssel', 'x' ],
	[ "'v'::varchar, 'x'" => 'v', 'x' ],
	[ "1::smallint, 'x'" => '1', 'x' ],
	[ "-2, '{}'::jsonb" => '-2', '{}' ],
	[ "9007199254740993, 'x'" => '9007199254740993', 'x' ],
	[ "12.50, 'x'" => '12.5', 'x' ],
	[ "'$uuid'::uuid, '\\x00'::bytea" => $uuid, "\x00" ],
	[ "4000000000::oid, 'x'" => '4000000000', 'x' ],
	[ "'high'::level, 'x'" => 'high', 'x' ],
	[ "5::item_id, 'x'" => '5', 'x' ],
	[ "'k', 'x', NULL" => 'k', 'x' ],
	[ "'k', 'x', '{}'" => 'k', 'x' ],
	[
		q('k', 'x', '{"name": "ü", "e": "", "n": 1.50, "t": true, "z": null}')
		  => 'k', 'x', '',
		[ [ e => '' ], [ n => '1.50' ], [ t => 'true' ], [ z => undef ],
			[ name => 'ü' ] ]
	]);

$_->[3] //= '' for @cases;

my $mock = OutboxTest::Mock->new(
	topics => { types => 1, tx => 1, murmur => 12, latin => 1, later => 1 });
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1,
	extra => [ '--encoding=UTF8', '--locale=C' ]);

# All that the topic holds once everything is published.
sub arrived
{
	my ($topic, $db) = @_;

	ok(wait_published($node, $db), "$topic: published");
	$consumer->drain or die 'the consumer does not come to the end';
	return grep { $_->{topic} eq $topic } $consumer->records;
}

sub payloads { return [ map { $_->{payload} } @_ ]; }

note 'every type';
$node->safe_psql('postgres', <<~'END');
	CREATE TYPE level AS ENUM ('low', 'high');
	CREATE DOMAIN item_id AS bigint;
	CREATE DOMAIN document AS jsonb;
	CREATE TABLE r AS SELECT 7 AS id, 'row "7"' AS label;
	END
my @ids = split /\n/, $node->safe_psql(
	'postgres',
	join '', map { "SELECT outbox_emit('types', $_->[0]) $_->[3];\n" } @cases);
my @records = arrived('types');
my %by_id = map { ($_->{event_id} => $_) } @records;
is(scalar @records, scalar @cases, 'types: one record each');
for my $i (0 .. $#cases)
{
	my ($arguments, $key, $payload, undef, $headers) = @{ $cases[$i] };
	my %record = %{ $by_id{ $ids[$i] } // {} };

	is_deeply(
		[ @record{qw(key payload headers)} ],
		[ $key, $payload, [ @{ $headers // [] }, [ event_id => $ids[$i] ] ] ],
		"types: $arguments");
}

note 'timestamp: not the start of the transaction, which is earlier';
my ($before, $after) = split /\n/, $node->safe_psql('postgres', <<~'END');
	BEGIN;
	SELECT clock_timestamp() AS started \gset
	DO $$ BEGIN WHILE clock_timestamp() < now() + '20 ms' LOOP END LOOP; END $$;
	SELECT floor(1000 * extract(epoch FROM clock_timestamp()));
	SELECT outbox_emit('later', 'k', 'x') AS event_id \gset
	SELECT floor(1000 * extract(epoch FROM clock_timestamp()));
	DO $$ BEGIN WHILE clock_timestamp() < now() + '40 ms' LOOP END LOOP; END $$;
	COMMIT;
	END
my ($record) = arrived('later');
cmp_ok($record->{timestamp}, '>=', $before, 'timestamp: not before the emit');
cmp_ok($record->{timestamp}, '<=', $after, 'timestamp: not after the emit');

note 'transactions';
$node->safe_psql('postgres', <<~'END');
	CREATE TABLE once (n int UNIQUE DEFERRABLE INITIALLY DEFERRED);
	INSERT INTO once VALUES (1);
	END
$node->psql('postgres', <<~'END', on_error_stop => 0);
	BEGIN; SELECT outbox_emit('tx', 'k', 'rolled back'); ROLLBACK;
	SELECT outbox_emit('tx', 'k', 'failed'), 1 / (random() * 0)::int;
	BEGIN;
	SELECT outbox_emit('tx', 'k', 'not committed');
	INSERT INTO once VALUES (1);
	COMMIT;
	BEGIN; SELECT outbox_emit('tx', 'k', 'aborted'); SELECT 1 / 0; COMMIT;
	BEGIN;
	SELECT outbox_emit('tx', 'k', 'a1');
	SAVEPOINT s;
	SELECT outbox_emit('tx', 'k', 'in s');
	ROLLBACK TO s;
	SELECT outbox_emit('tx', 'k', 'a2');
	SAVEPOINT t;
	SELECT outbox_emit('tx', 'k', 'a3');
	RELEASE t;
	SAVEPOINT u;
	SAVEPOINT v;
	SELECT outbox_emit('tx', 'k', 'in v, in u');
	RELEASE v;
	ROLLBACK TO u;
	SELECT outbox_emit('tx', 'k', 'a4');
	COMMIT;
	DO $$
	BEGIN
		PERFORM outbox_emit('tx', 'k', 'b1');
		BEGIN
			PERFORM outbox_emit('tx', 'k', 'in the block');
			RAISE 'no';
		EXCEPTION WHEN OTHERS THEN
			PERFORM outbox_emit('tx', 'k', 'b2');
		END;
		BEGIN
			PERFORM outbox_emit('tx', 'k', 'b3');
		EXCEPTION WHEN OTHERS THEN NULL;
		END;
	END $$;
	SELECT outbox_emit('tx', i, i::text) FROM generate_series(1, 3000) i;
	END
is_deeply(
	payloads(arrived('tx')),
	[ qw(a1 a2 a3 a4 b1 b2 b3), 1 .. 3000 ],
	'exactly what was committed, in the order of the calls');

note 'partitions, by the vectors of Kafka\'s own test of murmur2';
my %murmur2 = (
	'21' => -973932308,
	'abc' => 479470107,
	'foobar' => -790332482,
	'a-little-bit-long-string' => -985981536,
	'a-little-bit-longer-string' => -1486304829,
	'lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8' => -58897971);
$node->safe_psql('postgres',
	join '', map { "SELECT outbox_emit('murmur', '$_', 'x');\n" } keys %murmur2);
is_deeply(
	{ map { $_->{key} => $_->{partition} } arrived('murmur') },
	{ map { $_ => ($murmur2{$_} & 0x7fffffff) % 12 } keys %murmur2 },
	'keys meet the partitions of the Java clients');

note 'UTF-8 whatever the encoding of the database';
$node->safe_psql('postgres', q{CREATE DATABASE latin1 TEMPLATE template0
	ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'});
$node->safe_psql('latin1', <<~'END');
	SET client_encoding = 'UTF8';
	CREATE EXTENSION outbox;
	CREATE TABLE r AS SELECT 'é' AS "ä";
	SELECT outbox_emit('latin', 'Schlüssel', 'grüße', '{"hä": "tür", "a": 1}');
	SELECT outbox_emit('latin', 'ü'::varchar, '{"ä": "é"}'::jsonb);
	SELECT outbox_emit('latin', 'ü'::name, r) FROM r;
	SELECT outbox_emit('latin', NULL, '\xe4'::bytea);
	END
is_deeply(
	[
		map { [ @$_{qw(key payload)} ] }
		  sort { !defined $a->{key} <=> !defined $b->{key} }
		  arrived('latin', 'latin1')
	],
	[
		[ 'Schlüssel', 'grüße' ], [ 'ü', '{"ä": "é"}' ],
		[ 'ü', '{"ä":"é"}' ], [ undef, "\xe4" ]
	],
	'keys and payloads');
($record) = grep { $_->{topic} eq 'latin' && ($_->{key} // '') eq 'Schlüssel' } $consumer->records;
is_deeply([ @{ $record->{headers} }[ 0, 1 ] ],
	[ [ a => '1' ], [ 'hä' => 'tür' ] ], 'names and values of headers');

note 'size';
$node->safe_psql('postgres', <<~'END');
	SELECT outbox_emit('later', 'k', repeat('x', 999946), '{"name": "value"}'),
		outbox_emit('later', 'k', 'next');
	END
@records = arrived('later');
is(length $records[1]->{payload}, 999946, 'an event of outbox.max_event_size');
is($records[2]->{payload}, 'next', 'and the next one');
my ($rc, undef, $error) = $node->psql('postgres',
	q(SELECT outbox_emit('later', 'k', repeat('x', 1000000))));
is($rc, 3, 'a larger one is refused');
like($error, qr/event of 1000045 bytes is too large/, 'with its size');

note 'figures';
my @all = grep { $_->{topic} ne 'latin' } $consumer->records;
is(relay_state($node), 'publishing', 'state');
is($node->safe_psql('postgres', <<~'END'), "f|t|t|0|${\ scalar @all}|t", 'stat_relay');
	SELECT pid = pg_backend_pid(),
		pid = (SELECT pid FROM pg_stat_activity
			WHERE backend_type = 'outbox relay' AND datname = 'postgres'),
		position = (SELECT last_value FROM outbox.event_id_seq),
		pending_events, published, last_error IS NULL
	FROM outbox.stat_relay
	END
ok($node->poll_query_until('postgres',
		'SELECT written_position = position FROM outbox.stat_relay'),
	'the position is written by itself');
is($node->safe_psql('latin1', 'SELECT published FROM outbox.stat_relay'),
	4, 'figures are of one database');

note 'wait_published';
$mock->command('down');
is($node->safe_psql('postgres', <<~'END'), 'f', 'false at the timeout');
	SELECT outbox_emit('later', 'k', 'late') AS id \gset
	SELECT outbox.wait_published('100 ms');
	END
is($node->safe_psql('postgres',
		'SELECT pending_events FROM outbox.stat_relay'), 1, 'pending event');
$mock->command('up');
is(payloads(arrived('later'))->[-1], 'late', 'true when it has arrived');

my $count = 'SELECT count(*) FROM outbox.event';
is( $node->safe_psql('postgres', $count)
	  + $node->safe_psql('latin1', $count),
	$consumer->count,
	'nothing else was stored or published');
$node->stop;
done_testing();
