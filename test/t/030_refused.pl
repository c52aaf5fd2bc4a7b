# Batches that the broker refuses.  A batch is refused as a whole, so its events
# are tried one at a time; only the one that is refused again is a dead letter.
#
# Catches: a relay that gives up the neighbours of a bad event, or publishes
# them twice or out of order, that restarts because of it, a key that stays
# blocked behind a dead letter, and requeue() and discard() that change the
# event or do something else than they say.
#
# The mock does not look at sequence numbers, and would accept what is behind a
# batch that it has refused.  So one batch is under way at once, and lingers,
# so that it has all of a partition.

use strict;
use warnings;

use OutboxTest;
use Test::More;

my $rounds = 20;
my $events_of_round = 150;

my $mock = OutboxTest::Mock->new(topics => { refused => 2, other => 1 });
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1,
	conf => <<~'END');
		outbox.kafka_properties = 'max.in.flight=1 linger.ms=50'
		outbox.retry_base_delay = 50ms
		outbox.retry_jitter = 0
		END

# One event, which is alone in its batch: the stream is idle.
sub emit_alone
{
	my ($topic, $key, $payload, $headers) = @_;

	wait_published($node) or die 'the stream is not idle';
	return query("SELECT outbox_emit('$topic', '$key', '$payload',"
		  . ' ' . ($headers ? "'$headers'" : 'NULL') . ')');
}

sub records_of
{
	my ($event_id) = @_;

	return grep { $_->{event_id} eq $event_id } $consumer->records;
}

# All that is committed and no dead letter has arrived, once and in order.
# Asks for the dead letters last: until then it may have become one.
sub check
{
	my ($name) = @_;

	ok(wait_published($node), "$name: published");
	wait_parked(0, "$name: nothing is parked");
	ok($consumer->drain, "$name: read");
	my %dead = map { $_ => 1 } split /\n/,
	  query('SELECT event_id FROM outbox.dead_letter');
	my @events = grep { !$dead{ $_->{event_id} } } events($node);
	is(check_delivery(\@events, [ $consumer->records ], $name),
		0, "$name: nothing twice");
	return;
}

sub dead_letters { return query('SELECT count(*) FROM outbox.dead_letter'); }

query(q{SELECT outbox_emit('refused', 'first', 'x')});
ok(wait_published($node), 'it works');
my $pid = relay_pid($node);

for my $error (qw(INVALID_RECORD MSG_SIZE_TOO_LARGE POLICY_VIOLATION))
{
	note $error;
	my $before = dead_letters();
	for my $round (1 .. $rounds)
	{
		$mock->command("fail Produce 1 $error") if $round == $rounds / 2;
		query("SELECT count(outbox_emit(CASE WHEN i % 3 = 0 THEN 'other'"
			  . " ELSE 'refused' END, 'key ' || i % 7, '$round ' || i))"
			  . " FROM generate_series(1, $events_of_round) i");
	}
	check($error);
	cmp_ok(dead_letters() - $before,
		'<=', $error eq 'POLICY_VIOLATION' ? 0 : 1,
		"$error: nobody but the culprit is a dead letter");
}
is(relay_pid($node), $pid, 'it is the same process');

note 'a dead letter';
my $dead_before = dead_letters();
my $start = query('SELECT clock_timestamp()');
wait_published($node);
$mock->command('fail Produce 1 INVALID_RECORD');
my $bad = emit_alone('refused', 'bad key', 'bad payload', '{"a": "1"}');
wait_until(undef, sub { dead_letters() == $dead_before + 1 },
	'it is a dead letter');
is(query(<<~END), 't|t|t', 'since when it has been one');
	SELECT first_failed_at >= '$start', last_failed_at >= first_failed_at,
		last_failed_at <= clock_timestamp()
	FROM outbox.dead_letter WHERE event_id = '$bad'
	END
my ($row, $error) = query(<<~END) =~ /(.*)\|(.*)/;
	SELECT relay, topic, key, convert_from(payload, 'UTF8'), headers, class,
		attempts, error
	FROM outbox.dead_letter WHERE event_id = '$bad'
	END
is($row, 'default|refused|bad key|bad payload|{"a": "1"}|invalid|1',
	'it is complete');
like($error, qr/Broker failed to validate record \(INVALID_RECORD\)/,
	"the broker's words");
like(query('SELECT last_error FROM outbox.stat_relay'),
	qr/INVALID_RECORD/, 'in stat_relay, too');
query(q{SELECT outbox_emit('refused', 'bad key', i::text)
	FROM generate_series(1, 10) i});
check('the key goes on');
is(scalar records_of($bad), 0, 'the dead letter is not published');

note 'requeue';
my $letter = query("SELECT * FROM outbox.dead_letter WHERE event_id = '$bad'");
is(query("SELECT * FROM outbox.requeue('$bad')"),
	$letter, 'requeue() returns the dead letter as it was');
wait_until(undef, sub { scalar records_of($bad) }, 'it is published');
wait_parked(0, 'and parked no more');
my ($record) = records_of($bad);
is("$record->{topic}|$record->{key}|$record->{payload}",
	'refused|bad key|bad payload', 'the same event');
is_deeply($record->{headers}, [ [ a => 1 ], [ event_id => $bad ] ],
	'the same headers');
$consumer->drain;
is(scalar records_of($bad), 1, 'published once');
is(query("SELECT count(*) FROM outbox.parked WHERE event_id = '$bad'"),
	0, 'it is a dead letter no more');
is(query("SELECT count(*) FROM outbox.requeue('$bad')"),
	0, 'and cannot be requeued again');

note 'discard';
$mock->command('fail Produce 1 MSG_SIZE_TOO_LARGE');
my $large = emit_alone('other', 'large', 'x');
wait_until(
	undef,
	sub {
		query("SELECT class || ' ' || attempts FROM outbox.dead_letter"
			  . " WHERE event_id = '$large'") eq 'size 1';
	},
	'a dead letter for its size');
my $others = dead_letters();
for my $arguments ('', 'retrying => true, waiting => true')
{
	my ($status, undef, $stderr) =
	  $node->psql('postgres', "SELECT outbox.discard($arguments)",
		extra_params => [ '-v', 'VERBOSITY=sqlstate' ]);
	is($status, 3, "discard($arguments) is refused");
	like($stderr, qr/ERROR:  22023/, 'for want of a condition');
}
is(dead_letters(), $others, 'nothing is discarded');
is(query("SELECT * FROM outbox.discard(topic => 'other', class => 'size',"
		  . " until => '$start')"),
	'', 'nor what does not meet all conditions');
$letter = query("SELECT * FROM outbox.dead_letter WHERE event_id = '$large'");
is(query("SELECT * FROM outbox.discard(topic => 'other', key => 'large',"
		  . " class => 'size', since => '$start')"),
	$letter, 'discard() returns it');
is(dead_letters(), $others - 1, 'and nothing else');
is(query("SELECT count(*) FROM outbox.parked WHERE event_id = '$large'"),
	0, 'it is gone');
emit_alone('other', 'large', 'y');
ok(wait_published($node) && $consumer->drain, 'its key goes on');
is(scalar records_of($large), 0, 'it was never published');
is(relay_pid($node), $pid, 'it is the same process');

$node->stop;
done_testing();
