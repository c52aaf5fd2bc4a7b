# A paused topic: its events wait in order, others go on.
#
# Catches: an event that is published though it was emitted after the pause, or
# that the sink had when its topic was paused in an outage; one that is lost,
# repeated or overtaken when the topic is paused and resumed under traffic, or
# when the relay or the server ends meanwhile; a paused event that is tried, that
# loses attempts, or that halts the others; and a pause that is not shown.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use Test::More;

my $keys = 10;

my $mock = OutboxTest::Mock->new(
	topics => { paused => 2, other => 2, missing => 1, letters => 1 });
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1,
	conf => <<~'END');
		restart_after_crash = on
		outbox.retry_base_delay = 100ms
		outbox.retry_max_delay = 100ms
		outbox.retry_max_attempts = 1000
		END

sub notices
{
	my ($sql) = @_;
	my ($status, $out, $err) = $node->psql('postgres', $sql);

	die $err if $status != 0;
	return $err;
}

sub arrived
{
	my ($topic) = @_;

	return scalar grep { $_->{topic} eq $topic } $consumer->records;
}

sub emit
{
	my ($topic, $count) = @_;

	query("SELECT count(outbox_emit('$topic', 'key ' || i % $keys, 'x' || i))"
		  . " FROM generate_series(1, $count) i");
	return;
}

# Events of it are published, that are emitted meanwhile.
sub flows
{
	my ($topic) = @_;
	my $should = arrived($topic) + 100;

	wait_until(undef, sub { arrived($topic) >= $should }, "$topic flows");
	return;
}

# All that is committed of these topics has come, in order, when no more than so
# many others are parked; returns how many came twice.
sub check
{
	my ($name, $others) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	wait_parked($others // 0, $name);
	ok(wait_published($node), "$name: published");
	ok($consumer->drain, "$name: read");
	return check_delivery(
		[ events($node, 'postgres', "topic IN ('paused', 'other')") ],
		[ grep { $_->{topic} =~ /^(?:paused|other)$/ } $consumer->records ],
		$name);
}

note 'what cannot be paused, or resumed';
my $exact = qr/cannot be the name of a topic.*there are no patterns here/s;
fails_with($node, 'postgres', "SELECT outbox.pause_topic('$_')", '22023', $exact, "topic \"$_\"")
  for '', 'orders.*', '..';
fails_with($node, 'postgres', 'SELECT outbox.pause_topic(NULL)', '22023', qr/topic must not be null/, 'no topic');
fails_with($node, 'postgres', q(SELECT outbox.pause_topic('paused', 'a reason')),
	'42704', qr/relay "a reason" does not exist/, 'a reason in place of a relay');
like(notices(q(SELECT outbox.resume_topic('paused'))), qr/NOTICE:  topic "paused" is not paused/, 'not paused');
is(query('SELECT count(*) FROM outbox.paused'), 0, 'nothing is paused');

note 'pause';
emit($_, 100) for qw(paused other);
ok(wait_published($node), 'published');
query('CREATE ROLE alice SUPERUSER LOGIN');
$node->safe_psql('postgres', q(SELECT outbox.pause_topic('paused', reason => 'it''s broken')),
	connstr => $node->connstr('postgres') . ' user=alice');
emit($_, 100) for qw(paused other);
ok(wait_published($node), 'nobody waits for what is paused');
ok($consumer->drain, 'read');
is(arrived('other'), 200, 'the other topic goes on');
is(arrived('paused'), 100, 'nothing of the paused one is published');
is(query(q(SELECT count(*), bool_and(attempts = 0) FROM outbox.event_status
		WHERE topic = 'paused' AND status = 'waiting')),
	'100|t', 'they wait');
is(query('SELECT retrying, waiting, state FROM outbox.stat_relay'), '0|100|publishing', 'stat_relay counts them');
is( query(q(SELECT relay, scope, topic, key, event_id, class, error, since BETWEEN now() - interval '1 min' AND now(),
		waiting FROM outbox.blocked)),
	q(default|topic|paused|||paused|paused by alice: it's broken|t|100),
	'blocked tells by whom and why');
is( query(q(SELECT relay, topic, paused_at BETWEEN now() - interval '1 min' AND now(), paused_by, reason FROM outbox.paused)),
	q(|paused|t|alice|it's broken), 'so does the view of all that is paused');
like(notices(q(SELECT outbox.pause_topic('paused', reason => 'me, too'))),
	qr/NOTICE:  topic "paused" is paused already.*alice has paused it, at .*: it's broken\./s, 'paused twice');
like(notices(q(SELECT outbox.pause_topic('paused', 'default'))), qr/paused already/, 'for one relay, too');
fails_with($node, 'postgres', q(SELECT outbox.resume_topic('paused', 'default')),
	'55000', qr/topic "paused" is paused for all relays/, 'it is not resumed for one relay');
query(q(BEGIN; SELECT outbox.resume_topic('paused'); ROLLBACK));
emit('paused', 100);
ok(wait_published($node), 'parked');
is(arrived('paused'), 100, 'what is rolled back resumes nothing');
query(q(SELECT outbox.resume_topic('paused')));
is(check('resumed'), 0, 'resumed: nothing twice');
is(query('SELECT count(*) FROM outbox.blocked'), 0, 'nothing is blocked');

note 'for one relay';
query(q(SELECT outbox.pause_topic('paused', 'default'); SELECT outbox.pause_topic('paused')));
is(query('SELECT relay FROM outbox.paused ORDER BY relay'), "default\n", 'for one, and for all');
query(q(SELECT outbox.resume_topic('paused')));
is(query('SELECT count(*) FROM outbox.paused'), 0, 'all of it is resumed');
query(q(SELECT outbox.pause_topic('paused', 'default'); SELECT outbox.resume_topic('paused', 'default')));
is(query('SELECT count(*) FROM outbox.paused'), 0, 'and for that relay');

note 'whoever has seen a pause and emits then finds nothing of it in Kafka';
query(<<~'END');
	CREATE PROCEDURE pause_and_emit(n int) LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 1 .. n LOOP
			PERFORM outbox.pause_topic('paused');
			COMMIT;
			PERFORM outbox_emit('paused', 'key ' || i, 'paused'), outbox_emit('other', 'key ' || i, 'x');
			COMMIT;
			PERFORM outbox.resume_topic('paused'), outbox.pause_topic('paused.' || i);
			COMMIT;
			PERFORM outbox_emit('paused.' || i, 'key', 'x'), outbox_emit('other', 'key ' || i, 'x');
			COMMIT;
		END LOOP;
	END $$
	END
query('CALL pause_and_emit(200)');
is(check('in rapid succession', 200), 0, 'in rapid succession: nothing twice');
is(scalar(grep { $_->{topic} =~ /^paused\./ } $consumer->records), 0, 'none of the others comes');
query(q(SELECT outbox.resume_topic(topic) FROM outbox.paused));
wait_parked(0);
ok($consumer->drain, 'read');
is(scalar(grep { $_->{topic} =~ /^paused\./ } $consumer->records), 200, 'now they all do');

note 'an event that expires, one that is discarded, one that is requeued';
query(q(SELECT outbox.pause_topic('special')));
query(q(SELECT outbox_emit('special', 'expires', 'x', expires_at => now() + interval '1 s')));
query(q(SELECT outbox_emit('special', 'discarded', 'x')));
wait_rows(1, q(state = 'dead' AND class = 'expired'));
is(query(q(SELECT key FROM outbox.discard(topic => 'special', key => 'discarded', waiting => true))),
	'discarded', 'discarded');
is(query(q(SELECT key FROM outbox.requeue(topic => 'special'))), 'expires', 'requeued');
ok(stays(0.5, sub { query(q(SELECT state FROM outbox.parked)) eq 'waiting' }), 'it waits');
query(q(SELECT outbox.resume_topic('special')));
wait_parked(0);
ok($consumer->drain, 'read');
is(join(' ', map { $_->{key} } grep { $_->{topic} eq 'special' } $consumer->records),
	'expires', 'what was requeued comes, and nothing else');

note 'a topic that fails';
$mock->command('refuse missing UNKNOWN_TOPIC_OR_PART');
emit('missing', 3);
wait_parked(3);
query(q(SELECT outbox.pause_topic('missing', reason => 'wait')));
emit('missing', 2);
wait_parked(5);
my $attempts = query('SELECT sum(attempts) FROM outbox.parked');
ok(stays(1, sub { query('SELECT sum(attempts) FROM outbox.parked') == $attempts }), 'it is not tried');
conf_reload($node, "outbox.on_failure = halt");
emit('other', 10);
ok(wait_published($node), 'a paused topic halts nobody');
is(relay_state($node), 'publishing', 'state');
query(q(SELECT outbox.resume_topic('missing')));
wait_state($node, 'halted');
query(q(SELECT outbox.pause_topic('missing')));
wait_state($node, 'publishing');
conf_reload($node, "outbox.on_failure = block_key");
$mock->command('allow missing');
query(q(SELECT outbox.resume_topic('missing')));
wait_parked(0);
ok($consumer->drain, 'read');
is(join(' ', map { $_->{payload} } grep { $_->{topic} eq 'missing' } $consumer->records),
	'x1 x2 x3 x1 x2', 'in order');

note 'copies of dead letters';
query(q(SELECT outbox.pause_topic('letters')));
conf_reload($node, "outbox.dead_letter_topic = 'letters'");
query(q(SELECT outbox_emit('special', 'dead', 'x', expires_at => now() - interval '1 s')));
ok(wait_published($node), 'parked');
ok(stays(0.5, sub { query('SELECT announced_at IS NULL FROM outbox.parked') eq 't' }), 'none goes to a paused topic');
query(q(SELECT outbox.resume_topic('letters')));
wait_rows(1, 'announced_at IS NOT NULL');

note 'paused in an outage';
$mock->command('down');
emit($_, 100) for qw(paused other);
wait_state($node, 'unavailable');
query(q(SELECT outbox.pause_topic('paused')));
my $have = arrived('paused');
# the sink that has them ends, and gives them back
$node->poll_query_until('postgres',
	q(SELECT count(*) = 100 FROM outbox.parked WHERE topic = 'paused')) or die 'not taken back';
$mock->command('up');
ok(wait_published($node), 'published');
ok($consumer->drain, 'read');
is(arrived('paused'), $have, 'what the sink had is not published');
query(q(SELECT outbox.resume_topic('paused')));
is(check('after the outage'), 0, 'after the outage: nothing twice');

note 'under traffic, with restarts and crashes';
query(<<~END);
	CREATE TABLE counter (key int PRIMARY KEY, n int);
	INSERT INTO counter SELECT k, 0 FROM generate_series(1, $keys) k;
	END
my $script = <<~END;
	\\set key random(1, $keys)
	BEGIN;
	UPDATE counter SET n = n + 1 WHERE key = :key RETURNING n \\gset
	SELECT outbox_emit('other', :key, :n::text);
	SELECT outbox_emit('paused', :key, :n::text);
	COMMIT;
	END
my @load = (clients => 4, rate => 300, duration => 600, background => 1);
my $load = pgbench($node, $script, @load);
for my $deed (undef, sub { replace_relay($node) }, sub { kill_relay($node) },
	sub { crash($node); $node->start }, undef)
{
	query(q(SELECT outbox.pause_topic('paused')));
	flows('other');
	if ($deed)
	{
		$deed->();
		$load->stop;
		$node->poll_query_until('postgres', 'SELECT true') or die 'the server is gone';
		$load = pgbench($node, $script, @load);
	}
	is(query('SELECT topic FROM outbox.paused'), 'paused', 'it is still paused');
	flows('other');
	query(q(SELECT outbox.resume_topic('paused')));
	flows('paused');
}
stop_load($node, $load);
wait_parked(0);
check('under traffic');

$node->stop;
done_testing();
