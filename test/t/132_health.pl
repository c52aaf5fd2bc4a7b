# outbox.health(): each thing that can go wrong in a running server is broken;
# health says so, since when and why, and with the command that helps, which is
# run; then all is well again.
#
# Catches: a check that says ok while something is broken, or that does not
# become ok again; one that is left out when all is well; a command that fails,
# or that does not help.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use Test::More;

my $mock = OutboxTest::Mock->new(topics => { t => 1, refused => 1, consumed => 1 });
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1,
	conf => <<~'END');
	outbox.retry_base_delay = 100ms
	outbox.retry_max_delay = 200ms
	outbox.retry_max_attempts = 0
	# at once, or after the shortest time that is sure not to be seen by chance
	outbox.health_down_warning = 0
	outbox.health_down_critical = 10min
	outbox.health_lag_warning = 1s
	outbox.health_subscription_lag_warning = 1s
	outbox.health_blocked_warning = 0
	outbox.health_position_warning = 2s
	outbox.health_retention_warning = 3s
	max_prepared_transactions = 1
	END

# The finding about that, in one line, of a relay or a subscription, or '' for
# those that are about none
sub finding
{
	my ($check, $relay, $columns) = @_;

	$columns //= 'status';
	return query(qq(SELECT $columns FROM outbox.health()
		WHERE "check" = '$check' AND COALESCE(relay, subscription, '') = '$relay'));
}

# Waits until that check says warning, or critical, and its message is as it
# should be; with like => pattern for its value, too. Returns the command.
sub says
{
	my ($check, $relay, $status, $message, %opt) = @_;
	my $is = '';
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	eval {
		wait_until(undef, sub {
			$is = finding($check, $relay, q(concat_ws(' | ', status, value, message)));
			return $is =~ /^$status \| / && $is =~ $message;
		});
	};
	like($is, $message, "$check: $is");
	return finding($check, $relay, 'command');
}

# Waits until nothing is wrong.
sub is_well
{
	my ($name) = @_;
	my $wrong;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	eval {
		wait_until(undef, sub {
			$wrong = query("SELECT * FROM outbox.health() WHERE status <> 'ok'");
			return $wrong eq '';
		});
	};
	return is($wrong, '', $name);
}

# Runs a command of health's, of which ALTER SYSTEM must be in no transaction.
sub run
{
	my ($command) = @_;

	note $command;
	query($_) for grep { /\S/ } split /;/, $command =~ s/ *--.*//r;
	return;
}

note 'nothing is wrong';
query(q{SELECT outbox_emit('t', 'k', 'x')});
ok(wait_published($node), 'published');
is_well('all is well');
is( query(q{SELECT string_agg("check" || COALESCE(' ' || relay, ''), ', ' ORDER BY "check", relay NULLS FIRST)
		FROM outbox.health()}),
	join(', ', sort { $a cmp $b } (map { "$_ default" } qw(blocked_keys blocked_topics cluster dead_letters
		lag_events lag_seconds paused position relay settings)),
		qw(backfill clock delayed ids inbox launcher retention settings storage version)),
	'each check has a row all the same');
is(query('SELECT count(*) FROM outbox.health() WHERE message IS NOT NULL OR command IS NOT NULL OR since IS NOT NULL'),
	0, '... and nothing to say');

note 'the cluster';
$mock->command('down');
query(q{SELECT outbox_emit('t', 'k', 'x')});
run(says('cluster', 'default', 'warning', qr/unavailable/));
run(says('lag_seconds', 'default', 'warning', qr/oldest event that is not published is \d/));
is(finding('lag_seconds', 'default', q{now() - since < '1 min', threshold}), 't|1s / 5min', '... since when');
conf_reload($node, 'outbox.health_lag_events_critical = 1');
run(says('lag_events', 'default', 'critical', qr/1 events wait/));
is(query(q{SELECT "check" FROM outbox.health() LIMIT 1}), 'lag_events', 'what is critical comes first');
conf_reload($node, 'outbox.health_lag_events_critical = -1');
is(finding('lag_events', 'default'), 'ok', '-1 is never');
$mock->command('up');
is_well('it is back');

note 'a relay that does not move, and cannot tell';
my $still = relay_pid($node);
kill 'STOP', $still;
query(q{SELECT outbox_emit('t', 'k', 'x')});
run(says('lag_seconds', 'default', 'warning', qr/is \d+:\d+:\d+ old/));
kill 'CONT', $still;
is_well('it moves');

note 'topics, keys, dead letters';
$mock->command('refuse refused UNKNOWN_TOPIC_OR_PART');
query(q{SELECT outbox_emit('refused', 'k', 'x')});
run(says('blocked_topics', 'default', 'warning', qr/^warning \| 1 \| .* refused: .*nknown/));
is(finding('blocked_keys', 'default'), 'ok', 'it is not the key');
$mock->command('allow refused');
is_well('the topic is back');
$mock->command('fail Produce 100000 POLICY_VIOLATION');
query(q{SELECT outbox_emit('t', k, 'x') FROM unnest('{key 1,key 1,key 2}'::text[]) k});
run(says('blocked_keys', 'default', 'warning', qr/^warning \| 2 \| .* t, key 'key [12]': .*olicy/));
conf_reload($node, 'outbox.retry_max_attempts = 1');
run(says('dead_letters', 'default', 'warning', qr/^warning \| [123] \| .* topic t: /));
$mock->command('clear Produce');
is(finding('dead_letters', 'default', q{command ~ 'requeue'}), 't', '... what to do');
query(q{SELECT outbox.requeue()});
conf_reload($node, 'outbox.retry_max_attempts = 0');
is_well('they are published');

note 'paused';
query(q{SELECT outbox.pause('default', 'for a test')});
run(says('paused', 'default', 'warning', qr/by \w+: for a test/));
is_well('resumed by the command');
query(q{SELECT outbox.pause_topic('t', reason => 'another')});
run(says('paused', 'default', 'warning', qr/^warning \| 1 topics \| topic t, by \w+: another/));
is_well('a topic, too');

note 'turned off';
for (
	[ 'outbox.enabled = off', qr/outbox.enabled is off/ ],
	[ q(outbox.databases = 'elsewhere'), qr/does not name this database/ ])
{
	my ($setting, $message) = @$_;

	query("ALTER SYSTEM SET $setting");
	query('SELECT pg_reload_conf()');
	run(says('relay', 'default', 'warning', $message));
	is_well("$setting is undone by the command");
}
query('ALTER SYSTEM RESET ALL');
query('SELECT pg_reload_conf()');

note 'settings';
conf_reload($node, q(outbox.kafka_properties = 'acks=1'));
run(says('settings', '', 'warning', qr/outbox\.kafka_properties: .*could not be applied.*postgresql\.conf, line/));
conf_reload($node, q(outbox.kafka_properties = 'no.such.property=1'));
run(says('settings', 'default', 'warning', qr/^warning \| refused \| goes on with those of before: .*no\.such\.property/));
conf_reload($node, q(outbox.kafka_properties = ''));
conf_reload($node, q(outbox.bootstrap_servers = ''));
run(says('settings', 'default', 'critical', qr/^critical \| unconfigured \| .*bootstrap_servers/));
conf_reload($node, "outbox.bootstrap_servers = '" . $mock->bootstrap . q('));
is_well('corrected');
conf_reload($node, 'outbox.max_relays = 300');
run(says('settings', '', 'warning', qr/^warning \| restart \| outbox\.max_relays: changed/));
conf_reload($node, 'outbox.max_relays = 256');
is_well('as it was');

note 'locks';
my $session = $node->background_psql('postgres');
$session->query_safe('BEGIN; LOCK TABLE outbox.position IN EXCLUSIVE MODE');
query(q{SELECT outbox_emit('t', 'k', 'x')});
my $command = says('position', 'default', 'warning', qr/has not been written since .* 1 events would be published again/);
like(query($command =~ s/;$//r), qr/\|ExclusiveLock\|outbox\.position/, '... by whose lock');
$session->query_safe('COMMIT');
is_well('it has been written');
conf_reload($node, 'outbox.retention = 1s');
$session->query_safe('BEGIN; SELECT count(*) FROM outbox.event');
$command = says('retention', '', 'warning', qr/outbox\.event_\d could be empty since .* process \d+ has locked it/);
like($command, qr/^SELECT pg_terminate_backend\(\d+\);/, '... the command ends the session');
query($command);
is_well('it is empty');
eval { $session->quit };

note 'what has been received, and is not decided';
conf_reload($node, 'outbox.inbox_retention = 1s');
query(q{BEGIN; SELECT outbox.receive('c', '1'); PREPARE TRANSACTION 'it''s mine'});
run(says('inbox', '', 'warning', qr/outbox\.inbox_0 could be empty since .* prepared transaction it's mine has locked it/));
is_well('rolled back by the command');
$session = $node->background_psql('postgres');
$session->query_safe(q{BEGIN; SELECT outbox.receive('c', '1')});
query(says('inbox', '', 'warning', qr/outbox\.inbox_\d could be empty since .* process \d+ has locked it/));
is_well('ended by the command');
eval { $session->quit };
conf_reload($node, 'outbox.inbox_retention = 7d');

note 'a relay that is behind, a replay';
query(q{SELECT outbox.pause('default')});
query(q{SELECT outbox_emit('t', 'k', 'x')});
run(says('retention', '', 'warning', qr/but is kept for relay default \(paused\)/));
query(q{SELECT outbox_emit('t', 'k', 'x', deliver_after => '3 s')});
# or the relay moves it at once, though it is paused
$session = $node->background_psql('postgres');
$session->query_safe('BEGIN; SELECT FROM outbox.delayed FOR UPDATE');
run(says('delayed', '', 'warning', qr/should have been published since/));
eval { $session->quit };
query(q{SELECT outbox.resume()});
is_well('all of it is published');
conf_reload($node, 'outbox.retention = 1d');
query(q{SELECT outbox_emit('t', 'k', 'x') FROM generate_series(1, 20)});
ok(wait_published($node), 'published');
query(q{SELECT outbox.replay(first_id => 1, rate => 1)});
conf_reload($node, 'outbox.retention = 1s');
run(says('retention', '', 'warning', qr/but is kept for replay 1/));
is_well('the replay is cancelled');
conf_reload($node, 'outbox.retention = 1d');

note 'a subscription';
query(q{CREATE FUNCTION handle(m outbox.message) RETURNS text LANGUAGE plpgsql AS $$BEGIN
	IF outbox.payload_text(m) = 'fails' THEN RAISE 'it does not like that'; END IF; RETURN 'done'; END$$});
query(q{SELECT outbox.subscribe('orders', '{consumed}', 'handle(outbox.message)', start => 'earliest', workers => 2)});
wait_rows(2, q{state = 'consuming' AND lag_seconds = 0}, 'outbox.stat_subscription');
is_well('all is well');
is( query(q{SELECT string_agg("check", ' ' ORDER BY "check") FROM outbox.health() WHERE subscription = 'orders'}),
	'cluster dead_letters gap lag_seconds paused retrying settings subscription', 'each check has a row all the same');
query(q{SELECT outbox.pause_subscription('orders', 'for a test')});
run(says('paused', 'orders', 'warning', qr/by \w+: for a test/));
is_well('resumed by the command');
query(q{SELECT outbox_emit('consumed', 'k', 'fails')});
run(says('retrying', 'orders', 'warning', qr{^warning \| 1 \| 1 messages .* first of all consumed/0/0: it does not like that}));
query(q{SELECT outbox.alter_subscription('orders', retry_max_attempts => 1)});
run(says('dead_letters', 'orders', 'warning', qr{^warning \| 1 \| 1 messages .* last one consumed/0/0: it does not like that}));
query(q{SELECT outbox.inbox_discard(subscription => 'orders')});
is_well('it is discarded');
query(q{SELECT outbox.alter_subscription('orders', retry_max_attempts => 0, on_failure => 'halt')});
query(q{SELECT outbox_emit('consumed', 'k', 'fails')});
run(says('subscription', 'orders', 'warning', qr/^warning \| halted \| worker 0: a message has failed, and on_failure is halt/));
query(q{SELECT outbox.inbox_discard(subscription => 'orders', retrying => true)});
is_well('it goes on without it');
query(q{ALTER FUNCTION handle RENAME TO handled});
query(q{SELECT outbox_emit('consumed', 'k', 'x')});
run(says('subscription', 'orders', 'warning', qr/^warning \| failing \| worker 0: .*handle/));
run(says('lag_seconds', 'orders', 'warning', qr/oldest message that is not handled is \d/));
query(q{ALTER FUNCTION handled RENAME TO handle});
query(q{SELECT pg_reload_conf()});
is_well('the function is there again');
query(q{CREATE OR REPLACE FUNCTION handle(m outbox.message) RETURNS text LANGUAGE sql AS $$SELECT 'done'$$});
query(q{UPDATE outbox.subscription_offset SET next_offset = 100;
	SELECT pg_terminate_backend(pid) FROM outbox.stat_subscription});
run(says('gap', 'orders', 'critical', qr/^critical \| 1 \| topic consumed, partition 0: /));
is_well('it goes on from where the command says');
query(q{SELECT outbox.unsubscribe('orders')});

note 'an event that is refused halts the relay';
conf_reload($node, 'outbox.on_failure = halt');
$mock->command('fail Produce 100000 POLICY_VIOLATION');
query(q{SELECT outbox_emit('t', 'k', 'x')});
run(says('relay', 'default', 'warning', qr/^warning \| halted \| .*on_failure is halt/));
$mock->command('clear Produce');
conf_reload($node, 'outbox.on_failure = block_key');
is_well('it goes on');

note 'a session that restores';
$session = $node->background_psql('postgres');
$session->query_safe(q{INSERT INTO outbox.position_0 SELECT 'default', position FROM outbox.stat_relay});
my $keeper = $session->query_safe('SELECT pg_backend_pid()');
$command = says('relay', 'default', 'warning', qr/^warning \| stopped \| process $keeper has loaded rows/);
query($command);
is_well('its session is ended by the command');
eval { $session->quit };

note 'the launcher, and a relay that fails each time';
query('SELECT pg_terminate_backend(pid) FROM outbox.launcher_status()');
query('SELECT pg_terminate_backend(pid) FROM outbox.stat_relay');
run(says('launcher', '', 'warning', qr/^warning \| not running \| the launcher has ended/));
like(finding('relay', 'default', 'message'), qr/no launcher/, 'nobody starts the relay');
is_well('the launcher is started again, and starts the relay');
query(q{DELETE FROM outbox.relay});
query('SELECT pg_terminate_backend(pid) FROM outbox.stat_relay');
run(says('relay', 'default', 'warning', qr/processes in a row have failed .*: there is no relay "default"/));
query(q{INSERT INTO outbox.relay (name, number) VALUES ('default', 0)});
$node->reload;
is_well('after a reload it is as new');

note 'another version, the last ids, a clock that was ahead';
query(q{UPDATE pg_extension SET extversion = '0.9' WHERE extname = 'outbox'});
is(finding('version', '', 'status, value, command'),
	q(critical|extension 0.9, library 1.0|SET lock_timeout = '5s'; ALTER EXTENSION outbox UPDATE;), 'another version');
query(q{UPDATE pg_extension SET extversion = '1.0' WHERE extname = 'outbox'});
query(q{SET session_replication_role = replica;
	INSERT INTO outbox.event_7 (id, event_id, emitted_at, topic)
	VALUES (1000, gen_random_uuid(), now() + interval '30 s', 't')});
run(says('clock', '', 'warning', qr/the clock was ahead/));
query(q{SELECT setval('outbox.event_id_seq', 5e18::bigint)});
run(says('ids', '', 'warning', qr/^warning \| 54\.21 % \|/));

clean_log($node, 'no crash');
$node->stop;
done_testing();
