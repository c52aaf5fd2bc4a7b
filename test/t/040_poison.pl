# Rows that raise an error in the relay each time it handles them: content that
# cannot be read any more, and text that is none in the database's encoding.  In
# the stream, delayed, parked, among the dead letters of which copies are
# published, and in a replay.  Each becomes a dead letter of class invalid with
# the error's words, or is passed over; what is beside it is published once, and
# the process goes on.
#
# Catches: a relay that ends, begins anew and meets the same row again, for
# ever.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use PostgreSQL::Test::Utils;
use Test::More;

my $mock = OutboxTest::Mock->new(topics => { events => 1, copies => 1, refused => 1 });
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1,
	conf => <<~'END');
		outbox.retry_base_delay = 50ms
		outbox.retry_max_delay = 200ms
		outbox.retry_max_attempts = 1000
		outbox.databases = 'postgres'
		autovacuum = off
		END

sub ascii { return $node->safe_psql('ascii', $_[0]); }

# How often each payload has arrived; payloads of a test of its own.
sub arrived
{
	my ($pattern) = @_;
	my %arrived;

	$consumer->drain or die 'not read';
	$arrived{ $_->{payload} }++
	  for grep { defined $_->{payload} && $_->{payload} =~ $pattern }
	  $consumer->records;
	return \%arrived;
}

my $big =
  "(SELECT string_agg(md5(n::text), '') FROM generate_series(1, 500) n)";

note 'content that cannot be read';
query(<<~END);
	SELECT outbox_emit('events', 'k', 'old ' || n) FROM generate_series(1, 3) n;
	SELECT outbox_emit('events', 'k', $big);
	SELECT outbox_emit('events', 'k', 'old 4');
	END
ok(wait_published($node), 'published as long as it can be');
$mock->command('refuse refused UNKNOWN_TOPIC_OR_PART');
query("SELECT outbox_emit('refused', 'r', 'wait 1')");
wait_parked(1, 'a topic is blocked');
conf_reload($node, "outbox.enabled = 'off'");
wait_state($node, 'disabled');
my ($bad, $bad_headers) = split /\n/, query(<<~END);
	SELECT outbox_emit('events', 'k', 'new ' || n) FROM generate_series(1, 3) n
		\\g /dev/null
	SELECT outbox_emit('refused', 'r', 'wait 2') \\g /dev/null
	SELECT outbox_emit('events', 'k', $big);
	SELECT outbox_emit('refused', 'r', 'wait 3') \\g /dev/null
	SELECT outbox_emit('events', 'k', 'new 4') \\g /dev/null
	SELECT outbox_emit('events', 'k', 'new, bad headers',
		jsonb_build_object('h', $big));
	SELECT outbox_emit('events', 'k', 'new 5') \\g /dev/null
	END
my $bad_delayed = query(<<~END);
	SELECT outbox_emit('events', 'd', 'delayed 1', deliver_after => '1 ms')
		\\g /dev/null
	SELECT outbox_emit('events', 'd', $big, deliver_after => '2 ms');
	SELECT outbox_emit('events', 'd', 'delayed 2', deliver_after => '3 ms')
		\\g /dev/null
	END
damage_toast($node, 'event_0', 'delayed');
$node->start;
conf_reload($node, "outbox.enabled = 'on'");
wait_until(undef, sub { relay_state($node) !~ /disabled|stopped/ }, 'enabled');
my $pid = relay_pid($node);
ok(wait_published($node), 'the stream goes on');
wait_until(
	undef,
	sub { query('SELECT count(*) FROM outbox.dead_letter') == 3 },
	'three dead letters');
is( query(<<~END),
	SELECT event_id, class, key, payload IS NULL, whole,
		error ~ '^missing chunk number 0 .* cannot be read'
	FROM outbox.parked WHERE state = 'dead'
	ORDER BY array_position('{$bad, $bad_headers, $bad_delayed}'::uuid[], event_id)
	END
	"$bad|invalid|k|t|f|t\n$bad_headers|invalid|k|t|f|t\n"
	  . "$bad_delayed|invalid|d|t|f|t",
	'with the error, and without what cannot be read');
is( query('SELECT count(*) FROM outbox.requeue()'),
	0, 'they cannot be requeued as events without a payload');
wait_until(undef, sub { query('SELECT delayed = 0 FROM outbox.stat_relay') eq 't' },
	'the delayed events go on');
ok(wait_published($node), 'they are published, too');
is_deeply(
	arrived(qr/^(new|delayed)/),
	{ map { $_ => 1 } (map { "new $_" } 1 .. 5), 'delayed 1', 'delayed 2' },
	'the others are published once');
is(relay_pid($node), $pid, 'by the same process');
wait_state($node, 'publishing');

note 'what was to be parked beside it';
is(query("SELECT string_agg(convert_from(payload, 'UTF8'), ', ' ORDER BY id)"
	  . " FROM outbox.parked WHERE topic = 'refused'"),
	'wait 1, wait 2, wait 3', 'is parked');
$mock->command('allow refused');
wait_parked(0, 'and goes on');
is_deeply(arrived(qr/^wait/), { map { ("wait $_" => 1) } 1 .. 3 },
	'and is published once');

note 'a replay of it';
conf_reload($node, "outbox.dead_letter_topic = 'copies'");
query('SELECT outbox.replay(first_id => 1)');
wait_until(
	undef,
	sub { query('SELECT state FROM outbox.stat_replay') eq 'done' },
	'the replay comes to its end');
ok(wait_published($node), 'replayed');
is_deeply(
	arrived(qr/^old/),
	{ map { $_ => 2 } map { "old $_" } 1 .. 4 },
	'what can be read is replayed');
# the dead letter's headers are looked at before it is left out
is(scalar(log_lines($node, 0, qr/event \(id \d+\) is not replayed: missing chunk/)),
	2, 'what cannot be is told');
is(scalar(grep { $_->{topic} eq 'copies' } $consumer->records),
	0, 'no copy of what is not whole');

note 'text that is none';
query("CREATE DATABASE ascii ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0");
ascii('CREATE EXTENSION outbox');
conf_reload($node, "outbox.databases = 'ascii'");
$pid = wait_until(undef, sub { relay_pid($node, 'ascii') }, 'a relay');

# Rows as nobody can emit them, at the end of the outbox.
sub insert_bad
{
	my ($name, $key) = @_;

	ascii(<<~END);
		-- without the trigger that tells of a restore
		SET session_replication_role = replica;
		BEGIN;
		SELECT outbox_emit('events', 'a', '$name, before');
		INSERT INTO outbox.event_0
			SELECT nextval('outbox.event_id_seq'), gen_random_uuid(), now(),
				'events', $key, 'bad', NULL;
		COMMIT;
		SELECT outbox_emit('events', 'a', '$name, after');
		END
	return;
}
insert_bad('ascii', "E'M\\xfcller'");
wait_until(
	undef,
	sub { ascii('SELECT count(*) FROM outbox.dead_letter') == 1 },
	'a dead letter');
ok(wait_published($node, 'ascii'), 'the stream goes on');
like(ascii('SELECT class, whole, error FROM outbox.parked'),
	qr/^invalid\|t\|invalid byte sequence for encoding "UTF8": 0xfc/,
	'with the error, and all content');
is(ascii('SELECT count(*) FROM outbox.dead_letter WHERE payload = \'bad\''),
	1, 'all of it');
is_deeply(
	arrived(qr/^ascii/),
	{ 'ascii, before' => 1, 'ascii, after' => 1 },
	'the others are published once');
wait_until(
	undef,
	sub { ascii("SELECT count(*) FROM outbox.parked WHERE announced_at = 'infinity'") == 1 },
	'no copy of it can be published');

note 'parked';
is(ascii('SELECT count(*) FROM outbox.requeue()'), 1, 'requeued');
wait_until(
	undef,
	sub {
		ascii("SELECT count(*) FROM outbox.parked WHERE state = 'dead' AND attempts > 0") == 1;
	},
	'it is a dead letter again');
like(ascii('SELECT error FROM outbox.dead_letter'),
	qr/^invalid byte sequence/, 'with the error');
ascii("SELECT outbox_emit('events', 'a', 'ascii, last')");
ok(wait_published($node, 'ascii'), 'published');
is(relay_pid($node, 'ascii'), $pid, 'by the same process');

clean_log($node, 'no crash, no leak', also => qr/WARNING:  (?!outbox)/);
$node->stop;
done_testing();
