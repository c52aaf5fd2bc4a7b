# What real consumers make of the records, from a real Kafka: the SDKs of
# CloudEvents for Python and JavaScript, and Confluent's deserialisers, which
# find the number of a schema in front of the value, or its GUID in a header.
#
# Catches: attributes that an SDK does not find, refuses, or reads as others; a
# value that is changed on its way; a GUID that is not in the order of bytes
# that Confluent has.

use strict;
use warnings;

use JSON::PP;
use MIME::Base64;
use OutboxTest;
use OutboxTest::Kafka;
use Test::More;

if (my $why = OutboxTest::Kafka->skip_reason)
{
	plan skip_all => $why;
}

my $kafka = OutboxTest::Kafka->new;
my $node = outbox_node('main', bootstrap => $kafka->bootstrap, extension => 1);

sub installed
{
	return IPC::Run::run([@_], '<', \undef, '>', \my $out, '2>', \my $err);
}

# What a program writes: lines of JSON
sub lines_of
{
	my (@command) = @_;
	my ($out, $err);

	IPC::Run::run(\@command, '<', \undef, '>', \$out, '2>', \$err)
	  or fail("@command: $err");
	return map { decode_json($_) } split /\n/, $out;
}

my $python = $ENV{OUTBOX_CONSUMERS_PYTHON} // '';
my $has_python = installed($python, '-c', 'import cloudevents, confluent_kafka');
$ENV{NODE_PATH} = $ENV{OUTBOX_CONSUMERS_NODE} // '';
my $has_node = installed('node', '-e', 'require("cloudevents"); require("kafkajs")');

note 'CloudEvents';
query(q{SELECT outbox.alter_relay('default', event_headers => 'cloudevents')});
$kafka->create_topic('events', 1);
my @ids = split /\n/, query(<<~'END');
	SELECT outbox_emit('events', 'bare', '{"id": 1}'::jsonb);
	SELECT outbox_emit('events', 'full', '{"id": 2}'::jsonb, '{"ce_subject": "order/2", "ce_sequence": "7", "other": "x"}',
		type => 'com.example.order.placed', source => 'https://example.com/shop',
		content_type => 'application/json', event_id => '10000000-0000-4000-8000-000000000002');
	SELECT outbox_emit('events', 'text', 'grüße', '{"ce_type": "own"}', content_type => 'text/plain; charset=utf-8');
	END
is(scalar @ids, 3, 'emitted');
ok(wait_published($node), 'published');

# microseconds in UTC, as both can be compared with
my @times = split /\n/, query(<<~'END');
	SELECT to_char(emitted_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US') FROM outbox.event ORDER BY id
	END
my @expected = (
	{ id => $ids[0], source => '/postgres', type => 'events', partitionkey => 'bare', data => { id => 1 } },
	{   id => '10000000-0000-4000-8000-000000000002',
		source => 'https://example.com/shop',
		type => 'com.example.order.placed',
		subject => 'order/2',
		sequence => '7',
		partitionkey => 'full',
		datacontenttype => 'application/json',
		data => { id => 2 }
	},
	{   id => $ids[2],
		source => '/postgres',
		type => 'own',
		partitionkey => 'text',
		datacontenttype => 'text/plain; charset=utf-8',
		data => "gr\x{fc}\x{df}e"
	});
$_->{specversion} = '1.0' for @expected;

SKIP:
{
	skip 'cloudevents for Python is not installed', 1 unless $has_python;
	my @events = lines_of($python, 'test/consumers/read_cloudevents.py', $kafka->bootstrap, 'events', 3);
	# isoformat() leaves out microseconds that are none
	my @want = map { { %{ $expected[$_] }, time => $times[$_] =~ s/\.000000$//r . '+00:00' } } 0 .. 2;
	is_deeply(\@events, \@want, 'for Python, each is the event that was meant');
}

SKIP:
{
	skip 'cloudevents for JavaScript is not installed', 1 unless $has_node;
	my @events = lines_of('node', 'test/consumers/read_cloudevents.js', $kafka->bootstrap, 'events', 3);
	my @want = map { { %{ $expected[$_] }, time => $times[$_] =~ s/...$//r . 'Z' } } 0 .. 2;
	# this SDK parses what is said to be JSON; the rest are bytes to it
	delete @$_{qw(data)} for @want[ 0, 2 ];
	$want[0]->{data_base64} = encode_base64('{"id": 1}', '');
	$want[2]->{data_base64} = encode_base64('grüße', '');
	is_deeply(\@events, \@want, 'and for JavaScript');
}

SKIP:
{
	note q{Confluent's deserialisers};
	skip 'confluent-kafka is not installed', 1 unless $has_python;
	$kafka->create_topic('schemas', 1);
	# 7 and "coffee" are 0e and 0c636f66666565 in Avro
	my $avro = q('\x0e 0c636f66666565'::bytea);
	my $guid = '89791762-2336-4074-9d5f-4e7f6e1c7e0';
	for my $case (
		[ 'avro', 'schema_id => 100001', $avro ],
		[ 'json', 'schema_id => 100002', q('{"id": 8, "item": "milk"}') ],
		[ 'avro', "schema_guid => '${guid}a'", $avro ],
		[ 'json', "schema_guid => '${guid}b'", q('{"id": 9, "item": "rum"}') ])
	{
		my ($key, $rule, $payload) = @$case;

		query(<<~"END");
			SELECT outbox.set_topic_rule('schemas', $rule);
			SELECT outbox_emit('schemas', '$key', $payload);
			END
	}
	ok(wait_published($node), 'published');
	is_deeply(
		[   lines_of($python, 'test/consumers/read_schemas.py', $kafka->bootstrap, 'schemas', 4,
				100001, "${guid}a")
		],
		[   { id => 7, item => 'coffee' }, { id => 8, item => 'milk' },
			{ id => 7, item => 'coffee' }, { id => 9, item => 'rum' }
		],
		'find the schema by the number in front of the value, and by the header');
}

note 'an envelope of the largest size';
# what README says that a topic must have room for
my $max = query(q{SELECT setting FROM pg_settings WHERE name = 'outbox.max_event_size'});
$kafka->create_topic('t' x 249, 1, 'max.message.bytes=' . ($max + 1024));
for my $envelope (qw(plain debezium cloudevents))
{
	query("SELECT outbox.alter_relay('default', event_headers => '$envelope')");
	query(<<~"END");
		SELECT outbox_emit(repeat('t', 249), 'k', repeat('x', $max - 44 - 1 - 750),
			type => repeat('t', 250), source => repeat('s', 250), content_type => repeat('c', 250));
		SELECT outbox_emit(repeat('t', 249), 'k', repeat('x', $max - 44 - 1));
		END
	ok(wait_published($node), $envelope);
	is(query('SELECT dead_letters + retrying + waiting FROM outbox.stat_relay'), 0,
		'is not refused where an event without it would not be');
}

$node->stop;
$kafka->stop;
done_testing();
