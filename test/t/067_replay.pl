# outbox.replay(): events that have been published are published once more, and
# only those that were asked for, in order, not faster than asked for, whatever
# happens meanwhile.
#
# Catches: copies that are replayed again, dead letters that come to life, an
# event twice or left out after a crash, a job that nobody goes on with after
# somebody had locked it, one that fills the outbox in an outage, and events
# that are removed before their turn.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use Test::More;
use Time::HiRes qw(time usleep);

my $events = 3000;

my $mock =
  OutboxTest::Mock->new(topics => { t => 2, other => 1, copy => 1, late => 1 });
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1);

sub job
{
	my ($job, $column) = @_;

	return query("SELECT $column FROM outbox.stat_replay WHERE id = $job");
}

sub wait_for_job
{
	my ($job, $condition) = @_;

	$node->poll_query_until('postgres', 'SELECT '
		  . ($condition // "state = 'done'")
		  . " FROM outbox.stat_replay WHERE id = $job")
	  or die "job $job: " . job($job, 'stat_replay');
	return;
}

# The copies of a job as Kafka holds them, in order within each partition
sub copies
{
	my ($job) = @_;

	return grep {
		grep { $_->[0] eq 'outbox_replay' && $_->[1] eq $job } @{ $_->{headers} }
	} $consumer->records;
}

# The events that meet a condition, and were published
sub originals
{
	my ($where) = @_;

	return split /\n/, query(<<~END);
		SELECT event_id FROM outbox.event e
		WHERE $where AND headers->>'outbox_replay' IS NULL
			AND NOT EXISTS (SELECT FROM outbox.event_status s
				WHERE s.id = e.id AND s.status <> 'published')
		ORDER BY id
		END
}

# The job has published copies of these, each once, and of no others.
sub is_replay_of
{
	my ($job, $where, $name) = @_;
	my @expected = originals($where);
	my %place = map { $expected[$_] => $_ } 0 .. $#expected;
	my (%last, $misplaced);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	wait_for_job($job);
	wait_published($node) && $consumer->drain or die 'it is not published';
	my @copies = copies($job);
	for my $copy (@copies)
	{
		my $i = $place{ $copy->{event_id} } // -1;

		$misplaced++
		  if $i <= ($last{"$copy->{topic} $copy->{partition}"} // -1);
		$last{"$copy->{topic} $copy->{partition}"} = $i;
	}
	cmp_ok(scalar @expected, '>', 0, "$name: there are some");
	is_deeply(
		[ sort map { $_->{event_id} } @copies ],
		[ sort @expected ],
		"$name: each once, and no others");
	is($misplaced, undef, "$name: in order");
	is(job($job, 'replayed'), scalar @expected, "$name: counted");
	return;
}

query(<<~END);
	SELECT outbox_emit('t', 'k1', 'expired', expires_at => '2000-01-01');
	SELECT outbox_emit('t', 'k1', 'discarded', expires_at => '2000-01-02');
	SELECT count(outbox_emit(CASE WHEN i % 3 = 0 THEN 'other' ELSE 't' END, 'k' || i % 10,
		i::text, jsonb_build_object('n', i)))
	FROM generate_series(1, $events) i;
	CREATE TABLE middle AS SELECT clock_timestamp() AS t;
	SELECT outbox_emit('t', NULL, NULL);
	SELECT outbox_emit('t', '', '');
	END
ok(wait_published($node), 'published');
$node->poll_query_until('postgres', 'SELECT count(*) = 2 FROM outbox.dead_letter')
  or die 'no dead letters';
query(q{SELECT * FROM outbox.discard(event_id =>
	(SELECT event_id FROM outbox.dead_letter ORDER BY id DESC LIMIT 1))});
is(query('SELECT count(*) FROM outbox.discarded'), 1, 'one is discarded');

note 'what is replayed';
my $job = query('SELECT outbox.replay(first_id => 100, last_id => 299, rate => 100000)');
is_replay_of($job, 'id BETWEEN 100 AND 299', 'ids');
my ($copy) = copies($job);
my ($original) = grep { $_->{event_id} eq $copy->{event_id} } $consumer->records;
is_deeply(
	[ grep { $_->[0] ne 'outbox_replay' } @{ $copy->{headers} } ],
	$original->{headers}, 'a copy has the headers of its original');
is_deeply(
	[ @$copy{qw(topic partition key payload timestamp)} ],
	[ @$original{qw(topic partition key payload timestamp)} ],
	'... and everything else');
is( query("SELECT count(*) FROM outbox.event_status WHERE event_id = '$copy->{event_id}'"),
	2, 'both are shown');

$job = query(q{SELECT outbox.replay(key => 'k7', rate => 100000)});
is_replay_of($job, q{key = 'k7'}, 'a key');
$job = query(q{SELECT outbox.replay(topic => 'other', to_topic => 'copy', rate => 100000)});
is_replay_of($job, q{topic = 'other'}, 'a topic to another one');
is(scalar(grep { $_->{topic} ne 'copy' } copies($job)), 0, 'all copies go there');
is(job($job, "percent || ' ' || state || ' ' || (finished_at >= requested_at)"),
	'100 done true', 'done');
$job = query(q{SELECT outbox.replay(until => t, topic => 't', key => 'k1', rate => 100000) FROM middle});
is_replay_of($job, q{emitted_at < (SELECT t FROM middle) AND topic = 't' AND key = 'k1'},
	'time, topic and key');
$job = query(q{SELECT outbox.replay(since => t) FROM middle});
is_replay_of($job, 'emitted_at >= (SELECT t FROM middle)', 'since then');
$job = query(q{SELECT outbox.replay(first_id => 1, rate => 100000)});
is_replay_of($job, 'true', 'everything');
$job = query(q{SELECT outbox.replay(key => 'nobody')});
wait_for_job($job);
is(job($job, 'replayed'), 0, 'nothing at all');
$job = query(q{SELECT outbox.replay(first_id => 1000000)});
wait_for_job($job);
is(job($job, "replayed || ' ' || percent"), '0 100', 'ids that do not exist yet');
$job = query(q{SELECT outbox.replay(first_id => 9223372036854775807)});
wait_for_job($job);
is(job($job, 'replayed'), 0, 'the highest id that there can be');

query(q{SELECT count(outbox_emit('t', 'large', repeat(i::text, 400000)))
	FROM generate_series(1, 6) i});
ok(wait_published($node), 'large events');
$job = query(q{SELECT outbox.replay(key => 'large', rate => 100000)});
is_replay_of($job, q{key = 'large'}, 'large events, more than a slice takes');

note 'timestamps';
sub timestamps { return map { $_->{timestamp} } copies($_[0]); }

my $key_k1 = q{topic = 't' AND key = 'k1'};
my ($since) = split /\|/, query('SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint');
my $again = query(q{SELECT outbox.replay(topic => 't', key => 'k1')});
is_replay_of($again, $key_k1, 'with the old time');
is(scalar(grep { $_ >= $since } timestamps($again)), 0, 'it is older');
$again = query(q{SELECT outbox.replay(topic => 't', key => 'k1', new_timestamp => true)});
is_replay_of($again, $key_k1, 'with a new time');
is(scalar(grep { $_ < $since } timestamps($again)), 0, 'it is newer');

note 'rate and progress';
my $rate = 400;
my ($faster, $between, $backwards, $last) = (0, 0, 0, 0);
$job = query("SELECT outbox.replay(first_id => 1, last_id => 1200, rate => $rate)");
until (job($job, 'state') eq 'done')
{
	my ($replayed, $percent, $seconds) = split /\|/,
	  job($job, 'replayed, percent, extract(epoch FROM clock_timestamp() - requested_at)');

	# a slice, a fifth of a second's, comes at once
	$faster++ if $replayed > $rate * ($seconds + 0.25);
	$between++ if $percent > 0 && $percent < 100;
	$backwards++ if $percent < $last;
	$last = $percent;
	usleep(50_000);
}
is($faster, 0, 'not faster than asked for');
cmp_ok($between, '>', 3, 'its progress is seen');
is($backwards, 0, '... and grows');
is_replay_of($job, 'id <= 1200', 'slowly');
cmp_ok(job($job, 'extract(epoch FROM finished_at - requested_at)'),
	'>=', 1198 / $rate - 0.5, 'it takes its time');

note 'cancel';
$job = query('SELECT outbox.replay(first_id => 1, rate => 100)');
my $next = query('SELECT outbox.replay(first_id => 5, last_id => 5)');
wait_for_job($job, 'replayed > 0');
is_replay_of($next, 'id = 5', 'replays take turns');
is(job($job, 'state'), 'running', '... although one is slow');
$next = query('SELECT outbox.replay(first_id => 5, last_id => 5)');
my $session = $node->background_psql('postgres');
is($session->query_safe("BEGIN; SELECT outbox.cancel_replay($job)"),
	't', 'somebody begins to cancel it');
is_replay_of($next, 'id = 5', 'the next one need not wait for him');
my $replayed = job($job, 'replayed');
$session->query_safe('ROLLBACK');
wait_for_job($job, "replayed > $replayed");
pass('when he has changed his mind, it goes on');
is(query("SELECT outbox.cancel_replay($job)"), 't', 'cancelled');
$replayed = job($job, 'replayed');
is(job($job, 'state'), 'cancelled', 'its state');
is(query("SELECT outbox.cancel_replay($job)"), 'f', 'but once');
is(query('SELECT outbox.cancel_replay(1000000)'), 'f', 'nor one that there is not');
ok(stays(1, sub { job($job, 'replayed') == $replayed }), 'it stays where it is');
ok(wait_published($node) && $consumer->drain, 'published');
is(scalar(my @c = copies($job)), $replayed, 'and so do its copies');
$session->quit;

note 'outage';
$job = query('SELECT outbox.replay(first_id => 1, last_id => 2000, rate => 200)');
wait_for_job($job, 'replayed > 0');
$mock->command('down');
wait_state($node, 'unavailable');
$replayed = job($job, 'replayed');
cmp_ok($replayed, '<', 1998, 'in the middle');
ok(stays(2, sub { job($job, 'replayed') == $replayed }), 'it rests');
$mock->command('up');
is_replay_of($job, 'id <= 2000', 'after an outage');

note 'crash';
$job = query(qq{SELECT outbox.replay(first_id => 1, last_id => (SELECT max(id) FROM outbox.event
	WHERE key IS NOT DISTINCT FROM '' AND headers IS NULL), rate => 1000)});
wait_for_job($job, 'replayed > 300');
crash($node);
$node->start;
cmp_ok(job($job, 'replayed'), '<', $events, 'killed in the middle');
wait_for_job($job);
is( query(<<~END),
	SELECT count(*), count(DISTINCT event_id) FROM outbox.event
	WHERE headers->>'outbox_replay' = '$job'
	END
	"$events|$events" =~ s/(\d+)/$1 + 2/ger,
	'each event has one copy');
is(job($job, 'replayed'), $events + 2, 'counted');
ok(wait_published($node) && $consumer->drain, 'published');
my %copies = map { $_->{event_id} => 1 } copies($job);
is(scalar(keys %copies), $events + 2, 'all copies arrive');

note 'retention';
$job = query(q{SELECT outbox.replay(first_id => 1, last_id => 600, rate => 60, to_topic => 'late')});
wait_for_job($job, 'replayed > 0');
conf_reload($node, "outbox.retention = '1s'\noutbox.segments = 3");
my $kept = 0;
until (job($job, 'state') eq 'done')
{
	query(q{SELECT outbox_emit('other', 'more', 'x')});
	$kept++ if query(<<~END) eq "replay $job";
		SELECT kept_for FROM outbox.stat_storage WHERE first_id = 1
		END
	usleep(100_000);
}
cmp_ok($kept, '>', 3, 'the segment is kept for the replay');
is(job($job, 'replayed'), 598, 'which has found all its events');
wait_until(
	undef,
	sub {
		query(q{SELECT outbox_emit('other', 'more', 'x')});
		query('SELECT min(id) > 600 FROM outbox.event') eq 't';
	},
	'and is emptied afterwards');
pass('the segment is emptied afterwards');
$job = query('SELECT outbox.replay(first_id => 1, last_id => 600)');
wait_for_job($job);
is(job($job, "replayed || ' ' || percent"), '0 100', 'what is gone is not replayed');

$node->stop;
done_testing();
