# outbox.event_status: every status that an event may have, since when, and
# that each condition finds it; by the indexes, however many there are.
#
# Catches: a status that is taken for another, or missing; a condition that does
# not find an event, or that reads all of them.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use Test::More;

my $mock = OutboxTest::Mock->new(topics => { t => 1, refused => 1 });
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1,
	conf => 'outbox.retry_max_attempts = 1000');

sub status
{
	my ($event_id, $columns) = @_;

	$columns //= 'status';
	return query(
		"SELECT $columns FROM outbox.event_status WHERE event_id = '$event_id'");
}

sub becomes
{
	my ($event_id, $status, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	eval { wait_until(undef, sub { status($event_id) eq $status }) };
	return is(status($event_id), $status, $name // $status);
}

my $now = query('SELECT clock_timestamp()');
my %event;
sub emit
{
	my ($name, $arguments) = @_;

	return $event{$name} = query("SELECT outbox_emit($arguments)");
}

note 'each status';
emit(published => q{'t', 'k1', 'x'});
becomes($event{published}, 'published');
$node->poll_query_until('postgres',
	"SELECT status_at IS NOT NULL FROM outbox.event_status WHERE event_id = '$event{published}'")
  or die 'its time is not written';
is( status($event{published},
		"relay, topic, key, status_at BETWEEN emitted_at AND clock_timestamp(),"
		  . " next_attempt_at, attempts, error"),
	'default|t|k1|t|||',
	'... since it was acknowledged, to a second');
is( status($event{published}, 'status_at - emitted_at < interval \'10 s\''),
	't', '... not since later');

emit(delayed => q{'t', 'k2', 'x', deliver_at => '2100-01-01'});
is( status($event{delayed}, q{status, status_at = '2100-01-01', id IS NULL, relay IS NULL}),
	'delayed|t|t|t',
	'delayed, until when');

emit(expired => q{'t', 'k3', 'x', expires_at => '2000-01-01'});
becomes($event{expired}, 'expired');
is( status($event{expired}, q{status_at >= emitted_at, error}),
	't|expired before it was published', '... since when and why');

$mock->command('refuse refused UNKNOWN_TOPIC_OR_PART');
emit(retrying => q{'refused', 'k4', 'x'});
becomes($event{retrying}, 'retrying');
is( status($event{retrying},
		q{status_at >= emitted_at, next_attempt_at > status_at, attempts > 0, error LIKE '%nknown%'}),
	't|t|t|t',
	'... since when, until when, how often and why');
emit(waiting => q{'refused', 'k4', 'x'});
becomes($event{waiting}, 'waiting');

conf_reload($node, 'outbox.retry_max_attempts = 1');
$node->poll_query_until('postgres',
	"SELECT status <> 'retrying' FROM outbox.event_status WHERE event_id = '$event{retrying}'")
  or die 'it is not given up';
is(status($event{retrying}), 'dead', 'dead');
is( status($event{retrying}, q{status_at >= emitted_at, next_attempt_at IS NULL, attempts > 0}),
	't|t|t', '... since when');
$event{dead} = delete $event{retrying};
$event{discarded} = delete $event{waiting};
is(query("SELECT count(*) FROM outbox.discard(event_id => '$event{discarded}')"),
	1, 'one is discarded');
is(status($event{discarded}, q{status, status_at BETWEEN emitted_at AND clock_timestamp()}),
	'discarded|t', 'discarded, since when');

$mock->command('down');
emit(pending => q{'t', 'k5', 'x'});
is(status($event{pending}, 'status, status_at IS NULL'), 'pending|t', 'pending');

note 'conditions';
is( query("SELECT string_agg(status, ' ' ORDER BY status) FROM outbox.event_status"),
	join(' ', sort grep { $_ ne 'requeued' } keys %event),
	'without one: all of them');
is( query("SELECT string_agg(status, ' ' ORDER BY status) FROM outbox.event_status WHERE topic = 'refused'"),
	'dead discarded', 'topic');
is( query("SELECT status FROM outbox.event_status WHERE key = 'k2'"), 'delayed', 'key');
is( query("SELECT count(*) FROM outbox.event_status WHERE emitted_at >= '$now'"),
	scalar(keys %event), 'time');
is( query("SELECT count(*) FROM outbox.event_status WHERE emitted_at < '$now'"),
	0, 'another time');

note 'an event whose segment is empty';
my $session = $node->background_psql('postgres');
$session->query_safe('SET session_replication_role = replica');
$session->query_safe('DELETE FROM outbox.event_0 WHERE key = \'k3\'');
is(status($event{expired}), 'expired', 'a dead letter is shown all the same');

note 'many of them';
$session->query_safe(<<~'END');
	INSERT INTO outbox.event_5 (id, event_id, emitted_at, topic, key, payload)
	SELECT -i, (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0')
			|| '7' || substr(h, 1, 3) || '8' || substr(h, 4, 15))::uuid,
		at, 't' || i % 10, 'customer ' || abs(hashint4(i) % 5000), convert_to(repeat(h, 4), 'UTF8')
	FROM (SELECT i, timestamptz '2020-01-01' + i * interval '10 ms' AS at,
			md5(i::text) AS h
		FROM generate_series(1, 100000) i) e;
	UPDATE outbox.relay SET first_position = -100001;  -- they are of its time
	END
query('VACUUM ANALYZE outbox.event_5');
my $pages = query(q{SELECT relpages FROM pg_class WHERE oid = 'outbox.event_5'::regclass});
my ($id, $key, $at) = split /\|/, query(
	'SELECT event_id, key, emitted_at FROM outbox.event_5 WHERE id = -50000');

# Pages of the segment that a look-up reads
sub pages_read
{
	my ($condition) = @_;
	my $plan = query(<<~END);
		EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF)
		SELECT * FROM outbox.event_status WHERE $condition
		END
	my ($node) = $plan =~ /^( *-> .*? on event_5 .*?)(?=^ *-> [^\n]* on event_6 )/ms;
	my ($lossy) = ($node // '') =~ /Heap Blocks: (?:exact=\d+ )?lossy=(\d+)/;

	diag $plan unless defined $lossy;
	return $lossy // $pages;
}
for my $condition (
	"event_id = '$id'",
	"key = '$key'",
	"emitted_at BETWEEN '$at' AND timestamptz '$at' + interval '1 s'",
	"topic = 't0' AND emitted_at BETWEEN '$at' AND timestamptz '$at' + interval '1 s'",
	"key = 'nobody'")
{
	my $read = pages_read($condition);

	note "$read of $pages pages";
	cmp_ok($read, '<', $condition =~ /^key = 'c/ ? $pages * 0.6 : $pages / 10, $condition);
}
is(status($id), 'published', 'found by its name');

note 'rows that come into a range of pages that is summarized already';
is( query(<<~'END'), '1|400', 'each is in the summary');
	DO $$ BEGIN
		EXECUTE (SELECT format('SELECT brin_summarize_range(%L::regclass, block.n) FROM
			(SELECT (pg_relation_size(%L) / 8192 - 1) / 32 * 32 AS n) block',
			format('outbox.event_%s_look', segment), format('outbox.event_%s', segment))
			FROM outbox.segment_status() WHERE is_current);
	END $$;
	DO $$ BEGIN PERFORM outbox_emit('later', 'later', n::text) FROM generate_series(1, 400) n; END $$;
	SET enable_seqscan = off; SET enable_indexscan = off;
	SELECT count(DISTINCT topic), count(*) FROM outbox.event WHERE key = 'later';
	END

$session->quit;
$node->stop;
done_testing();
