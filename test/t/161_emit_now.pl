# outbox_emit_now(): published although the transaction is rolled back, and
# when it fails, it says for sure what has become of the event.
#
# Catches: an event that goes with its transaction, or comes twice, or after the
# call has said that it never will; a call that waits for Kafka, for a lock of
# its own transaction, or longer than its time; one that returns before the
# event is durable; an event lost with a relay that ends, or with a session that
# is cancelled; a failure that makes others wait; checks that outbox_emit() has
# and this has not.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;
use Time::HiRes qw(time);

my $mock = OutboxTest::Mock->new(topics => { t => 1 });
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main',
	extension => 1,
	conf => "wal_writer_delay = 10s\nautovacuum = off\n");
my ($stopped, @waiting);

# What is committed of a key, in order, and nothing else of it
sub committed
{
	my ($key, $payloads, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return is(query(<<~END), $payloads, $name);
		SELECT string_agg(convert_from(payload, 'UTF8'), ' ' ORDER BY id)
		FROM outbox.event WHERE key = '$key'
		END
}

sub stop_relay
{
	$stopped = relay_pid($node);
	kill('STOP', $stopped) or die "kill: $!";
	return;
}

sub relay_goes_on
{
	kill 'CONT', $stopped if $stopped;
	undef $stopped;
	return;
}

sub soon
{
	my ($seconds, $code) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return cmp_ok(took($code), '<', $seconds, '... in time');
}

# A session that calls it, in the background, under the name of the key.
sub call
{
	my ($key, $options) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir('call') . '/out';
	my $psql;

	{
		local $ENV{PGAPPNAME} = $key;
		local $ENV{PGOPTIONS} = $options // '';
		$psql = OutboxTest::Process->new(
			command => [
				'psql', '-XAtq', '-v', 'VERBOSITY=verbose', '-d', $node->connstr('postgres'),
				'-c', "SELECT outbox_emit_now('t', '$key', 'x') IS NOT NULL"
			],
			log => $file);
	}
	push @waiting, $psql;
	wait_until(undef, sub { !$psql->is_running || in_call($key) }, 'no call');
	return $psql;
}

sub in_call
{
	my ($key) = @_;

	return query(<<~END);
		SELECT count(*) FROM pg_stat_activity
		WHERE application_name = '$key' AND wait_event_type = 'Extension'
		END
}

# How the call has ended
sub answer
{
	my ($psql) = @_;

	$psql->wait;
	return $psql->log_tail;
}

note 'without Kafka';
wait_state($node, 'unconfigured');
soon(4, sub {
		is(query(<<~'END'), 't', 'it returns an id');
			BEGIN;
			SELECT outbox_emit_now('t', 'rolled back', 'kept') AS id \gset
			DO $$ BEGIN PERFORM outbox_emit('t', 'rolled back', 'gone'); END $$;
			SELECT :'id' = (SELECT event_id FROM outbox.event)::text AND
				(SELECT count(*) FROM outbox.emitted()) = 1;
			ROLLBACK;
			END
	});
crash($node);
$node->start;
wait_state($node, 'unconfigured');
committed('rolled back', 'kept', 'durable, and without what was rolled back');
conf_reload($node, "outbox.bootstrap_servers = '" . $mock->bootstrap . "'");
wait_state($node, 'publishing');
ok(wait_published($node) && $consumer->wait_for(1), 'published');
is( join(' ', map { "$_->{payload} @{$_->{headers}[0]}" } $consumer->records),
	'kept event_id ' . query('SELECT event_id FROM outbox.event'),
	'... with its event_id, alone');

note 'in the middle of things';
query(<<~'END');
	BEGIN;
	SELECT outbox_emit('t', 'order', '2');
	SELECT outbox_emit_now('t', 'order', '1');
	SAVEPOINT s;
	SELECT outbox.emit_now('t', 'due'::text, '"due"'::jsonb, deliver_after => '1 ms');
	ROLLBACK TO s;
	DO $$
	BEGIN
		PERFORM 1 / 0;
	EXCEPTION WHEN division_by_zero THEN
		PERFORM outbox_emit_now('t', 'caught', SQLSTATE);
	END $$;
	COMMIT;
	END
$node->poll_query_until('postgres', q{SELECT count(*) = 3 FROM outbox.event WHERE key IN ('order', 'due')})
  or die 'not due';
committed('order', '1 2', 'at once, and at commit');
committed('due', '"due"', 'when it is due');
committed('caught', '22012', 'in an exception block');

note 'as outbox_emit()';
query(<<~'END');
	SELECT outbox.set_topic_rule('t', content_type => 'text/plain');
	SET outbox.traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
	SELECT outbox_emit('t', 7, '{"a": 1}'::jsonb, '{"h": "v"}', expires_at => '2100-01-01',
		event_id => '11111111-1111-4111-8111-111111111111', type => 'a', source => '/b');
	SELECT outbox_emit_now('t', 7, '{"a": 1}'::jsonb, '{"h": "v"}', expires_at => '2100-01-01',
		event_id => '11111111-1111-4111-8111-111111111111', type => 'a', source => '/b');
	CREATE ROLE app LOGIN;
	SELECT outbox.grant_emit('app', '{t}');
	END
is( query(<<~'END'), '1|2|text/plain', 'the same event');
	SELECT count(DISTINCT ROW(event_id, topic, key, payload, headers, expires_at, type, source, content_type)),
		count(*), min(content_type)
	FROM outbox.event WHERE key = '7'
	END
my @app = (connstr => $node->connstr('postgres') . ' user=app');
my ($status) = $node->psql('postgres', "SELECT outbox_emit_now('t', 'app', 'x')", @app);
is($status, 0, 'a role that may');
fails_with($node, 'postgres', "SELECT outbox_emit_now('other', 'app', 'x')", '42501',
	qr/other/, 'another topic', @app);
query('REVOKE EXECUTE ON FUNCTION outbox_emit_now(text, text, text, jsonb, timestamptz, interval,'
	  . ' timestamptz, uuid, text, text, text) FROM app');
fails_with($node, 'postgres', "SELECT outbox_emit_now('t', 'app', 'x')", '42501',
	qr/outbox_emit_now/, 'without EXECUTE', @app);
fails_with($node, 'postgres', "SELECT outbox_emit_now('t', 'k', repeat('x', 1000001))", '54000',
	qr/too large/, 'too large');
fails_with($node, 'postgres', "BEGIN READ ONLY; SELECT outbox_emit_now('t', 'k', 'x')", '25006',
	qr/read-only/, 'read-only');
is( query(q{SELECT length(payload) FROM outbox.event WHERE event_id = }
	  . q{(SELECT outbox_emit_now('t', 'large', repeat('x', 999000)) OFFSET 0)}) // '',
	'', 'not seen by the statement itself');
is(query(q{SELECT length(payload) FROM outbox.event WHERE key = 'large'}), 999000, 'a large one');

note 'a relay that does not answer';
stop_relay();
soon(10, sub {
		fails_with($node, 'postgres',
			"SET outbox.emit_now_timeout = '300 ms'; SELECT outbox_emit_now('t', 'late', 'x')",
			'55000', qr/within 300 ms.*will not be/s, 'an error');
	});
fails_with($node, 'postgres',
	"SET statement_timeout = '300 ms'; SELECT outbox_emit_now('t', 'late', 'x')",
	'57014', qr/timeout/, 'cancelled');
my $call = call('late');
query(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'late'});
like(answer($call), qr/57P01/, 'terminated');
$call = call('in time', '-c outbox.emit_now_timeout=60s');
relay_goes_on();
is(answer($call), "t\n", 'one that still waits');
ok(wait_published($node), 'it goes on');
committed('late', '', 'what was withdrawn never comes');
committed('in time', 'x', 'what was not, does');

note 'locks';
for my $lock ('LOCK TABLE outbox.relay IN SHARE MODE', 'LOCK TABLE outbox.event_0 IN EXCLUSIVE MODE',
	'LOCK TABLE outbox.parked IN ACCESS EXCLUSIVE MODE')
{
	soon(10, sub {
			fails_with($node, 'postgres', <<~END, '55000', qr/lock.*this transaction's own/s, $lock);
				SET outbox.emit_now_timeout = '300 ms';
				BEGIN;
				$lock;
				SELECT outbox_emit_now('t', 'locked', 'x');
				END
		});
}
soon(10, sub {
		fails_with($node, 'postgres', <<~'END', '55000', qr/lock.*this transaction's own/s, 'a lock that only a delayed one needs');
			SET outbox.emit_now_timeout = '300 ms';
			BEGIN;
			LOCK TABLE outbox.delayed IN SHARE MODE;
			SELECT outbox_emit_now('t', 'unlocked', 'x');
			SELECT outbox_emit_now('t', 'locked', 'x', deliver_after => '1 ms');
			END
	});
committed('unlocked', 'x', '... which another one does not');
is(query(q{SELECT outbox_emit_now('t', 'locked', 'y') IS NOT NULL}), 't', 'and then');
committed('locked', 'y', 'nothing else');

note 'errors while it is written';
query(<<~'END');
	CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF NEW.key = 'bad' THEN
			RAISE unique_violation USING MESSAGE = 'no such thing: ' || repeat('é', 200);
		ELSIF NEW.key LIKE 'held%' THEN
			PERFORM pg_advisory_xact_lock(161);
		END IF;
		RETURN NEW;
	END $$;
	CREATE TRIGGER hold BEFORE INSERT ON outbox.event_0 FOR EACH ROW EXECUTE FUNCTION hold();
	ALTER TABLE outbox.event_0 ENABLE ALWAYS TRIGGER hold;
	END
my $relay = relay_pid($node);
soon(10, sub {
		fails_with($node, 'postgres', "SELECT outbox_emit_now('t', 'bad', 'x')", '23505',
			qr/no such thing: (?:é)+\nDETAIL:  It is not published/, 'the error comes back') for 1 .. 4;
		is(query(q{SELECT outbox_emit_now('t', 'good', 'x') IS NOT NULL}), 't', 'the next one');
	});
is(relay_pid($node), $relay, 'the relay has not ended');

note 'one that hangs while it commits';
my $holder = $node->background_psql('postgres');
$holder->query_safe('SELECT pg_advisory_lock(161)');
my $session = $node->background_psql('postgres', on_error_stop => 0);
$session->query(q{SET outbox.emit_now_timeout = '100 ms'});
soon(10, sub { $session->query(q{SELECT outbox_emit_now('t', 'held', 'x')}) });
like($session->{stderr}, qr/not known whether.*event_id is/s, 'it says so');
$session->{stderr} = '';
$session->query(q{SELECT outbox_emit_now('t', 'again', 'x')});
like($session->{stderr}, qr/no relay has taken it within 100 ms/, 'and takes no other');
$session->quit;
$call = call('held too', '-c outbox.emit_now_timeout=60s');
$holder->query_safe('SELECT pg_advisory_unlock(161)');
is(answer($call), "t\n", 'it goes on');
committed('held', 'x', 'the one that nobody waits for, too');
committed('again', '', 'without what was refused');

note 'one that is cancelled then';
$holder->query_safe('SELECT pg_advisory_lock(161)');
$call = call('held cancelled', '-c outbox.emit_now_timeout=60s');
wait_until(undef, sub { query("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted") });
soon(30, sub {
		query(q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = 'held cancelled'});
		like(answer($call), qr/57014/, 'it ends, although the relay does not answer');
	});
$holder->query_safe('SELECT pg_advisory_unlock(161)');
wait_until(undef, sub { query(q{SELECT count(*) FROM outbox.event WHERE key = 'held cancelled'}) }, 'no event');

note 'a relay that ends while it commits';
$holder->query_safe('SELECT pg_advisory_lock(161)');
$call = call('held by next', '-c outbox.emit_now_timeout=60s');
wait_until(undef, sub { query("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted") });
query("SELECT pg_terminate_backend($relay)");
wait_until(undef, sub { (relay_pid($node) || $relay) ne $relay }, 'no other relay');
$holder->query_safe('SELECT pg_advisory_unlock(161)');
is(answer($call), "t\n", 'the next one does it');
committed('held by next', 'x', 'once');
$holder->quit;
query('DROP TRIGGER hold ON outbox.event_0');

note 'one that must be started first';
conf_reload($node, "outbox.idle_timeout = '100 ms'");
wait_state($node, 'idle');
is(query(q{SELECT outbox_emit_now('t', 'idle', 'x') IS NOT NULL}), 't', 'it is');
conf_reload($node, "outbox.idle_timeout = 0");

note 'many at once';
pgbench($node, <<~'END', clients => 20, transactions => 50);
	BEGIN;
	SELECT outbox_emit('t', 'many', 'gone');
	SELECT outbox_emit_now('t', 'many', :client_id || ' ' || txid_current());
	ROLLBACK;
	END
is(query(q{SELECT count(DISTINCT payload), count(*) FROM outbox.event WHERE key = 'many'}),
	'1000|1000', 'each once');
ok(wait_published($node) && $consumer->drain, 'published');
is( scalar(grep { ($_->{key} // '') eq 'many' } $consumer->records), 1000,
	'... once');

note 'none can run';
conf_reload($node, 'outbox.enabled = off');
wait_until(undef, sub { !relay_pid($node) }, 'the relay has not ended');
soon(4, sub {
		fails_with($node, 'postgres', "SELECT outbox_emit_now('t', 'off', 'x')", '55000',
			qr/no relay runs.*outbox\.enabled is off/s, 'an error at once');
	});
clean_log($node, 'the log is clean', from => 0, also => qr/segfault/);

END
{
	relay_goes_on();
}

done_testing();
