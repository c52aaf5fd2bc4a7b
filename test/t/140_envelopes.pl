# What headers a record has: the event's own, and those of its relay's envelope,
# which are made from the row when it is published.
#
# Catches: bytes that arrive as the text they are written in, or cut off at a
# zero; two headers of one name, or an envelope that wins over what the
# application has said; an envelope that stays until a restart, or is that of the
# time of the call; a name of a database that is no URI.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use Test::More;

my @envelopes = qw(none plain cloudevents debezium);
my $mock = OutboxTest::Mock->new(topics => { t => 1, copies => 1, refused => 1, 'outbox.event.Order' => 1 });
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1,
	conf => <<~'END');
		outbox.retry_base_delay = 50ms
		outbox.retry_max_attempts = 1
		END

# The headers of each record since the last call, as name=value, one a line
sub headers
{
	ok($consumer->drain, 'read');
	return map {
		join "\n", map { "$_->[0]=" . ($_->[1] // 'NULL') } @{ $_->{headers} }
	} $consumer->take;
}

# Emits events, a list of further arguments for each; the headers of each, with
# %i for its id and %t for its time.
sub sent
{
	my ($db, @arguments) = @_;
	my @events = map { [ split /\|/ ] } split /\n/, $node->safe_psql($db, join "\n",
		'BEGIN;',
		'\o /dev/null',
		(map { "SELECT outbox_emit('t', 'k', 'x', $_);" } @arguments),
		'\o',
		q{SELECT event_id, to_char(emitted_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
			FROM outbox.emitted();},
		'COMMIT;');
	ok(wait_published($node, $db), 'published');
	my @records = headers();
	for my $i (0 .. $#events)
	{
		$records[$i] =~ s/\b$events[$i][0]\b/%i/g;
		$records[$i] =~ s/\Q$events[$i][1]\E/%t/g;
	}
	return @records;
}

sub set_envelope
{
	query("SELECT outbox.alter_relay('default', event_headers => '$_[0]')");
	return;
}

note 'bytes';
is_deeply(
	[ sent('postgres', q('{"a": {"base64": "AAEC/wo="}, "b": {"base64": ""}, "c": "base64", "d": null}')) ],
	["a=\0\1\2\xff\n\nb=\nc=base64\nd=NULL\nevent_id=%i"],
	'are decoded');

# Arguments of a call, and what is sent by none, plain, cloudevents, debezium
my $ce = 'ce_specversion=1.0 ce_id=%i ce_source=/postgres ce_type=t ce_time=%t';
my @expected = (
	[ 'NULL', '', 'event_id=%i', $ce, 'id=%i' ],
	[ q('{}'), '', 'event_id=%i', $ce, 'id=%i' ],
	[ q('{"a": 1}'), 'a=1', 'a=1 event_id=%i', "a=1 $ce", 'a=1 id=%i' ],
	[   q(NULL, type => 'shop.paid', source => '/shop', content_type => 'text/plain'),
		'',
		'event_type=shop.paid event_source=/shop content-type=text/plain event_id=%i',
		'ce_specversion=1.0 ce_id=%i ce_source=/shop ce_type=shop.paid ce_time=%t content-type=text/plain',
		'id=%i eventType=shop.paid'
	],
	[   q('{"event_type": "o", "event_source": "o", "content-type": "o", "eventType": "o", "id": ""}', type => 't', source => 's', content_type => 'c'),
		'id= eventType=o event_type=o content-type=o event_source=o',
		'id= eventType=o event_type=o content-type=o event_source=o event_id=%i',
		'id= eventType=o event_type=o content-type=o event_source=o ce_specversion=1.0 ce_id=%i ce_source=s ce_type=t ce_time=%t',
		'id= eventType=o event_type=o content-type=o event_source=o'
	],
	[   q(NULL, event_id => '00000000-0000-0000-0000-000000000001', type => 'größe'),
		'', 'event_type=größe event_id=%i', $ce =~ s/ce_type=t/ce_type=größe/r, 'id=%i eventType=größe'
	],
	[   q('{"id": "own", "ce_id": null}'),
		'id=own ce_id=NULL',
		'id=own ce_id=NULL event_id=%i',
		'id=own ce_id=NULL ce_specversion=1.0 ce_source=/postgres ce_type=t ce_time=%t',
		'id=own ce_id=NULL'
	],
	[   q('{"ce_subject": "s", "ce_source": "/o", "ce_type": "o", "ce_time": "now", "ce_specversion": "2"}'),
		'ce_time=now ce_type=o ce_source=/o ce_subject=s ce_specversion=2',
		'ce_time=now ce_type=o ce_source=/o ce_subject=s ce_specversion=2 event_id=%i',
		'ce_time=now ce_type=o ce_source=/o ce_subject=s ce_specversion=2 ce_id=%i',
		'ce_time=now ce_type=o ce_source=/o ce_subject=s ce_specversion=2 id=%i'
	],
);

for my $i (0 .. $#envelopes)
{
	note $envelopes[$i];
	set_envelope($envelopes[$i]);
	my @records = sent('postgres', map { $_->[0] } @expected);
	is($records[$_] =~ s/\n/ /gr, $expected[$_][ $i + 1 ], "$envelopes[$i]: $expected[$_][0]")
	  for 0 .. $#expected;
}

# As Debezium's router makes of a row of (id, aggregatetype, aggregateid, type,
# payload), with type:header:eventType: aggregatetype is in the topic's name.
note 'what Debezium sends';
query(<<~'END');
	SELECT outbox_emit('outbox.event.Order', 1, '{"id": 1, "lines": [{"id": 2}]}'::jsonb, type => 'OrderCreated',
		event_id => '406c07f3-26f0-4eea-a50c-109940064b8f');
	SELECT outbox_emit('outbox.event.Order', 'a"b', 'plain', event_id => '406c07f3-26f0-4eea-a50c-109940064b90');
	SELECT outbox_emit('outbox.event.Order', 1, NULL, type => 'OrderDeleted',
		event_id => '406c07f3-26f0-4eea-a50c-109940064b91');
	END
ok(wait_published($node) && $consumer->drain, 'published');
is_deeply(
	[ map { [ @$_{qw(topic key payload)}, map { @$_ } @{ $_->{headers} } ] } $consumer->take ],
	[   [   'outbox.event.Order', '1', '{"id": 1, "lines": [{"id": 2}]}',
			id => '406c07f3-26f0-4eea-a50c-109940064b8f',
			eventType => 'OrderCreated'
		],
		[ 'outbox.event.Order', 'a"b', 'plain', id => '406c07f3-26f0-4eea-a50c-109940064b90' ],
		[   'outbox.event.Order', '1', undef,
			id => '406c07f3-26f0-4eea-a50c-109940064b91',
			eventType => 'OrderDeleted'
		]
	],
	'is what a consumer of Debezium expects');

note 'the setting, and a source';
query(q{SELECT outbox.alter_relay('default', reset => '{event_headers}')});
is_deeply([ sent('postgres', 'NULL') ], ['event_id=%i'], 'plain, without any');
conf_taken($node, <<~'END');
	outbox.event_headers = cloudevents
	outbox.event_source = 'https://shop.example/orders'
	END
is( (sent('postgres', 'NULL'))[0] =~ s/\n/ /gr,
	$ce =~ s{/postgres}{https://shop.example/orders}r,
	'as set');

for my $source ('no uri', 'ä', '%zz', '1:x', 'a#b#c', 'x' x 251)
{
	my (undef, undef, $stderr) =
	  $node->psql('postgres', "ALTER SYSTEM SET outbox.event_source = '$source'");
	like($stderr, qr/invalid value for parameter "outbox.event_source"/, "not '$source'");
}
for my $source ('urn:x', '/a/b?c=d#e', 'a/b:c', '%C3%A4', 'x' x 250)
{
	my (undef, undef, $stderr) =
	  $node->psql('postgres', "ALTER SYSTEM SET outbox.event_source = '$source'");
	is($stderr, '', "but '$source'");
}
query('ALTER SYSTEM RESET outbox.event_source');

note 'copies of the same row';
$mock->command('refuse refused UNKNOWN_TOPIC_OR_PART');
query(q{SELECT outbox.alter_relay('default', event_headers => 'debezium', dead_letter_topic => 'copies')});
my $id = query(q{SELECT outbox_emit('refused', 'k', 'x', '{"a": 1}', type => 'kind')});
wait_rows(0, 'announced_at IS NULL');
wait_until(undef, sub { $consumer->drain; $consumer->count == 1 }, 'a copy');
like((headers())[0], qr/^a=1\n.*dead_letter_topic=refused.*\nid=$id\neventType=kind$/s,
	'a copy of a dead letter has the envelope');
set_envelope('plain');
($id, my $event_id) = split /\|/,
  query(q{SELECT id, event_id FROM outbox.event WHERE topic = 't' ORDER BY id DESC LIMIT 1});
my $replay = query(qq{SELECT outbox.replay(first_id => $id, last_id => $id)});
wait_until(undef, sub { $consumer->drain; $consumer->count == 1 }, 'a replay');
is((headers())[0], "outbox_replay=$replay\nevent_id=$event_id",
	'a replay has that of today, not of then');

note 'a database with another name';
$node->safe_psql('postgres', 'CREATE DATABASE "a/b ä"');
$node->safe_psql('a/b ä', 'CREATE EXTENSION outbox');
conf_taken($node, "outbox.event_source = ''");
like((sent('a/b ä', 'NULL'))[0], qr{^ce_source=/a%2Fb%20%C3%A4$}m,
	'becomes a path of a URI');

$node->stop;
done_testing();
