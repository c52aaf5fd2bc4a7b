# What is checked at the call is what is sent, and the relay bounds what it
# holds whatever a row contains.
#
# Catches: headers that are a few bytes in jsonb and a gigabyte when they are
# rendered, for which librdkafka finds no memory and ends the server; thousands
# of headers, which cost the library more than their bytes; many large events
# that are parked, or dead letters, in memory at once; a limit of outbox_emit()
# by which events that are committed already become dead letters.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use PostgreSQL::Test::Utils;
use Test::More;

my $mock = OutboxTest::Mock->new(topics => { sizes => 1, copies => 1, missing => 1, nowhere => 1 });
$mock->command("refuse $_ UNKNOWN_TOPIC_OR_PART") for qw(missing nowhere);
my $consumer =
  OutboxTest::Consumer->new(bootstrap => $mock->bootstrap, topics => ['sizes']);
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1,
	conf => <<~'END');
		outbox.window_size = 8MB
		outbox.retry_base_delay = 50ms
		outbox.retry_max_delay = 200ms
		END

# A transaction of a role that may do nothing but emit: SQLSTATE and message.
sub attempt
{
	my ($sql) = @_;
	my (undef, undef, $stderr) = $node->psql('postgres', <<~END, extra_params => [ '-v', 'VERBOSITY=verbose' ]);
		SET ROLE app;
		$sql
		END

	return $stderr =~ /ERROR:  (.*)/ ? $1 : 'accepted';
}

query(q{CREATE ROLE app; SELECT outbox.grant_emit('app')});
query(q{SELECT outbox_emit('sizes', 'k', 'first')});
ok(wait_published($node), 'it works');
my $pid = relay_pid($node);

note 'headers that are larger than they look';
like(
	attempt(q{SELECT outbox_emit('sizes', 'k', 'x', h) FROM
		(SELECT jsonb_object_agg('h' || i, 1e131071::numeric) h
			FROM generate_series(1, 900) i) s;}),
	qr/^54000: event of \d{7} bytes is too large/,
	'a number of 131,072 digits, 900 times');
like(
	attempt(q{SELECT outbox_emit('sizes', 'k', 'x', h) FROM
		(SELECT jsonb_object_agg('h' || i, 1e-16383::numeric) h
			FROM generate_series(1, 100) i) s;}),
	qr/^54000: event of \d{7} bytes is too large/,
	'of 16,383 decimals, 100 times');
like(
	attempt(q{SELECT outbox_emit('sizes', 'k', 'x', h) FROM
		(SELECT jsonb_object_agg('h' || i, '') h
			FROM generate_series(1, 1001) i) s;}),
	qr/^54000: event has too many headers/,
	'1001 headers');
is(attempt(q{SELECT outbox_emit('sizes', 'k', 'numbers',
		'{"a": 1e20, "b": 1.500, "c": true, "d": null, "e": -1e-10}');}),
	'accepted', 'numbers that are not too large');
is(attempt(q{SELECT outbox_emit('sizes', 'k', 'many', h) FROM
		(SELECT jsonb_object_agg('h' || i, i) h
			FROM generate_series(1, 1000) i) s;}),
	'accepted', '1000 headers');

# To the byte: event_id is 8 and 36.
my $limit = query(q{SELECT setting FROM pg_settings
	WHERE name = 'outbox.max_event_size'});
my $rest = $limit - 44 - 1 - 2 - 131072;
is(attempt(qq{SELECT outbox_emit('sizes', 'k', repeat('x', $rest),
		'{"hh": 1e131071}');}), 'accepted', 'exactly outbox.max_event_size');
like(attempt(qq{SELECT outbox_emit('sizes', 'k', repeat('x', $rest) || 'x',
		'{"hh": 1e131071}');}),
	qr/^54000: event of ${\($limit + 1)} bytes is too large/, 'one more');

ok(wait_published($node) && $consumer->drain, 'published');
my %record = map { $_->{payload} => $_ } $consumer->records;
is_deeply(
	[ map { $_->[1] } @{ $record{numbers}->{headers} }[ 0 .. 4 ] ],
	[ 1 . '0' x 20, '1.500', 'true', undef, '-0.0000000001' ],
	'rendered');
is(scalar @{ $record{many}->{headers} }, 1001, 'all headers are there');
my $bytes = 0;
my ($largest) = grep { length > 800_000 } keys %record;
$bytes += length for 'k', $largest,
  map { @$_ } @{ $record{$largest}->{headers} };
is($bytes, $limit, 'what was counted is what was sent');

note 'a row that has come another way';
query(<<~'END');
	SET session_replication_role = replica;
	INSERT INTO outbox.event_0 (id, event_id, emitted_at, topic, key, payload, headers)
	SELECT nextval('outbox.event_id_seq'), gen_random_uuid(), now(), 'sizes',
		'other way', 'x', jsonb_object_agg('h' || i, 1e131071::numeric)
	FROM generate_series(1, 5000) i;
	RESET session_replication_role;
	SELECT outbox_emit('sizes', 'other way', 'behind it');
	END
wait_until(
	undef,
	sub { query('SELECT count(*) FROM outbox.dead_letter') == 1 },
	'a dead letter');
like(
	query('SELECT class, error FROM outbox.dead_letter'),
	qr/^invalid\|an event can have \d+ MB in all/,
	'which tells why');
ok(wait_published($node) && $consumer->drain, 'others go on');
is(($consumer->records)[-1]->{payload}, 'behind it', 'its key, too');

note 'copies of it';
$node->append_conf('postgresql.conf', "outbox.dead_letter_topic = 'copies'");
$node->reload;
wait_until(
	undef,
	sub { query('SELECT count(*) FROM outbox.parked WHERE announced_at IS NULL') == 0 },
	'it is not tried forever');
like(slurp_file($node->logfile),
	qr/event \S+ \(id \d+, topic "sizes".*\) is too large for a copy: /,
	'the log tells');
is(relay_pid($node), $pid, 'it is the same process');
query('DELETE FROM outbox.parked');

# From here on with another process, whose peak of memory is its own.
$node->restart;
query(q{SELECT outbox_emit('sizes', 'k', 'again')});
ok(wait_published($node), 'another process');
$pid = relay_pid($node);
my $memory = memory_mb(relay_pid($node), 'VmHWM');

note 'many headers in the window';
$mock->command('down');
query(q{SELECT count(outbox_emit('sizes', 'k', n::text, h)) FROM
	(SELECT jsonb_object_agg('h' || i, '') h FROM generate_series(1, 1000) i) s,
	generate_series(1, 2000) n});
wait_state($node, 'unavailable');
$mock->command('up');
ok(wait_published($node), 'published');
cmp_ok(memory_mb(relay_pid($node), 'VmHWM') - $memory,
	'<', 40, sprintf 'memory: %.1f and %.1f MB', $memory, memory_mb(relay_pid($node), 'VmHWM'));

note 'large events that are parked';
query(q{SELECT count(outbox_emit('missing', n::text, repeat(n::text, 20000)))
	FROM generate_series(100001, 100600) n});
wait_until(undef, sub { query('SELECT count(*) FROM outbox.parked') == 600 },
	'parked');
$memory = memory_mb(relay_pid($node), 'VmHWM');
$mock->command('allow missing');
wait_until(undef, sub { query('SELECT count(*) FROM outbox.parked') == 0 },
	'published');
cmp_ok(memory_mb(relay_pid($node), 'VmHWM') - $memory,
	'<', 40, sprintf 'memory: %.1f and %.1f MB', $memory, memory_mb(relay_pid($node), 'VmHWM'));
is(relay_pid($node), $pid, 'it is the same process');

note 'large dead letters';
query(q{SELECT count(outbox_emit('nowhere', n::text, repeat(n::text, 20000)))
	FROM generate_series(100001, 100600) n});
wait_until(undef, sub { query('SELECT count(*) FROM outbox.parked') == 600 },
	'parked');
query(q{UPDATE outbox.parked SET state = 'dead', class = 'topic', error = 'x'});

note 'a limit that becomes lower';
$node->append_conf('postgresql.conf', <<~'END');
	outbox.max_event_size = 4MB
	outbox.enabled = off
	END
$node->restart;
query(q{SELECT outbox_emit('sizes', 'k', repeat('y', 3000000))});
$node->append_conf('postgresql.conf', <<~'END');
	outbox.max_event_size = 2kB
	outbox.enabled = on
	END
$node->reload;
wait_state($node, 'publishing');
ok(wait_published($node) && $consumer->drain, 'what was committed before');
is(length(($consumer->records)[-1]->{payload}), 3000000, 'all of it');
is(query('SELECT count(*) FROM outbox.parked'), 600, 'no dead letter');
wait_until(
	undef,
	sub { query('SELECT count(*) FROM outbox.parked WHERE announced_at IS NULL') == 0 },
	'copies of the dead letters');
cmp_ok(memory_mb(relay_pid($node), 'VmHWM'), '<', 64, sprintf 'memory: %.1f MB', memory_mb(relay_pid($node), 'VmHWM'));
clean_log($node, 'no crash');

$node->stop;
done_testing();
