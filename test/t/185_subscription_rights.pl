# Who may subscribe which function as which role; and what operators do with
# subscriptions by SQL: where to go on, dead letters, messages that are tried
# again.
#
# Catches: a role that has its function run as another one, or as superuser, by
# way of a session that is a superuser's; a function that the role may not call;
# a seek that forgets what takes effect again, or leaves a gap; requeued messages
# that get lost or come twice; a dump that leaves something out; a restored
# subscription that begins before all of it is there.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use Test::More;

my $node = outbox_node('main', extension => 1, conf => 'outbox.enabled = off');

sub refused
{
	my ($role, $sql, $message) = @_;

	return fails_with($node, 'postgres', "SET SESSION AUTHORIZATION $role; $sql", '42501', $message, $sql);
}

note 'who may subscribe as whom';
query("CREATE ROLE $_ LOGIN") for qw(operator app other member);
query(<<~'END');
	CREATE ROLE boss LOGIN SUPERUSER;
	GRANT app, member TO operator;
	GRANT boss TO operator;
	SELECT outbox.grant_operate('operator');
	CREATE FUNCTION handle(m outbox.message) RETURNS void LANGUAGE sql AS '';
	CREATE FUNCTION handle_for_app(m outbox.message) RETURNS void LANGUAGE sql AS '';
	REVOKE ALL ON FUNCTION handle_for_app FROM PUBLIC;
	GRANT EXECUTE ON FUNCTION handle_for_app TO app;
	END
my $subscribe = q{SELECT outbox.subscribe('s', '{a}', 'handle(outbox.message)'};

refused('app', "$subscribe)", qr/permission denied for (?:schema outbox|function)/);
refused('operator', "$subscribe, role => 'other')", qr/operator must be able to SET ROLE other/);
refused('operator', "$subscribe, role => 'boss')", qr/only a superuser can have a function run as superuser boss/);
refused('operator', q{SELECT outbox.subscribe('s', '{a}', 'handle_for_app(outbox.message)', role => 'member')},
	qr/permission denied for function public\.handle_for_app.*Role member would call it/s);
sub role_of { return query("SELECT role FROM outbox.subscription WHERE name = '$_[0]'"); }
query("SET SESSION AUTHORIZATION operator; $subscribe)");
is(role_of('s'), 'operator', 'as who subscribes');
query(q{SET SESSION AUTHORIZATION operator; SET ROLE app; RESET ROLE;}
	. q{SELECT outbox.subscribe('for_app', '{a}', 'handle_for_app(outbox.message)', role => 'app')});
is(role_of('for_app'), 'app', 'as a role of theirs');
query(q{SET ROLE operator; SELECT outbox.subscribe('set', '{a}', 'handle(outbox.message)')});
is(role_of('set'), 'operator', 'SET ROLE counts');
query(q{SELECT outbox.subscribe('boss', '{a}', 'handle(outbox.message)', role => 'boss')});
is(role_of('boss'), 'boss', 'a superuser may as superuser');
refused('operator', "SELECT outbox.alter_subscription('s', role => 'boss')", qr/only a superuser/);
refused('operator', "SELECT outbox.alter_subscription('boss', handler => 'handle(outbox.message)')",
	qr/only a superuser/);
refused('operator', "SELECT outbox.alter_subscription('for_app', role => 'member')",
	qr/permission denied for function public\.handle_for_app/);
query("SET SESSION AUTHORIZATION operator; SELECT outbox.alter_subscription('boss', workers => 2)");
is(query("SELECT workers, role FROM outbox.subscription WHERE name = 'boss'"), '2|boss',
	'what has nothing to do with the function anybody may change');

note 'a session of a superuser lends nobody its rights';
query(<<~'END');
	CREATE SCHEMA trap AUTHORIZATION operator;
	SET ROLE operator;
	CREATE FUNCTION trap.spring(caller text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$
	BEGIN
		EXECUTE $q$ SELECT outbox.subscribe('trap', '{a}', 'public.handle(outbox.message)', role => 'boss'$q$
			|| caller || ')';
	END $$;
	CREATE FUNCTION trap.broken() RETURNS integer LANGUAGE plpgsql AS 'BEGIN RETURN 1 / 0; END';
	END
fails_with($node, 'postgres', "SELECT trap.spring('')", '42501', qr/only a superuser/, 'called by a superuser');
fails_with($node, 'postgres', "SELECT trap.spring(', caller => 10')", '22023', qr/caller cannot be given/,
	'who says that he is another');
# what a call of the superuser has noted that came to nothing
for my $broken ("SAVEPOINT a; SELECT outbox.note_caller(), 1 / 0; ROLLBACK TO a",
	"SAVEPOINT a; SELECT outbox.note_caller(); ROLLBACK TO a", "SAVEPOINT a; SELECT outbox.note_caller(); RELEASE a")
{
	my (undef, undef, $errors) = $node->psql('postgres', "BEGIN; $broken; SELECT trap.spring(', caller => 10'); COMMIT",
		on_error_stop => 0);

	like($errors, qr/caller cannot be given/, $broken);
}
fails_with($node, 'postgres', "SELECT outbox.note_caller()\\; COMMIT\\; SELECT trap.spring(', caller => 10')", '22023',
	qr/caller cannot be given/, 'nor in another transaction');
is(query("SELECT count(*) FROM outbox.subscription WHERE name = 'trap'"), 0, 'no subscription');

note 'another place';
query(<<~'END');
	SELECT outbox.subscribe('p', '{a,b}', 'handle(outbox.message)');
	INSERT INTO outbox.subscription_offset (subscription, topic, partition, next_offset, end_offset, gap, gap_since, updated_at)
		SELECT 'p', t, n, 100, 120, 'gap', now(), now() FROM unnest('{a,b}'::text[]) t, generate_series(0, 1) n;
	END
sub places
{
	return query(<<~'END');
		SELECT string_agg(format('%s%s:%s:%s:%s', topic, partition, next_offset, repeats_upto,
			COALESCE(seek, gap || CASE WHEN gap_since IS NULL THEN '?' ELSE '' END)), ' ' ORDER BY topic, partition)
		FROM outbox.subscription_partition WHERE subscription = 'p'
		END
}
is(places(), 'a0:100::gap a1:100::gap b0:100::gap b1:100::gap', 'at first');
my $seek = 'SET SESSION AUTHORIZATION operator; SELECT outbox.seek';
is(query("$seek('p', 40, topic => 'a', partition => 1)"), 1, 'back to an offset');
is(places(), 'a0:100::gap a1:40:100: b0:100::gap b1:100::gap', '... at once: what is known takes effect again, no gap');
is(query("$seek('p', 70, topic => 'a', partition => 1)"), 1, 'and forward');
is(places(), 'a0:100::gap a1:70:100: b0:100::gap b1:100::gap', '... which still does');
is(query("$seek('p', 50, topic => 'a', partition => 1, repeat => false)"), 1, 'without repeating');
is(places(), 'a0:100::gap a1:50:: b0:100::gap b1:100::gap', '... nothing takes effect again');
is(query("$seek('p', place => 'earliest', topic => 'b')"), 2, 'a topic');
is(query("SET DateStyle = 'SQL, DMY'; SET TimeZone = 'Asia/Kolkata'; SELECT outbox.seek('p', to_time => '03/02/2026 05:30', partition => 0)"),
	2, 'a partition of each, by time');
is(places(), 'a0:100::2026-02-03T00:00:00.000000Z a1:50:: b0:100::2026-02-03T00:00:00.000000Z b1:100::earliest',
	'... which the brokers have to find');
is(query("SELECT string_agg(repeat_upto::text, ' ' ORDER BY topic, partition) FROM outbox.subscription_offset WHERE subscription = 'p'"),
	'100 0 100 100', '... up to where they were');
is(query("$seek('p', 7, topic => 'b', partition => 1)"), 1, 'another one instead');
like(places(), qr/b1:7:100:$/, '... takes its place');

note 'dead letters';
query(<<~'END');
	INSERT INTO outbox.inbox_dead (subscription, topic, partition, "offset", key, payload, headers, attempts, first_failed_at, last_failed_at, sqlstate, error, whole)
		SELECT 'p', 'a', n % 2, n, CASE n WHEN 4 THEN '\xff00'::bytea WHEN 3 THEN NULL ELSE convert_to('k'::text, 'UTF8') END, 'x', '{}', 3, now(), now(),
			CASE WHEN n < 5 THEN '22012' ELSE '23505' END, 'why', n <> 8 FROM generate_series(1, 8) n;
	INSERT INTO outbox.inbox_dead (subscription, topic, partition, "offset", headers, message_id, attempts) VALUES ('s', 'a', 0, 1, '{}', 'id', 1);
	INSERT INTO outbox.inbox_parked (subscription, topic, partition, "offset", key, payload, headers, attempts, first_failed_at, last_failed_at, next_attempt_at, sqlstate, error)
		VALUES ('p', 'a', 0, 100, 'k', 'x', '{}', 2, now(), now(), now() + interval '1 hour', '22012', 'why'),
			('p', 'a', 0, 101, 'k', 'x', '{}', 0, NULL, NULL, NULL, NULL, NULL), ('p', 'a', 0, 102, NULL, 'x', '{}', 1, now(), now(), now() + interval '1 hour', '22012', 'why');
	END
sub parked
{
	return query(<<~'END');
		SELECT string_agg(format('%s/%s:%s:%s:%s', partition, "offset", attempts, waits_for,
			CASE WHEN next_attempt_at > now() THEN 'later' WHEN next_attempt_at <= now() THEN 'now' END), ' ' ORDER BY topic, partition, "offset")
		FROM outbox.inbox_retry WHERE subscription = 'p'
		END
}
my $as_operator = 'SET SESSION AUTHORIZATION operator; SELECT';
is(query(qq{SELECT string_agg(format('%s=%s', key, message_id), ' ' ORDER BY "offset") FROM outbox.inbox_dead_letter WHERE subscription = 'p' AND "offset" IN (3, 4, 5)}),
	'=a/1/3 \xff00=a/0/4 k=a/1/5', 'keys and ids as handlers see them');
is(parked(), '0/100:2::later 0/101:0:100: 0/102:1::later', 'what is tried again, and what waits');
my $dead = query(q{SELECT string_agg(id::text, ',' ORDER BY "offset") FROM outbox.inbox_dead_letter WHERE subscription = 'p' AND "offset" IN (2, 6)});
is(query("$as_operator outbox.inbox_requeue('{$dead}')"), 2, 'two of a key are requeued');
is(parked(), '0/2:0::now 0/6:0:2: 0/100:2:2: 0/101:0:2: 0/102:1::later', '... before those that are there, in order');
fails_with($node, 'postgres', q{SELECT outbox.inbox_requeue(ARRAY[(SELECT id FROM outbox.inbox_dead WHERE NOT whole)])}, '55000',
	qr/cannot be requeued.*DETAIL:  It was too large to be kept. It is in topic "a", partition 0, at offset 8/s, 'not one of which nothing is here');
is(query("$as_operator outbox.inbox_requeue(subscription => 'p', sqlstate => '22012')"), 3, 'by what went wrong');
my (undef, $count, $notice) = $node->psql('postgres', "SELECT outbox.inbox_requeue(subscription => 'p', topic => 'a')");
is($count, 2, 'all of a topic');
like($notice, qr/NOTICE:  dead letters that were too large to be kept stay.*offset 8/s, '... but for those that are not here');
is(query("SELECT count(*) FROM outbox.inbox_dead"), 2, 'one of them, and one of another subscription, are left');
is(parked(), '0/2:0::now 0/4:0::now 0/6:0:2: 0/100:2:2: 0/101:0:2: 0/102:1::later 1/1:0::now 1/3:0::now 1/5:0:1: 1/7:0:1:', 'nothing is lost');
query(q{INSERT INTO outbox.inbox_dead (subscription, topic, partition, "offset", key, payload, headers, published_at, attempts) SELECT subscription, topic, partition, "offset", key, payload, headers, published_at, 9 FROM outbox.inbox_parked, generate_series(1, 2) WHERE subscription = 'p' AND topic = 'a' AND partition = 0 AND "offset" = 100});
is(query("$as_operator outbox.inbox_requeue(subscription => 'p', sqlstate => NULL, until => NULL, topic => 'a', since => '-infinity')"), 0, 'a condition on what it does not have');
is(query(q{SELECT outbox.inbox_requeue(ARRAY(SELECT id FROM outbox.inbox_dead WHERE "offset" = 100))}), 2, 'what is tried again already');
like(parked(), qr{ 0/100:2:2: }, '... stays as it is');
is(query("$as_operator outbox.inbox_discard(subscription => 'p', topic => 'a', partition => 0, at_offset => 2)"), 0, 'only dead letters are discarded');
is(query("$as_operator outbox.inbox_discard(subscription => 'p', topic => 'a', partition => 0, at_offset => 2, retrying => true)"), 1, '... unless it is asked for');
like(parked(), qr{^0/4:0::now 0/6:0::now 0/100:2:6: }, '... and the next of the key has its turn');
is(query("$as_operator outbox.inbox_discard(subscription => 'p', topic => 'a', partition => 0, at_offset => 101, retrying => true)"), 0, 'one that waits is not tried again');
is(query("$as_operator outbox.inbox_discard(subscription => 'p', topic => 'a', partition => 0, at_offset => 101, waiting => true)"), 1, '... but waits');
is(query("$as_operator outbox.inbox_discard(until => now())"), 1, 'by time');
is(query("$as_operator outbox.inbox_discard(subscription => 's')"), 1, 'of one subscription');
for ([ block_partition => '0/4:0::now 0/6:0:4: 0/100:2:4: 0/102:1:4: 1/1:0::now 1/3:0:1: 1/5:0:1: 1/7:0:1:' ],
	[ skip => '0/4:0::now 0/6:0::now 0/100:2::later 0/102:1::later 1/1:0::now 1/3:0::now 1/5:0::now 1/7:0::now' ])
{
	my ($policy, $expected) = @$_;

	query("SELECT outbox.alter_subscription('p', on_failure => '$policy')");
	is(parked(), $expected, "what waits, with $policy");
}

note 'what is to be seen while nothing runs';
query(q{UPDATE outbox.subscription_offset SET published_at = now() - interval '1 minute', gap = 'gap', gap_since = now() WHERE subscription = 'p' AND topic = 'a' AND partition = 1});
query(q{SELECT outbox.alter_subscription('p', workers => 2)});
is(query(<<~'END'), "0|disabled|2|40|t|4|0|0\n1|disabled|2|183|t|4|0|1", 'each worker has its partitions');
	SELECT worker, state, partitions, lag_messages, COALESCE(lag_seconds BETWEEN 60 AND 600, worker = 0), retrying + waiting, dead_letters, gaps
	FROM outbox.stat_subscription WHERE subscription = 'p' ORDER BY worker
	END

note 'dump and restore';
query(q{SELECT outbox.subscribe('orphan', '{a}', 'handle(outbox.message)', role => 'other')});
query(q{INSERT INTO outbox.subscription_offset (subscription, topic, partition, next_offset, updated_at) VALUES ('orphan', 'a', 0, 5, now())});
query(q{INSERT INTO outbox.inbox_dead (subscription, topic, partition, "offset", headers, attempts) VALUES ('p', 'a', 0, 200, '{}', 1)});
query('DROP ROLE other');
query('CREATE DATABASE restored');
my $tables = <<~'END';
	SELECT md5(string_agg(line, E'\n' ORDER BY line)) FROM (
		SELECT s::text FROM outbox.subscription s WHERE name <> 'orphan' UNION ALL SELECT o::text FROM outbox.subscription_offset o
		UNION ALL SELECT p::text FROM outbox.inbox_parked p UNION ALL SELECT d::text FROM outbox.inbox_dead d) AS t (line)
	END
my @server = ('-h', $node->host, '-p', $node->port);
IPC::Run::run([ 'pg_dump', '-Fc', @server, 'postgres' ], '|', [ 'pg_restore', '-d', 'restored', @server ], '2>', \my $errors);
is($errors, '', 'restored');
is($node->safe_psql('restored', $tables), query($tables), 'all is there');
is($node->safe_psql('restored', "SELECT string_agg(name, ' ' ORDER BY name) FROM outbox.subscription"), 'boss for_app p s set',
	'but a subscription whose role is not');
is($node->safe_psql('restored', q{INSERT INTO outbox.inbox_dead (subscription, topic, partition, "offset", headers, attempts) VALUES ('p', 'a', 0, 201, '{}', 1) RETURNING id}),
	query('SELECT max(id) + 1 FROM outbox.inbox_dead'), 'ids go on');
$node->safe_psql('restored', q{SELECT outbox.subscribe('orphan', '{a}', 'handle(outbox.message)')});
is($node->safe_psql('restored', "SELECT count(*) FROM outbox.subscription_offset WHERE subscription = 'orphan'"), 0,
	'one of its name begins anew');

note 'a handler does not become more than its role';
my $mock = OutboxTest::Mock->new(topics => { jobs => 1 });
query('CREATE DATABASE inside');
$node->safe_psql('inside', <<~'END');
	CREATE EXTENSION outbox;
	CREATE TABLE said (what text, by_whom name);
	GRANT INSERT ON said TO operator;
	SELECT outbox.grant_operate('operator');
	CREATE FUNCTION try(m outbox.message) RETURNS void LANGUAGE plpgsql SET search_path = public AS $$
	BEGIN
		PERFORM outbox.subscribe('more', '{jobs}', 'public.try(outbox.message)', role => 'boss');
		INSERT INTO said VALUES ('it can', current_user);
	EXCEPTION WHEN insufficient_privilege THEN
		INSERT INTO said VALUES (SQLERRM, current_user);
	END $$;
	SET SESSION AUTHORIZATION operator;
	SELECT outbox.subscribe('try', '{jobs}', 'try(outbox.message)', start => 'earliest');
	RESET SESSION AUTHORIZATION;
	SELECT outbox_emit('jobs', 'k', 'v');
	END
conf_reload($node, "outbox.databases = 'inside'\noutbox.bootstrap_servers = '" . $mock->bootstrap . "'\noutbox.enabled = on");
$node->poll_query_until('inside', 'SELECT EXISTS (SELECT FROM said)') or die 'not called';
is($node->safe_psql('inside', 'TABLE said'),
	'only a superuser can have a function run as superuser boss|operator', 'refused');
$node->poll_query_until('inside', 'SELECT lag_messages = 0 FROM outbox.stat_subscription') or die 'no lag';
is($node->safe_psql('inside', 'SELECT subscription, state, handled, lag_messages FROM outbox.stat_subscription'),
	'try|consuming|1|0', '... and the message is handled');

$node->stop;
done_testing();
