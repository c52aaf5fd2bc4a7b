# Whatever cannot be sent is refused at the call, in every encoding of a
# database: Kafka gets UTF-8. Also: an empty key is a key with every
# partitioner, and a delayed event has the time when it was due.
#
# Catches: keys and headers that only the relay finds out about, which then
# fails on them at each restart.

use strict;
use warnings;

use OutboxTest;
use Test::More;

my $mock = OutboxTest::Mock->new(topics => { encodings => 1, empty => 8 });
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1,
	conf => <<~'END');
		outbox.kafka_properties = 'partitioner=consistent_random'
		END

# For each encoding: what cannot be sent, and bytes that can, with the same in
# UTF-8.
my @encodings = (
	[ SQL_ASCII => q(E'M\\374ller'), '22021', q(E'M\\303\\274ller'), 'Müller' ],
	[ WIN1252 => 'chr(129)', '22P05', q(E'M\\374ller'), 'Müller' ],
	[ WIN1253 => 'chr(170)', '22P05', q(E'\\341'), 'α' ],
	[ EUC_JP => q(E'\\251\\251'), '22P05', q(E'\\244\\242'), 'あ' ]);

# The SQLSTATE of a call, and whether there was a hint.
sub attempt
{
	my ($db, $arguments) = @_;
	my (undef, undef, $stderr) = $node->psql($db, <<~END, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
		SET client_encoding = 'SQL_ASCII';
		SELECT outbox_emit('encodings', $arguments);
		END

	my ($sqlstate) = $stderr =~ /ERROR:  (\w+)/ or return 'accepted';
	return $sqlstate . ($stderr =~ /HINT:  Kafka gets text in UTF-8/ ? ' hint' : '');
}

for my $case (@encodings)
{
	my ($encoding, $bad, $sqlstate, $good, $utf8) = @$case;
	my $db = lc $encoding;

	note $encoding;
	$node->safe_psql('postgres', qq{CREATE DATABASE $db TEMPLATE template0
		ENCODING '$encoding' LC_COLLATE 'C' LC_CTYPE 'C'});
	$node->safe_psql($db, 'CREATE EXTENSION outbox');
	is(attempt($db, "$bad, 'x'"), "$sqlstate hint", "$encoding: key");
	is(attempt($db, "($bad)::varchar, 'x'"), "$sqlstate hint", 'varchar');
	is(attempt($db, "NULL, $bad"), "$sqlstate hint", 'payload');
	is(attempt($db, "NULL, to_json(($bad)::text)"), "$sqlstate hint", 'json');
	is(attempt($db, "NULL, 'x', jsonb_build_object($bad, 1)"),
		"$sqlstate hint", 'name of a header');
	is(attempt($db, "NULL, 'x', jsonb_build_object('a', $bad)"),
		"$sqlstate hint", 'value of a header');
	is(attempt($db, "NULL, '\\x8174fc'::bytea"), 'accepted', 'bytea');
	is(attempt($db, "$good, $good, jsonb_build_object($good, $good)"),
		'accepted', 'what can be sent');

	ok(wait_published($node, $db) && $consumer->drain, 'published');
	my $record = ($consumer->records)[-1];
	is_deeply(
		[ @$record{qw(key payload)}, @{ $record->{headers}->[0] } ],
		[ ($utf8) x 4 ],
		'in UTF-8');
	is($node->safe_psql($db, 'SELECT last_error IS NULL FROM outbox.stat_relay'),
		't', 'the relay has had no trouble');
}

note 'an empty key';
$node->safe_psql('postgres', q{SELECT count(outbox_emit('empty', '', n::text))
	FROM generate_series(1, 50) n});
ok(wait_published($node) && $consumer->drain, 'published');
my @empty = grep { $_->{topic} eq 'empty' } $consumer->records;
is(scalar @empty, 50, 'all have arrived');
is(scalar(grep { $_->{partition} != $empty[0]->{partition} } @empty),
	0, 'in one partition');
is_deeply([ map { $_->{payload} } @empty ], [ 1 .. 50 ], 'in order');
is($empty[0]->{key}, '', 'with a key that is empty');

note 'a delayed event';
my $due = $node->safe_psql('postgres', <<~'END');
	CREATE TABLE due AS SELECT clock_timestamp() + interval '2 s' AS t;
	SELECT outbox_emit('encodings', 'k', 'delayed', deliver_at => t) FROM due \g /dev/null
	SELECT floor(extract(epoch FROM t) * 1000) FROM due;
	END
$node->poll_query_until('postgres', 'SELECT delayed = 0 FROM outbox.stat_relay');
ok(wait_published($node) && $consumer->drain, 'published');
my ($delayed) = grep { ($_->{payload} // '') eq 'delayed' } $consumer->records;
is($delayed->{timestamp}, $due, 'has the time when it was due');

$node->stop;
done_testing();
