# A handler that ends its server process with a signal, each time it is given a
# message: in a batch, and when the message is tried again.
#
# Catches: a message that crashes the server again and again, for ever; one that
# ends its process by a fatal error, likewise; one that becomes a dead letter
# because another process has crashed, or because somebody has killed its own,
# once; neighbours, of the same subscription and of another one, that are lost,
# or done twice, or out of order.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use Test::More;

my $mock = OutboxTest::Mock->new(topics => { bad => 1, good => 1 });
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1,
	conf => <<~'END');
		restart_after_crash = on
		outbox.retry_base_delay = 50ms
		outbox.retry_max_delay = 100ms
		max_worker_processes = 20
		END

# Sessions are ended by each crash, so it may take more than one.
sub again
{
	my ($sql) = @_;

	return wait_until(
		undef,
		sub {
			my ($status, $out) = $node->psql('postgres', $sql, timeout => 10);
			defined $status && $status == 0 ? [$out] : undef;
		},
		$sql)->[0];
}

sub waits_for
{
	my ($sql) = @_;

	return wait_until(undef, sub { again("SELECT $sql") eq 't' }, $sql);
}

sub crashes
{
	my ($from) = @_;

	return scalar log_lines($node, $from, qr/"outbox subscriber".* was terminated by signal 9/);
}

sub got
{
	my ($topic) = @_;

	return again("SELECT coalesce(string_agg(key || ':' || what, ' ' ORDER BY n), '') FROM got WHERE topic = '$topic'");
}

query(q{
	CREATE TABLE got (n serial, topic text, key text, what text);
	CREATE FUNCTION h(m outbox.message) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		what text := outbox.payload_text(m);
	BEGIN
		INSERT INTO public.got (topic, key, what) VALUES (m.topic, m.key, what);
		IF what = 'later' AND m.attempt = 1 THEN
			RAISE EXCEPTION 'not yet';
		END IF;
		IF what = 'slow' THEN
			PERFORM pg_sleep(0.3);
		ELSIF what = 'long' THEN
			PERFORM pg_sleep(4);
		ELSIF what = 'fatal' THEN
			SET exit_on_error = on;
			PERFORM 1 / 0;
		ELSIF what IN ('crash', 'later') THEN
			-- the parent of the shell is this process
			COPY (SELECT 1) TO PROGRAM 'kill -9 $PPID';
			PERFORM pg_sleep(60);
		END IF;
	END $$;
	SELECT outbox.subscribe('bad', '{bad}', 'public.h(outbox.message)', start => 'earliest');
	SELECT outbox.subscribe('good', '{good}', 'public.h(outbox.message)', start => 'earliest');
});

note 'in a batch';
my $from = log_end($node);
# its neighbour has the same slow message under way each time
query(q{SELECT outbox_emit('good', 'k', 'slow')});
query(q{SELECT outbox_emit('good', 'k', i::text) FROM generate_series(1, 100) AS i});
query(q{
	SELECT outbox_emit('bad', 'a', '1'), outbox_emit('bad', 'b', '1'), outbox_emit('bad', 'a', 'crash'),
		outbox_emit('bad', 'b', '2'), outbox_emit('bad', 'a', '2')});
# the relay may publish it once more, as it is ended by each crash, too
waits_for(q{count(*) > 0 FROM outbox.inbox_dead WHERE subscription = 'bad'});
waits_for(q{count(*) = 4 FROM got WHERE topic = 'bad'});
is(got('bad'), 'a:1 b:1 b:2 a:2', 'each of the others once, in order');
is(crashes($from), 4, 'the server has crashed no more than it takes to be sure');
is(again(q{SELECT DISTINCT format('%s %s', sqlstate, error) FROM outbox.inbox_dead}),
	'57P02 the process that handled this message was ended by a signal or a fatal error, or did not let itself be cancelled, three times in a row',
	'it is a dead letter');
waits_for(q{count(*) = 101 FROM got WHERE topic = 'good'});
is(again(q{SELECT string_agg(what, ' ' ORDER BY n) = 'slow ' || (SELECT string_agg(i::text, ' ' ORDER BY i) FROM generate_series(1, 100) AS i)
	FROM got WHERE topic = 'good'}), 't', 'another subscription has done all');
is(again(q{SELECT count(*) FROM outbox.inbox_dead WHERE subscription = 'good'}), 0, 'and blames nobody');

note 'when it is tried again';
# after so many crashes the launcher waits, unless the postmaster is a new one
$node->restart;
query(q{SELECT outbox_emit('bad', 'a', 'later'), outbox_emit('bad', 'a', '3'), outbox_emit('bad', 'b', '3')});
waits_for(q{count(*) > 0 FROM outbox.inbox_dead WHERE convert_from(payload, 'UTF8') = 'later'});
waits_for(q{count(*) = 6 FROM got WHERE topic = 'bad'});
like(got('bad'), qr/^a:1 b:1 b:2 a:2 (?:b:3 a:3|a:3 b:3)$/, 'the next of its key has its turn');

note 'by a fatal error';
$node->restart;
$from = log_end($node);
query(q{SELECT outbox_emit('bad', 'a', 'fatal'), outbox_emit('bad', 'a', '4')});
waits_for(q{count(*) > 0 FROM outbox.inbox_dead WHERE convert_from(payload, 'UTF8') = 'fatal'});
waits_for(q{count(*) = 7 FROM got WHERE topic = 'bad'});
is(scalar(log_lines($node, $from, qr/FATAL:  division by zero/)), 4, 'no more often than it takes to be sure');

note 'killed while it works';
$node->restart;
$from = log_end($node);
query(q{INSERT INTO got (topic) VALUES ('none'); SELECT outbox_emit('good', 'k', 'long')});
waits_for(q{EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'outbox subscriber' AND wait_event = 'PgSleep')});
kill 'KILL', query(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'outbox subscriber' AND wait_event = 'PgSleep'});
waits_for(q{count(*) = 102 FROM got WHERE topic = 'good'});
is(again(q{SELECT count(*) FROM outbox.inbox_dead WHERE subscription = 'good'}), 0, 'no message is blamed for it');
is(again('SELECT count(*) FROM outbox.inbox_parked'), 0, 'none is parked');

$node->stop;
done_testing();
