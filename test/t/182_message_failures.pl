# Messages whose handler fails: what waits behind them, when they are tried
# again, and what becomes of them in the end.
#
# Catches: a key whose messages change their order because one has failed, or
# that stays blocked when it is done; others that wait without need, or do not
# wait though the policy says so; delays that do not grow; a dead letter without
# its reason, or its copy, or whose successors stay where they are; what is lost
# or done twice when the process ends between a failure and the next attempt;
# a worker that waits for a row that somebody has locked; ten thousand messages
# behind one that take ages, also while somebody holds a snapshot.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use Test::More;
use Time::HiRes qw(time);

my $mock = OutboxTest::Mock->new(topics => {
		map { $_ => 1 } qw(keys growing ends singles skipped halted held many copies), 'parts' });
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1,
	conf => <<~'END');
		outbox.max_subscribers = 16
		outbox.retry_base_delay = 50ms
		outbox.retry_max_delay = 200ms
		outbox.retry_jitter = 0
		max_worker_processes = 30
		restart_after_crash = on
		autovacuum = off
		END

# A message fails while its key is among the broken ones, or as often as its
# payload says.
query(q{
	CREATE TABLE got (n serial, topic text, part integer, off bigint, key text, payload text, attempt integer);
	CREATE TABLE broken (topic text, key text);
	CREATE FUNCTION h(m outbox.message) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
		what text := outbox.payload_text(m);
	BEGIN
		INSERT INTO public.got (topic, part, off, key, payload, attempt)
			VALUES (m.topic, m.partition, m."offset", m.key, what, m.attempt);
		IF EXISTS (SELECT FROM public.broken b WHERE b.topic = m.topic AND b.key = m.key) THEN
			RAISE EXCEPTION 'key % is broken', m.key USING ERRCODE = 'U0001', DETAIL = 'Mend it.';
		END IF;
		IF m.attempt <= substring(what FROM '^fail (\d+)')::integer THEN
			RAISE EXCEPTION 'attempt % fails', m.attempt;
		END IF;
		RETURN substring(what FROM '^=(.*)');
	END $$;
});

sub subscribe
{
	my ($topic, $more) = @_;

	query("SELECT outbox.subscribe('$topic', '{$topic}', 'public.h(outbox.message)', start => 'earliest', $more)");
	return;
}

# Messages, as "key payload"; the key "-" is none.
sub produce
{
	my ($topic, @messages) = @_;
	my @rows = map { sprintf q{('%s', %d, %s)}, $_->[1], $_->[2], $_->[0] eq '-' ? 'NULL' : "'$_->[0]'" }
	  map { [ split(/ /, $messages[$_], 2), $_ ] } 0 .. $#messages;

	query("SELECT outbox_emit('$topic', m.k, m.p) FROM (VALUES " . join(', ', @rows) . ') AS m (p, n, k) ORDER BY n');
	return;
}

sub break { my ($topic, $key) = @_; query("INSERT INTO broken VALUES ('$topic', '$key')"); return; }
sub mend { my ($topic) = @_; query("DELETE FROM broken WHERE topic = '$topic'"); return; }

# Waits until so many messages of a topic are parked, dead, or done.
sub parked_are { my ($topic, $count) = @_; wait_rows($count, "topic = '$topic'", 'outbox.inbox_parked'); return; }
sub dead_are { my ($topic, $count) = @_; wait_rows($count, "topic = '$topic'", 'outbox.inbox_dead'); return; }
sub got_are { my ($topic, $count) = @_; wait_rows($count, "topic = '$topic'", 'got'); return; }

# What has been done of a topic, in that order
sub got
{
	my ($topic, $where) = @_;

	return query(sprintf q{SELECT coalesce(string_agg(coalesce(key, '-') || off, ' ' ORDER BY n), '') FROM got WHERE topic = '%s' AND %s},
		$topic, $where // 'true');
}

sub pid_of
{
	my ($topic) = @_;

	return query("SELECT pid FROM outbox.stat_subscription WHERE subscription = '$topic'");
}

# Ends a subscription's process by SIGTERM; returns when there is another one.
sub replace_worker
{
	my ($topic) = @_;
	my $pid = pid_of($topic);

	query("SELECT pg_terminate_backend($pid)");
	wait_until(undef, sub { my $is = pid_of($topic); $is && $is != $pid }, 'another process');
	return;
}

note 'block_key: later ones of the key wait';
break('keys', 'a');
subscribe('keys', q{on_failure => 'block_key', retry_max_attempts => 0});
# at its first use of a topic, the client library sends what has no key first
produce('keys', 'w 1');
got_are('keys', 1);
produce('keys', 'a 1', 'b 1', '- fail 1', 'a 2', '- 1', 'b 2', 'a 3', 'aa 1');
parked_are('keys', 3);
got_are('keys', 6);
is(got('keys', q{key ~ 'b|aa'}), 'b2 b6 aa8', 'others go on');
is(got('keys', 'key IS NULL'), '-5 -3', 'one without a key holds up nobody');
is(query(q{SELECT string_agg(format('%s %s %s %s', "offset", attempts > 0, next_attempt_at IS NOT NULL, sqlstate), ', ' ORDER BY "offset") FROM outbox.inbox_parked}),
	'1 t t U0001, 4 f f , 7 f f ', 'the first is tried again, the others wait');
like(query('SELECT error FROM outbox.inbox_parked WHERE "offset" = 1'),
	qr/^key a is broken\nDETAIL: Mend it\.\nCONTEXT: PL\/pgSQL function.*RAISE$/, 'with its reason');
mend('keys');
got_are('keys', 9);
is(got('keys', q{key = 'a'}), 'a1 a4 a7', 'in their order');
parked_are('keys', 0);
produce('keys', 'a 4');
got_are('keys', 10);
is(query(q{SELECT attempt FROM got WHERE topic = 'keys' AND payload = '4'}), 1, 'then the key is free');

note 'growing delays';
subscribe('growing', q{retry_base_delay => '100 ms', retry_max_delay => '350 ms', retry_max_attempts => 0});
break('growing', 'a');
produce('growing', 'a 1');
my %delay;
wait_until(undef, sub {
		my ($attempts, $ms) = split /\|/, query(q{SELECT attempts, extract(epoch FROM next_attempt_at - last_failed_at) * 1000
			FROM outbox.inbox_parked WHERE topic = 'growing'}) or return;
		$delay{$attempts} = $ms;
		return $delay{3} && $attempts >= 3;
	});
cmp_ok(abs($delay{3} - 350), '<', 60, 'up to the longest') or diag explain \%delay;
ok(!grep({ abs($delay{$_} - 100 * 2**($_ - 1)) > 60 } grep { $_ < 3 } keys %delay), 'they double') or diag explain \%delay;
mend('growing');
got_are('growing', 1);

note 'the last attempt';
break('ends', 'a');
subscribe('ends', q{retry_max_attempts => 2, retry_base_delay => '20 ms', dead_letter_topic => 'copies'});
query(q{SELECT outbox_emit('ends', 'a', 'one', headers => '{"h": "v"}')});
my $event_id = query(q{SELECT event_id FROM outbox.event WHERE topic = 'ends'});
produce('ends', 'a 2', 'b 1', 'a 3', 'b =discard', 'b =retry', 'b 2');
dead_are('ends', 4);
is(got('ends'), 'b2 b6', 'the next of the key have their turn');
is(query(q{SELECT string_agg(format('%s %s %s', "offset", attempts, sqlstate), ', ' ORDER BY "offset") FROM outbox.inbox_dead}),
	'0 2 U0001, 1 2 U0001, 3 2 U0001, 5 2 ', 'dead letters');
is(query(q{SELECT error FROM outbox.inbox_dead WHERE "offset" = 5}), 'the handler asks for another attempt', 'one is not an error');
wait_until(undef, sub { 4 == grep { $_->{topic} eq 'copies' } $consumer->records }, 'copies');
my ($copy) = grep { $_->{topic} eq 'copies' } $consumer->records;
my %header = map { @$_ } @{ $copy->{headers} };
is_deeply([ $copy->{key}, $copy->{payload}, delete $header{event_id} ], [ 'a', 'one', $event_id ], 'a copy is what the message was');
like(delete $header{'__connect.errors.exception.message'}, qr/^key a is broken/, 'with the reason');
is_deeply(\%header, {
		h => 'v',
		'__connect.errors.topic' => 'ends', '__connect.errors.partition' => '0', '__connect.errors.offset' => '0',
		'__connect.errors.connector.name' => 'ends', '__connect.errors.exception.class.name' => 'U0001' }, 'and its place')
  or diag explain \%header;

note 'requeued, discarded, forgotten';
is(query(q{SELECT outbox.inbox_requeue(subscription => 'ends', sqlstate => 'U0001')}), 3, 'requeued');
dead_are('ends', 4);
mend('ends');
query(q{SELECT outbox.inbox_requeue(subscription => 'ends', sqlstate => 'U0001')});
got_are('ends', 5);
is(got('ends', q{key = 'a'}), 'a0 a1 a3', 'in order');
is(query(q{SELECT min(attempt) FROM got WHERE topic = 'ends' AND key = 'a'}), 1, 'as if they had not failed');
query(q{UPDATE outbox.inbox_dead SET last_failed_at = now() - interval '2 h' WHERE topic = 'ends'});
conf_reload($node, 'outbox.dead_letter_retention = 1h');
replace_relay($node);
dead_are('ends', 0);
break('keys', 'd');
produce('keys', 'd 1', 'd 2', 'd 3');
parked_are('keys', 3);
mend('keys') if query(q{SELECT outbox.inbox_discard(subscription => 'keys', partition => 0, at_offset => 10, retrying => true)}) == 1;
parked_are('keys', 0);
is(got('keys', q{key = 'd'}), 'd11 d12', 'what is discarded makes room for the next');

note 'skip: nobody waits';
break('skipped', 'a');
subscribe('skipped', q{on_failure => 'skip', retry_max_attempts => 0});
produce('skipped', 'a 1', 'b 1', 'a 2');
parked_are('skipped', 2);
is(query(q{SELECT count(*) FROM outbox.inbox_parked WHERE topic = 'skipped' AND next_attempt_at IS NULL}), 0, 'each for itself');
mend('skipped');
got_are('skipped', 3);

note 'block_partition';
query(q{SELECT outbox.subscribe('parts', '{parts,singles}', 'public.h(outbox.message)', start => 'earliest', on_failure => 'block_partition', retry_max_attempts => 0)});
break('parts', 'a');
produce('parts', 'a 1', 'b 1', 'b 2');
parked_are('parts', 1);
produce('parts', 'b 3');
produce('singles', 'a 1');
got_are('singles', 1);
is(got('parts'), '', 'its partition waits');
replace_worker('parts');
produce('singles', 'a 2');
got_are('singles', 2);
is(got('parts'), '', 'also for another process');
mend('parts');
got_are('parts', 4);
is(got('parts'), 'a0 b1 b2 b3', 'and goes on in order');

note 'halt';
query(q{SELECT outbox.unsubscribe('parts')});
query(q{SELECT outbox.subscribe('halted', '{halted,parts}', 'public.h(outbox.message)', on_failure => 'halt', start => 'earliest')});
wait_rows(8, q{topic = 'parts'}, 'got');
break('halted', 'a');
produce('halted', 'a 1', 'a 2');
parked_are('halted', 1);
wait_until(undef, sub { query(q{SELECT state FROM outbox.stat_subscription WHERE subscription = 'halted'}) eq 'halted' }, 'halted');
produce('parts', 'z 1');
wait_until(undef, sub { query(q{SELECT attempts > 2 FROM outbox.inbox_parked WHERE topic = 'halted'}) eq 't' });
is(got('halted') . got('parts', 'off > 3'), '', 'nothing goes on');
mend('halted');
got_are('halted', 2);
got_are('parts', 9);
is(got('halted'), 'a0 a1', 'until it is done');
wait_until(undef, sub { query(q{SELECT state FROM outbox.stat_subscription WHERE subscription = 'halted'}) eq 'consuming' }, 'consuming');

note 'the process ends between a failure and the next attempt';
break('keys', 'e');
produce('keys', 'e 1', 'f 1', 'e 2');
parked_are('keys', 2);
replace_worker('keys');
produce('keys', 'e 3', 'f 2');
parked_are('keys', 3);
kill 'KILL', pid_of('keys');
wait_until(undef, sub { works('DELETE FROM broken') }, 'the server is back');
got_are('keys', 17);
is(got('keys', q{key IN ('e', 'f')}), 'f14 f17 e13 e15 e16', 'nothing is lost, or done twice, or out of order');

note 'rows that somebody has locked';
break('held', 'a');
break('held', 'b');
subscribe('held', 'retry_max_attempts => 0');
produce('held', 'a 1', 'b 1', 'a 2');
parked_are('held', 3);
my $session = $node->background_psql('postgres');
$session->query_safe(q{BEGIN; SELECT FROM outbox.inbox_parked WHERE topic = 'held' AND "offset" = 0 FOR UPDATE});
mend('held');
produce('held', 'c 1');
got_are('held', 2);
like(got('held'), qr/^(b1 c3|c3 b1)$/, 'others are tried, what is behind it is not');
$session->query_safe('COMMIT');
got_are('held', 4);
is(got('held', q{key = 'a'}), 'a0 a2', 'it is, when they let go');

note 'many behind one';
my $holder = $node->background_psql('postgres');
$holder->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1');
break('many', 'a');
subscribe('many', 'retry_max_attempts => 0');
query(q{SELECT count(outbox_emit('many', 'a', i::text)) FROM generate_series(1, 10000) AS i});
parked_are('many', 10000);
my $began = time;
mend('many');
got_are('many', 10000);
my $took = time - $began;
note sprintf '%.1f s', $took;
cmp_ok($took, '<', 20, 'they follow quickly');
is(query(q{SELECT count(*) FROM (SELECT off, lag(off, 1, -1::bigint) OVER (ORDER BY n) AS last FROM got WHERE topic = 'many') g WHERE off <> last + 1}),
	0, 'and in order');
$_->quit for $holder, $session;

is(query('SELECT count(*) FROM outbox.inbox_parked'), 0, 'nothing is left');
$node->stop;
done_testing();

# Sessions are ended by a crash of the server, so it may take more than one.
sub works
{
	my ($sql) = @_;
	my ($status) = $node->psql('postgres', $sql, timeout => 10);

	return defined $status && $status == 0;
}
