# What a message is when it reaches the function of a subscription, whatever a
# producer has sent, and what the subscription says while brokers are away.
#
# Catches: a tombstone that is taken for an empty payload, a key that is none
# for an empty one; headers that lose their order, their repetitions or their
# nulls; bytes that are no text and stop the subscription; a message that is
# jumped over, or comes twice, when brokers come back; topics of a broker that is
# silent, and are asked for again and again, before those of another one.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Producer;
use OutboxTest::Server;
use Test::More;

my @silent = map { "silent$_" } 1 .. 4;
my $mock = OutboxTest::Mock->new(brokers => 2, topics => { any => 2, reached => 1, map { ($_ => 1) } @silent });
my $producer = OutboxTest::Producer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main', bootstrap => $mock->bootstrap, extension => 1,
	extra => [ '--encoding=UTF8', '--locale=C' ],
	conf => "outbox.kafka_properties = 'fetch.wait.max.ms=20'\n");

query(<<~'END');
	CREATE TABLE got (n serial, m outbox.message);
	CREATE FUNCTION take(m outbox.message) RETURNS void
		LANGUAGE sql BEGIN ATOMIC INSERT INTO public.got (m) VALUES (m); END;
	SELECT outbox.subscribe('all', '{any}', 'take(outbox.message)', start => 'earliest');
	END

sub wait_got
{
	my ($count, $what) = @_;

	return wait_until(60, sub { query('SELECT count(*) FROM got') == $count }, $what);
}

# Of one partition, they come in their order.
sub publish { $producer->send('any', 0, @_); return; }
publish('key', 'payload');
publish(undef, 'no key');
publish('', 'empty key');
publish('tombstone', undef);
publish('empty', '');
publish("\xff\0\x01", "\0\xfe bytes");
publish('headers', 'x', a => '1', b => undef, a => '2', c => '', d => "\xff\xfe");
publish('many', 'x', map { ("h$_" => $_) } 1 .. 2000);
publish('large', 'l' x 3_000_000);
publish('id', 'x', event_id => 'an id');
$producer->flush;
wait_got(10, 'all messages have come');

is(query(q{SELECT string_agg((m).key || '=' || (m)."offset", ' ' ORDER BY n) FROM got}),
	'key=0 =2 tombstone=3 empty=4 \xff0001=5 headers=6 many=7 large=8 id=9', 'in their order, with their keys');
is(query(q{SELECT string_agg((m)."offset"::text, ' ' ORDER BY n) FROM got WHERE (m).key IS NULL AND (m).key_bytes IS NULL}),
	'1', 'no key is none');
is(query(q{SELECT string_agg((m).key || '=' || ((m).payload IS NULL), ' ' ORDER BY n) FROM got WHERE (m)."offset" IN (3, 4)}),
	'tombstone=true empty=false', 'a tombstone is not empty');
is(query(q{SELECT (m).key_bytes::text || ' ' || (m).payload FROM got WHERE (m)."offset" = 5}),
	'\xff0001 \x00fe206279746573', 'bytes are bytes');
is(query(q{SELECT (m).headers = '{"a": ["1", "2"], "b": null, "c": "", "d": {"base64": "//4="}}' FROM got WHERE (m)."offset" = 6}),
	't', 'headers repeat, are null, are bytes');
is(query(q{SELECT (SELECT count(*) FROM jsonb_object_keys((m).headers)) || ' ' || ((m).headers ->> 'h2000') FROM got WHERE (m)."offset" = 7}),
	'2000 2000', 'many headers');
is(query(q{SELECT octet_length((m).payload) FROM got WHERE (m)."offset" = 8}), 3_000_000, 'a large one');
is(query(q{SELECT string_agg((m).message_id, ' ' ORDER BY n) FROM got WHERE (m)."offset" IN (0, 9)}),
	'any/0/0 an id', 'its id');
ok(query(q{SELECT bool_and((m).published_at BETWEEN now() - interval '5 min' AND now() + interval '1 min') FROM got}),
	'when it was published');

# Brokers go away, more than once, and messages come meanwhile and afterwards.
my $count = 10;
for my $round (1 .. 2)
{
	$mock->command('down');
	wait_until(60,
		sub { query(q{SELECT state FROM outbox.stat_subscription}) eq 'unavailable' },
		"round $round: it is told that brokers are away");
	$mock->command('up');
	$producer->send('any', $_ % 2, "k$_", "round $round") for 1 .. 50;
	$producer->flush;
	$count += 50;
	wait_got($count, "round $round: all have come");
	wait_until(60,
		sub { query(q{SELECT state FROM outbox.stat_subscription}) =~ /^(idle|consuming)$/ },
		"round $round: it is told that brokers are back");
}
is(query(q{SELECT count(DISTINCT ((m).partition, (m)."offset")) FROM got}), $count, 'none twice');
is(query(q{
	SELECT count(*) FROM (
		SELECT (m)."offset" < lag((m)."offset") OVER (PARTITION BY (m).partition ORDER BY n) AS back FROM got) o
	WHERE back}), 0, 'each partition in its order');

# An outage that begins before offsets have been told to the brokers, and is long:
# the library may not crash the server when it is over.
my $worker = query(q{SELECT pid FROM outbox.stat_subscription});
for (1 .. 3)
{
	$producer->send('any', 0, 'told', 'later');
	$producer->flush;
	wait_got(++$count, 'another message');
}
$mock->command('down');
wait_until(60,
	sub { query(q{SELECT state = 'unavailable' AND now() - state_since > '18 s' FROM outbox.stat_subscription}) eq 't' },
	'a long outage');
$mock->command('up');
$producer->send('any', 0, 'told', 'at last');
$producer->flush;
wait_got(++$count, 'it is over');
is(query(q{SELECT pid FROM outbox.stat_subscription}), $worker, 'the same process has gone on');

# A leader that moves, and one that hangs up.
$mock->command('drop');
$producer->send('any', $_ % 2, "k$_", 'after a drop') for 1 .. 10;
$producer->flush;
wait_got($count + 10, 'a broker that hangs up is no matter');

# While the function is at it, a message of a time that cannot be has no age.
$producer->command('T 9223372036854775807');
query(q{SELECT outbox.pause_subscription('all')});
$producer->send('any', 0, 'slow', 'of no time');
$producer->flush;
query(<<~'END');
	CREATE OR REPLACE FUNCTION take(m outbox.message) RETURNS void
		LANGUAGE sql BEGIN ATOMIC
			SELECT pg_advisory_xact_lock_shared(1);
			INSERT INTO public.got (m) VALUES (m);
		END;
	END
my $lock = $node->background_psql('postgres');
$lock->query('SELECT pg_advisory_lock(1)');
query(q{SELECT outbox.resume_subscription('all')});
wait_until(60, sub { query(q{SELECT lag_messages FROM outbox.stat_subscription}) eq '1' }, 'it is at it');
is(query(q{SELECT lag_seconds FROM outbox.stat_subscription}), '0', 'a time that cannot be is none');
$lock->query('SELECT pg_advisory_unlock(1)');
wait_got($count + 11, 'it has been given');
is(query(q{SELECT count(*) FROM got WHERE (m).published_at IS NULL}), 1, 'without a time');
$lock->quit;

# One broker is silent; what the other one has is begun all the same.
query(q{SELECT outbox.unsubscribe('all')});
$producer->command('T 0');
$producer->send('reached', 0, 'key', 'reached');
$producer->flush;
$mock->command("leader $_ 0 2") for @silent;
$mock->command('leader reached 0 1');
$mock->command('rtt 60000 2');
query(qq{SELECT outbox.subscribe('half', '{silent1,reached,silent2,silent3,silent4}',
	'take(outbox.message)', start => 'earliest')});
wait_got($count + 12, 'a topic has its turn, however often others are asked for again');

$node->stop('fast');
done_testing();
