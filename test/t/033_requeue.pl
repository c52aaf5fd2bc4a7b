# Thousands of dead letters of a few keys, requeued while more events of these
# keys come.
#
# Catches: a requeue that loses or reorders some of them, lets new events of
# their keys overtake them, publishes any of them twice, or holds up other keys
# for as long as it takes; one by a name that a caller gave, which reads all of
# them; dead letters that no figure counts.

use strict;
use warnings;

use OutboxTest;
use Test::More;
use Time::HiRes qw(time);

my $dead_letters = 10_000;
my $keys = 5;
my $prompt = 10;    # seconds, on a busy machine

my $mock =
  OutboxTest::Mock->new(topics => { requeue => 2, other => 1, missing => 1 });
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1,
	conf => <<~'END');
		outbox.retry_base_delay = 1s
		outbox.retry_multiplier = 1
		outbox.retry_max_attempts = 3
		END

sub parked
{
	my ($state) = @_;

	return query(
		"SELECT count(*) FROM outbox.parked WHERE state = '$state'");
}

query(q{SELECT outbox_emit('other', 'first', 'x')});
$consumer->wait_for(1) or die;
my $pid = relay_pid($node);

note 'dead letters';
$mock->command('refuse requeue UNKNOWN_TOPIC_OR_PART');
query(<<~END);
	SELECT count(outbox_emit('requeue', 'key ' || i % $keys, 'dead ' || i,
		jsonb_build_object('n', i), event_id => md5(i::text)::uuid))
	FROM generate_series(1, $dead_letters) i
	END
wait_until(undef, sub { parked('dead') == $dead_letters },
	"$dead_letters dead letters");
is(query(q{SELECT dead_letters FROM outbox.stat_topic WHERE topic = 'requeue'}), $dead_letters, 'are counted');
my ($pages) = query(<<~'END') =~ /.*Buffers: shared hit=(\d+)/s;
	BEGIN;
	SELECT count(*) FROM outbox.requeue(event_id => md5('0')::uuid);
	EXPLAIN (ANALYZE, BUFFERS, TIMING off, SUMMARY off) SELECT * FROM outbox.requeue(event_id => md5('7')::uuid);
	ROLLBACK;
	END
cmp_ok($pages, '<', query(q{SELECT pg_relation_size('outbox.parked') / 8192 / 2}), 'one by its name: few pages');
$mock->command('allow requeue');

# Now the topic can be written to, and events of these keys come first.
query(q{SELECT outbox_emit('requeue', 'another', 'x')});
ok(wait_published($node), 'the topic can be written to');
wait_until(undef, sub { parked('waiting') + parked('retrying') == 0 },
	'nothing is parked');

note 'requeue';
my $load = pgbench($node, <<~END,
	\\set key random(0, $keys - 1)
	SELECT outbox_emit('requeue', 'key ' || :key, 'new');
	SELECT outbox_emit('requeue', 'free ' || :key, 'new');
	SELECT outbox_emit('other', :key::text, 'new');
	END
	clients => 2, rate => 100, transactions => 300, background => 1);

# Events emitted before the requeue was visible may come before; those are not
# compared.
my $requeue = time;
is(query("SELECT count(*) FROM outbox.requeue(class => 'topic')"),
	$dead_letters, 'all are requeued');
my $from = query('SELECT last_value FROM outbox.event_id_seq');

# Probes of other keys, as long as anything is queued.
my ($probes, $slowest) = (0, 0);
do
{
	my $start = time;
	my $id = query("SELECT outbox_emit(CASE WHEN $probes % 2 = 0"
		  . " THEN 'requeue' ELSE 'other' END, 'probe', 'x')");
	wait_until(undef, sub { $consumer->has($id) },
		'the probe');
	my $took = time - $start;
	$slowest = $took if $took > $slowest;
	$probes++;
} while (parked('waiting') > 0);
note sprintf 'requeued in %.1f s', time - $requeue;
note sprintf '%d probes, the slowest took %.2f s', $probes, $slowest;
cmp_ok($slowest, '<', $prompt, 'other keys are not held up');

is($load->wait, 0, 'the load has ended') or diag $load->log_tail;
ok(wait_published($node), 'published');
wait_until(undef, sub { query('SELECT count(*) FROM outbox.parked') == 0 },
	'nothing is parked');
ok($consumer->drain, 'read');
is_deeply([ $consumer->gaps ], [], 'nothing forgotten by the mock');

# New events may come between the death of the old ones and their requeue.
my @events = events($node);
my %overtaken = map { $_->{event_id} => 1 } grep {
	$_->{id} <= $from && ($_->{payload} eq 'new')
} @events;
my @records = $consumer->records;
is( check_delivery(
		[ grep { !$overtaken{ $_->{event_id} } } @events ],
		[ grep { !$overtaken{ $_->{event_id} } } @records ],
		'dead letters before what came later'),
	0,
	'nothing twice');
is( check_delivery(
		[ grep { $_->{payload} !~ /^dead/ } @events ],
		[ grep { $_->{payload} !~ /^dead/ } @records ],
		'without the dead letters'),
	0,
	'nothing twice');
is( scalar(
		grep {
			$_->{payload} =~ /^dead (\d+)/
			  && $_->{headers}->[0]->[0] eq 'n'
			  && $_->{headers}->[0]->[1] == $1
		} @records),
	$dead_letters,
	'the dead letters have their headers');
is(relay_pid($node), $pid, 'it is the same process');

$node->stop;
done_testing();
