# What a relay has counted: events, bytes, failures and times, in all and of each
# topic. It outlives the relay's process, is read whole while the relay writes,
# ends with the relay, and begins anew when asked to.
#
# Catches: figures that are lost with the process, that another relay of the same
# name goes on with, that are torn, that count an event or a failure twice, or by
# which one that waited for a relay has been quick; and more topics than there is
# room for.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use Test::More;
use Time::HiRes qw(time);

my $many = 130;    # topics; a hundred are counted apart
my $wait = 2;      # seconds for which events wait

my $mock = OutboxTest::Mock->new(topics => { a => 2, b => 2, missing => 2 });
$mock->command('refuse missing UNKNOWN_TOPIC_OR_PART');
my $node = outbox_node('main', bootstrap => $mock->bootstrap, extension => 1, conf => <<~'END');
	outbox.retry_base_delay = 200ms
	outbox.retry_max_delay = 400ms
	END

sub relay { return query("SELECT $_[0] FROM outbox.stat_relay WHERE relay = 'default'"); }

# Since stats_reset; outbox.stat_relay.published is since the server started.
sub counted { return query("SELECT published FROM outbox.relay_figures('default')"); }

sub topic
{
	my ($topic, $columns) = @_;
	return query("SELECT $columns FROM outbox.stat_topic WHERE relay = 'default' AND topic "
		. (defined $topic ? "= '$topic'" : 'IS NULL'));
}

# Waits until that is so: a relay shows what it has counted a moment later.
sub becomes
{
	my ($is, $expected, $what) = @_;
	eval { wait_until(30, sub { $is->() eq $expected }, $what); };
	is($is->(), $expected, $what);
	return;
}

note 'counted';
query(q{SELECT count(outbox_emit('a', 'k' || i, 'four', '{"h": "xy"}')) FROM generate_series(1, 100) i});
query(q{SELECT outbox_emit('b', 'key', '12345'::bytea), outbox_emit('b', NULL, NULL)});
ok(wait_published($node), 'published');
becomes(sub { relay('published') . relay('commit_p50 > 0 AND commit_p50 < 60000') }, '102t', 'events');
# key, payload, header h and header event_id
is(topic('a', 'published, bytes'), '100|' . (9 * 2 + 90 * 3 + 4 + 400 + 300 + 100 * (8 + 36)),
	'events and bytes of topic a');
is(topic('b', 'published, bytes, failures, dead_letters'), '2|' . (3 + 5 + 2 * (8 + 36)) . '|0|0', '... of topic b');
is(relay('published_bytes'), query('SELECT sum(bytes) FROM outbox.stat_topic'), 'bytes in all');
is(query(q{SELECT last_published_at BETWEEN stats_reset AND clock_timestamp()
	FROM outbox.stat_topic t JOIN outbox.stat_relay r USING (relay) WHERE topic = 'a'}), 't', 'when the last one was');
is(query(q{SELECT max(events) FROM outbox.relay_histogram('default', 'commit')}), '102', 'all are in the histogram');
is(query(q{SELECT count(*) FROM (SELECT events - lag(events, 1, 0::bigint) OVER w AS n, seconds > lag(seconds, 1, 0::float8) OVER w AS grows
	FROM outbox.relay_histogram('default', 'sent') WINDOW w AS (ORDER BY seconds)) b WHERE n < 0 OR NOT grows}), '0',
	'which grows');
is(query(q{SELECT sent_p50 <= sent_p95 AND sent_p95 <= sent_p99 AND sent_p50 <= commit_p50 AND rate > 0 FROM outbox.stat_relay}), 't',
	'percentiles and rate');

note 'failures';
query(q{SELECT outbox_emit('missing', 'k', 'x')});
wait_rows(1, q{state = 'retrying' AND attempts >= 2});
becomes(sub { topic('missing', 'failures >= 2') }, 't', 'attempts that have failed');
$mock->command('allow missing');
becomes(sub { topic('missing', 'published') }, '1', 'a retried one is published, too');
is(query(q{SELECT max(events) FROM outbox.relay_histogram('default', 'commit')}), '102', '... but says nothing of how quick we are');

note 'an attempt whose failure cannot be written down for a while';
$mock->command('fail Produce 1000 POLICY_VIOLATION');
query(q{SELECT outbox_emit('b', 'k', 'x')});
wait_rows(1, q{state = 'retrying' AND topic = 'b'});
$mock->command($_) for 'rtt 700', 'clear Produce', 'fail Produce 1000 INVALID_RECORD';
wait_rows(1, q{next_attempt_at < clock_timestamp() - interval '100 ms' AND topic = 'b'});
my $failures = topic('b', 'failures');
my $locker = $node->background_psql('postgres');
$locker->query_safe('BEGIN; LOCK TABLE outbox.parked IN SHARE MODE');
my $locked = time;
wait_until(undef, sub { time > $locked + 4 }, 'the answer');
$locker->quit;
$mock->command('rtt 0');
wait_rows(1, q{state = 'dead' AND topic = 'b'});
$mock->command('clear Produce');
becomes(sub { topic('b', "dead_letters, failures - $failures <= 2") }, '1|t', 'is counted once');
is(scalar(log_lines($node, 0, qr/topic "b", key "k"\) is a dead letter/)), 1, '... and told once');

note 'another process';
my $before = relay('stats_reset, published, failures');
replace_relay($node);
is(relay('stats_reset, published, failures'), $before, 'goes on with the figures of the last one');
query(q{SELECT outbox_emit('a', 'k', 'x')});
becomes(sub { relay('published') }, '104', '... and counts on');
becomes(sub { topic('a', 'published') }, '101', '... also of topics');

note 'begun anew';
$before = relay('stats_reset, published');
query('BEGIN; SELECT outbox.stat_reset(); ROLLBACK');
query('BEGIN; SAVEPOINT s; SELECT outbox.stat_reset(); ROLLBACK TO s; SAVEPOINT s; RELEASE s; COMMIT');
is(relay('stats_reset, published'), $before, 'not by what is rolled back, and leaves no row in outbox.audit');
query('BEGIN; SAVEPOINT s; SELECT outbox.stat_reset(); RELEASE s; COMMIT');
is(relay('published_bytes'), '0', 'at commit');

note 'how long events have waited';
query(q{SELECT outbox.pause('default')});
wait_state($node, 'paused');
my $start = time;
query(q{SELECT count(outbox_emit('a', 'k', 'x')) FROM generate_series(1, 10)});
wait_until(undef, sub { time > $start + $wait }, 'a while');
query(q{SELECT outbox.resume('default')});
ok(wait_published($node), 'published');
becomes(\&counted, '10', 'since stat_reset()');
my ($p50, $sent) = split /\|/, relay('commit_p50, sent_p50');
cmp_ok($p50, '>=', $wait * 1000, 'as long as they were kept back');
cmp_ok($p50, '<', ($wait + 60) * 1000 * 1.25, '... and not longer');
cmp_ok($sent, '<', $p50, 'they were not sent before');

note 'how long those have waited that were committed before the server started';
query(q{SELECT outbox.pause('default')});
query(q{SELECT count(outbox_emit('a', 'k', 'x')) FROM generate_series(1, 10)});
$start = time;
$node->restart;
wait_until(undef, sub { time > $start + $wait }, 'a while');
query(q{SELECT outbox_emit('a', 'k', 'x')});
query(q{SELECT outbox.resume('default')});
ok(wait_published($node), 'published');
becomes(\&counted, '11', 'since the server started');
cmp_ok(relay('commit_p50'), '>=', $wait * 1000, 'as long as they were kept back');

note 'topics that another process counts first';
query('SELECT outbox.stat_reset()');
replace_relay($node);
query(q{SELECT outbox_emit('missing', 'k', 'x')});
becomes(sub { topic('missing', 'published, failures') }, '1|0', '... begin with nothing since stat_reset()');

note 'reset while there is no process';
$node->safe_psql('postgres', $_) for 'ALTER SYSTEM SET outbox.enabled = off', 'SELECT pg_reload_conf()';
wait_until(undef, sub { relay('pid IS NULL') eq 't' }, 'no process');
query('SELECT outbox.stat_reset()');
$before = relay('stats_reset');
is(counted(), '0', 'they begin anew');
is(relay('stats_reset'), $before, '... at one time');
$node->safe_psql('postgres', $_) for 'ALTER SYSTEM RESET outbox.enabled', 'SELECT pg_reload_conf()';
wait_state($node, 'publishing');
is(relay('stats_reset'), $before, '... also for the next process');

note 'while they are written';
my $load = pgbench($node, q{SELECT outbox_emit('a', 'k', 'x'), outbox_emit('b', 'k', 'yy');}, clients => 2, duration => 3,
	background => 1);
my $torn = 0;
my $looks = 0;
while (!defined $load->wait(0.01))
{
	$torn += query(q{SELECT count(*) FROM generate_series(1, 200) i
		CROSS JOIN LATERAL (SELECT * FROM outbox.relay_figures('default') WHERE i > 0) f WHERE commit_count <> published OR sent_count <> published});
	$looks += 200;
}
is($torn, 0, "not one of $looks looks is torn");

note 'many topics';
my $named = query('SELECT count(*) FROM outbox.stat_topic WHERE topic IS NOT NULL');
query("SELECT outbox_emit('t' || i, 'k', 'x') FROM generate_series(1, $many) i");
ok(wait_published($node), 'published');
becomes(sub { query('SELECT sum(published) FROM outbox.stat_topic') - counted() }, '0', 'all are counted');
is(query('SELECT count(*) FROM outbox.stat_topic WHERE topic IS NOT NULL'), '100', 'a hundred of them apart');
is(topic(undef, 'published'), $many + $named - 100, 'the others together');

note 'another relay of the same name';
query(q{SELECT outbox.create_relay('other', topics => '{other}')});
query(q{SELECT outbox.drop_relay('default', discard => true)});
query(q{SELECT outbox.create_relay('default')});
wait_state($node, 'publishing');
query(q{SELECT outbox_emit('a', 'k', 'x')});
becomes(sub { relay('published_bytes > 0') . topic('a', 'published') }, 't1', 'begins with nothing');

$node->stop;
done_testing();
