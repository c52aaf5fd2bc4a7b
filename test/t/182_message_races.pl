# What a message is, and when it is its turn, while others change something at
# the same moment: a seek to before what is parked, another worker that takes a
# partition over, a topic that is made anew, a requeue of what has been read
# again meanwhile.
#
# Catches: a message that stays parked for good, or is handled after a later one
# of its key, or twice, or whose place in the tables another one takes.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Producer;
use OutboxTest::Server;
use Test::More;

my $mock = OutboxTest::Mock->new(topics => { back => 1, handed => 2, again => 1, remade => 1, doubled => 1 });
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1,
	conf => <<~'END');
		outbox.max_subscribers = 16
		outbox.retry_base_delay = 50ms
		outbox.retry_max_delay = 200ms
		outbox.retry_jitter = 0
		max_worker_processes = 30
		END
my $producer = OutboxTest::Producer->new(bootstrap => $mock->bootstrap);

# A message fails while its payload is among the broken ones; it is under way
# while it is among the slow ones, from that call on; it takes as long as it says.
query(q{
	CREATE TABLE got (n serial, topic text, off bigint, payload text, attempt integer);
	CREATE TABLE broken (topic text, payload text);
	CREATE TABLE slow (topic text, payload text, from_call bigint);
	CREATE SEQUENCE calls;
	CREATE FUNCTION h(m outbox.message) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		what text := outbox.payload_text(m);
		call bigint := nextval('public.calls');
	BEGIN
		INSERT INTO public.got (topic, off, payload, attempt) VALUES (m.topic, m."offset", what, m.attempt);
		WHILE EXISTS (SELECT FROM public.slow s WHERE s.topic = m.topic AND s.payload = what AND call >= s.from_call) LOOP
			PERFORM pg_sleep(0.01);
		END LOOP;
		IF EXISTS (SELECT FROM public.broken b WHERE b.topic = m.topic AND b.payload = what) THEN
			RAISE EXCEPTION '% is broken', what;
		END IF;
		PERFORM pg_sleep(substring(what FROM '^([0-9.]+) s')::float8);
	END $$;
});

sub subscribe
{
	my ($topic, $more) = @_;

	query("SELECT outbox.subscribe('$topic', '{$topic}', 'public.h(outbox.message)', start => 'earliest', $more)");
	return;
}

sub break { my ($topic, $what) = @_; query("INSERT INTO broken VALUES ('$topic', '$what')"); return; }
sub mend { my ($topic, $what) = @_; query("DELETE FROM broken WHERE topic = '$topic' AND payload = '$what'"); return; }
sub slow { my ($topic, $what, $call) = @_; query("INSERT INTO slow VALUES ('$topic', '$what', $call)"); return; }
sub parked_are { my ($topic, $count) = @_; wait_rows($count, "topic = '$topic'", 'outbox.inbox_parked'); return; }
sub got_are { my ($topic, $count) = @_; wait_rows($count, "topic = '$topic'", 'got'); return; }
sub got { my ($topic) = @_; return query("SELECT string_agg(payload, ' ' ORDER BY n) FROM got WHERE topic = '$topic'"); }

# Waits until so many subscribers wait for that.
sub waiting_are
{
	my ($count, $event) = @_;

	wait_rows($count, "backend_type LIKE 'outbox subscriber%' AND '$event' IN (wait_event_type, wait_event)", 'pg_stat_activity');
	return;
}

sub go_back
{
	my ($topic, $offset) = @_;

	query("SELECT outbox.seek('$topic', $offset, topic => '$topic', partition => 0)");
	return;
}

note 'a seek to before what is parked';
break('back', $_) for qw(two three);
subscribe('back', 'batch_size => 1, retry_max_attempts => 0');
$producer->send('back', 0, @$_) for [ 'b', 'zero' ], map { [ 'a', $_ ] } qw(one two three);
$producer->flush;
parked_are('back', 2);
got_are('back', 2);
slow('back', 'zero', 0);
go_back('back', 0);
waiting_are(1, 'PgSleep');
# it is done before the first of its key is read
mend('back', 'two');
query('DELETE FROM slow');
wait_rows(1, q{topic = 'back' AND next_offset = 4}, 'outbox.subscription_offset');
mend('back', 'three');
parked_are('back', 0);
# the second one is tried again before it is read again, or not
like(got('back'), qr/^zero one zero (?:two )?one two three$/, 'what comes before it is not left behind');

note 'a message fails while another worker waits to take its partition over';
my $call = query(q{SELECT nextval('calls')});
break('handed', 'one');
# together with others; then, in a part of the transaction
slow('handed', 'one', $call + 2);
subscribe('handed', 'retry_max_attempts => 0');
$producer->send('handed', 1, 'k', 'one');
$producer->flush;
waiting_are(1, 'PgSleep');
$producer->send('handed', 1, 'k', $_) for qw(two three);
$producer->flush;
query(q{SELECT outbox.alter_subscription('handed', workers => 2)});
waiting_are(1, 'Lock');
query('DELETE FROM slow');
wait_rows(1, q{topic = 'handed' AND partition = 1 AND next_offset = 3}, 'outbox.subscription_offset');
mend('handed', 'one');
got_are('handed', 3);
is(got('handed'), 'one two three', 'those behind it wait, whoever has it');

note 'a dead letter that has been read again';
break('again', 'x');
subscribe('again', 'retry_max_attempts => 1');
$producer->send('again', 0, 'k', 'x', id => 'the id');
$producer->flush;
wait_rows(1, q{topic = 'again'}, 'outbox.inbox_dead');
mend('again', 'x');
go_back('again', 0);
got_are('again', 1);
query(q{SELECT outbox.inbox_requeue(subscription => 'again')});
parked_are('again', 0);
is(got('again'), 'x', 'is known then');
# but what a seek is to repeat is repeated, also if it fails at first
break('again', 'x');
go_back('again', 0);
wait_rows(1, q{topic = 'again'}, 'outbox.inbox_dead');
mend('again', 'x');
query(q{SELECT outbox.inbox_requeue(subscription => 'again')});
got_are('again', 2);
parked_are('again', 0);

note 'another message at the place of one that is parked';
break('remade', $_) for qw(old new);
subscribe('remade', 'retry_max_attempts => 0');
$producer->send('remade', 0, 'k', 'new');
$producer->flush;
parked_are('remade', 1);
# as if it were of a topic of that name that there was before
query(q{UPDATE outbox.inbox_parked SET payload = 'old', published_at = published_at - interval '1 day' WHERE topic = 'remade'});
go_back('remade', 0);
wait_rows(1, q{topic = 'remade' AND payload = 'old'}, 'outbox.inbox_dead');
is(query(q{SELECT outbox.inbox_requeue(subscription => 'remade')}), 0, 'it stays a dead letter as long as its place is taken');
mend('remade', 'new');
got_are('remade', 1);
mend('remade', 'old');
is(query(q{SELECT outbox.inbox_requeue(subscription => 'remade')}), 1, 'then it is tried again');
got_are('remade', 2);
is(got('remade'), 'new old', 'neither is lost');

note 'a partition that is held, and let go, while some of it is in the queue';
break('doubled', 'x');
subscribe('doubled', q{on_failure => 'skip', retry_max_attempts => 0});
$producer->send('doubled', 0, undef, 'x');
$producer->flush;
parked_are('doubled', 1);
my $session = $node->background_psql('postgres');
$session->query_safe('BEGIN; LOCK TABLE outbox.inbox_parked IN SHARE ROW EXCLUSIVE MODE');
query(q{SELECT outbox.alter_subscription('doubled', on_failure => 'block_partition')});
$producer->send('doubled', 0, undef, "0.02 s $_") for 1 .. 43;
$producer->flush;
mend('doubled', 'x');
wait_rows(1, q{subscription = 'doubled' AND lag_messages = 43}, 'outbox.stat_subscription');
$session->query_safe('COMMIT');
wait_rows(1, q{topic = 'doubled' AND next_offset = 44}, 'outbox.subscription_offset');
parked_are('doubled', 0);
is(query(q{SELECT count(*) || ' ' || count(DISTINCT off) FROM got WHERE topic = 'doubled'}), '44 44', 'each is handled once');
$session->quit;

is(query('SELECT count(*) FROM outbox.inbox_parked'), 0, 'nothing is left');
$node->stop;
done_testing();
