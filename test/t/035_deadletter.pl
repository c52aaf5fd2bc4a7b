# What surrounds dead letters: copies of them in a topic, their end after some
# time, the limit to what may wait, what stat_relay counts, and who may see
# what.
#
# Catches: copies that are incomplete, come twice, or are lost because their
# topic is not there, a log that is flooded then, dead letters that stay for
# ever or go too early, a limit that does not stop emits or does not let them go
# on, and payloads shown to a monitoring role.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use PostgreSQL::Test::Utils;
use Test::More;

my $mock =
  OutboxTest::Mock->new(topics => { events => 1, copies => 1, late => 1 });
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1,
	conf => <<~'END');
		outbox.dead_letter_topic = 'copies'
		outbox.retry_base_delay = 50ms
		outbox.retry_max_delay = 200ms
		END

# An event, alone in its batch, that becomes a dead letter.
sub make_dead
{
	my ($key, $payload, $headers) = @_;

	wait_published($node) or die 'the stream is not idle';
	$mock->command('fail Produce 1 INVALID_RECORD');
	my $id = query("SELECT outbox_emit('events', $key, $payload, $headers)");
	wait_until(
		undef,
		sub { query("SELECT count(*) FROM outbox.dead_letter WHERE event_id = '$id'") },
		'a dead letter');
	return $id;
}

sub copies_of
{
	my ($topic, $event_id) = @_;

	return grep { $_->{topic} eq $topic && $_->{event_id} eq $event_id }
	  $consumer->records;
}

sub announced
{
	return query('SELECT count(*) FROM outbox.parked'
		  . ' WHERE announced_at IS NOT NULL');
}

query(q{SELECT outbox_emit('events', 'k', 'x')});
$consumer->wait_for(1) or die;
my $pid = relay_pid($node);

note 'a copy';
my $id = make_dead(q{'key'}, q{'payload'}, q{'{"mine": "1"}'});
wait_until(undef, sub { copies_of('copies', $id) }, 'the copy');
my ($copy) = copies_of('copies', $id);
is("$copy->{key} $copy->{payload}", 'key payload', 'the event itself');
my %header = map { @$_ } @{ $copy->{headers} };
like(delete $header{dead_letter_error}, qr/\(INVALID_RECORD\)$/, 'the error');
is_deeply(
	\%header,
	{
		mine => '1',
		event_id => $id,
		dead_letter_topic => 'events',
		dead_letter_class => 'invalid',
		dead_letter_attempts => '1'
	},
	'the other headers');
my $bare = make_dead('NULL', 'NULL::text', 'NULL');
wait_until(undef, sub { copies_of('copies', $bare) }, 'another copy');
($copy) = copies_of('copies', $bare);
ok(!defined $copy->{key} && !defined $copy->{payload},
	'without a key and a payload');
wait_until(undef, sub { announced() == 2 }, 'noted');
is(query('SELECT retrying + waiting, dead_letters FROM outbox.stat_relay'),
	'0|2', 'what stat_relay counts');

note 'a topic for copies that is not there';
$mock->command('refuse late UNKNOWN_TOPIC_OR_PART');
restart_with($node, <<~'END');
	outbox.dead_letter_topic = 'late'
	outbox.retry_max_delay = 1h
	END
my $log = -s $node->logfile;
$pid = relay_pid($node);
my @late = map { make_dead("'late $_'", q{'x'}, 'NULL') } 1 .. 3;
wait_until(undef,
	sub { log_lines($node, $log, qr/could not publish dead letters to topic "late"/) },
	'it is told');
query(q{SELECT outbox_emit('events', 'k', 'y')});
ok(wait_published($node), 'events are published meanwhile');

# It is tried with growing delays, and librdkafka takes its time to be sure.
my $tries = query('SELECT clock_timestamp()');
$node->poll_query_until('postgres',
	"SELECT clock_timestamp() > '$tries'::timestamptz + interval '9 s'");
is(log_lines($node, $log, qr/could not publish dead letters/),
	1, 'it is told once');
is(relay_pid($node), $pid, 'it is the same process');
is(announced(), 2, 'no copy is noted as published');
$mock->command('allow late');
wait_until(undef, sub { announced() == 5 }, 'it is tried again');
$consumer->drain;
is_deeply([ map { scalar copies_of('late', $_) } @late ],
	[ 1, 1, 1 ], 'each copy came once');
is(scalar copies_of('copies', $id) + copies_of('late', $id),
	1, 'older ones are not copied again');

note 'retention';
restart_with($node, <<~'END');
	outbox.dead_letter_retention = 1h
	outbox.retry_max_delay = 200ms
	END
query(<<~END);
	UPDATE outbox.parked SET last_failed_at = now() - interval '2 h'
	WHERE event_id IN ('$id', '$late[0]')
	END
$node->restart;    # it looks now, and every ten minutes
wait_until(undef, sub { query('SELECT count(*) FROM outbox.dead_letter') < 5 },
	'old dead letters go');
my @left = split /\n/, query(<<~'END');
	SELECT event_id FROM outbox.dead_letter ORDER BY id
	END
is_deeply(\@left, [ $bare, @late[ 1, 2 ] ], 'only the old ones go');

note 'a limit to what may wait';
restart_with($node, 'outbox.max_pending = 100');
sub emit_error
{
	my (undef, undef, $stderr) = $node->psql(
		'postgres',
		q{SELECT outbox_emit('events', 'k', 'z')},
		extra_params => [ '-v', 'VERBOSITY=verbose' ]);
	return $stderr;
}
is(emit_error(), '', 'it is not reached');
ok(wait_published($node), 'all is published');
$mock->command('down');
query(q{SELECT outbox_emit('events', 'k', 'z') FROM generate_series(1, 60)});
query(q{SELECT outbox_emit('events', 'k', 'z') FROM generate_series(1, 40)});
my $error = emit_error();
like($error, qr/ERROR:  53400: /, 'it is reached while Kafka is down');
like($error, qr/HINT:  /, 'with a hint');
is(query('SELECT pending_events FROM outbox.stat_relay'),
	100, 'nothing was emitted then');
is(query('SELECT 1'), 1, 'other transactions work');
$mock->command('up');
ok(wait_published($node), 'Kafka is back');
is(emit_error(), '', 'and events can be emitted again');

note 'privileges';
query(<<~'END');
	CREATE ROLE watcher IN ROLE pg_monitor;
	CREATE ROLE nobody;
	END
sub allowed
{
	my ($role, $sql) = @_;
	my ($status, undef, $stderr) =
	  $node->psql('postgres', "SET ROLE $role; $sql");

	return 1 if $status == 0;
	die $stderr unless $stderr =~ /permission denied/;
	return 0;
}
ok(allowed('watcher', "SELECT * FROM outbox.$_"), "pg_monitor may read $_")
  for qw(blocked stat_relay);
ok(!allowed('watcher', $_), "pg_monitor: denied: $_")
  for (
	'SELECT * FROM outbox.dead_letter',
	'SELECT * FROM outbox.parked',
	'SELECT outbox.requeue()',
	q{SELECT outbox.discard(key => 'key')},
	'SELECT outbox.parked_changed()');
ok(!allowed('nobody', "SELECT * FROM outbox.$_"), "nobody may read $_")
  for qw(blocked stat_relay dead_letter parked);

$node->stop;
done_testing();
