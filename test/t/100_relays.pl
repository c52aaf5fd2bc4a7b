# Several relays of a database: a process for each row of outbox.relay, which
# comes and goes with it.
#
# Catches: a relay that is started twice, or not at all, or again after it was
# dropped; one that takes over the number of another, with its figures; a
# relay whose end or error ends others or delays them; others that are not
# known until they run, so that wait_published() does not wait for them; too
# few workers or relays told by a line for each attempt, or not at all.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use Test::More;

my $mock = OutboxTest::Mock->new;
my $node = outbox_node('main', bootstrap => $mock->bootstrap, extension => 1,
	conf => 'max_worker_processes = 20');

# What is to be, and how each is shown.
sub relays
{
	return query(<<~'END', $_[0]);
		SELECT string_agg(format('%s %s %s', relay, state,
		                         CASE WHEN pid IS NULL THEN 'gone' ELSE 'runs' END), ', '
		                  ORDER BY relay)
		FROM outbox.stat_relay
		END
}

sub wait_relays
{
	my ($expected, $name, $db) = @_;
	my $is = '';

	eval { wait_until(undef, sub { ($is = relays($db)) eq $expected }) };
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is($is, $expected, $name);
}

sub pid_of { return query("SELECT pid FROM outbox.stat_relay WHERE relay = '$_[0]'"); }

sub processes
{
	return query(
		"SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'outbox relay'",
		'template1');
}

sub create
{
	my ($db, %relays) = @_;

	query(join(";\n",
		(map { "INSERT INTO outbox.relay (name, number, first_position)
			SELECT '$_', $relays{$_}, last_value - (NOT is_called)::int FROM outbox.event_id_seq" }
		  sort keys %relays),
		'SELECT outbox.relays_changed()'), $db);
	return;
}

sub drop_relays
{
	my ($names, $db) = @_;

	query("DELETE FROM outbox.relay WHERE name IN ($names); SELECT outbox.relays_changed()", $db);
	return;
}

wait_state($node, 'publishing');
my $default = relay_pid($node);
my $from = log_end($node);
create(undef, audit => 1, lake => 31);
wait_relays('audit unconfigured runs, default publishing runs, lake unconfigured runs',
	'a process for each');
is(relay_pid($node), $default, '... beside the one that was there');
is(processes(), 3, '... and none more');
is(query(<<~'END'), '0,1,31', 'each holds its lock');
	SELECT string_agg(objid::text, ',' ORDER BY objid) FROM pg_locks
	WHERE locktype = 'advisory' AND objsubid = 28514
	END
my @names = log_lines($node, $from, qr/outbox relay "(audit|lake)" for database "postgres"/);
cmp_ok(@names, '>=', 2, 'lines of the log say which relay it is');

# One that ends is started again, whatever the others do.
my $audit = pid_of('audit');
query("SELECT pg_terminate_backend($audit)");
wait_until(undef, sub { my $pid = pid_of('audit'); $pid && $pid != $audit }, 'the next');
is(relay_pid($node), $default, 'the others go on');
is(processes(), 3, '... and none is started twice');

# All of them are waited for, and known, though they do not run.
query(q(SELECT outbox_emit('t', 'k', 'v')));
wait_until(undef, sub { query(q(SELECT pending_events = 0 FROM outbox.stat_relay
	WHERE relay = 'default')) eq 't' }, 'default publishes');
is(wait_published($node, undef, 1), '', 'wait_published() waits for all');
$node->append_conf('postgresql.conf', 'outbox.enabled = off');
$node->restart;
is(relays(), 'audit disabled gone, default disabled gone, lake disabled gone',
	'all are shown, though nobody has looked');
conf_reload($node, 'outbox.enabled = on');
wait_relays('audit unconfigured runs, default publishing runs, lake unconfigured runs',
	'all run again');
is(query('SELECT count(*) FROM outbox.stat_relay WHERE pending_events = 1'), 2,
	'each has its own position');

# A name goes, another takes its number; its figures are its own.
$default = relay_pid($node);
$audit = pid_of('audit');
$from = log_end($node);
query(<<~'END');
	DELETE FROM outbox.relay WHERE name = 'audit';
	INSERT INTO outbox.relay (name, number, first_position) VALUES ('other', 1, 1);
	SELECT outbox.relays_changed();
	END
wait_relays('default publishing runs, lake unconfigured runs, other unconfigured runs',
	'another relay with the number of one');
isnt(pid_of('other'), $audit, '... in another process');
is(log_lines($node, $from, qr/outbox relay "audit" .*: unconfigured -> stopped/), 1,
	'... and the one before says that it ends');
is(log_lines($node, $from, qr/DETAIL:  It has been dropped/), 1, '... and why');
is(query(q(SELECT position FROM outbox.stat_relay WHERE relay = 'other')), 1, '... where it begins');
drop_relays(q('other', 'lake'));
wait_until(undef, sub { processes() == 1 }, 'dropped ones end');
is(wait_published($node), 1, 'wait_published() waits for them no more');
ok(stays(1, sub { processes() == 1 }), '... and are not started again');
is(relay_pid($node), $default, 'default has not noticed');
is(log_lines($node, $from, qr/ERROR|FATAL|WARNING/), 0, 'quietly');

# Rolled back, nothing happens.
query(<<~'END');
	BEGIN;
	INSERT INTO outbox.relay (name, number) VALUES ('never', 2);
	SELECT outbox.relays_changed();
	ROLLBACK;
	END
ok(stays(1, sub { processes() == 1 }), 'a relay that was rolled back');

# They come and go at random, and are ended meanwhile.
for my $round (1 .. 40)
{
	my $number = 1 + int(rand(6));

	query(rand() < 0.5
		? "INSERT INTO outbox.relay (name, number) VALUES ('r$round', $number)
		   ON CONFLICT (number) DO NOTHING; SELECT outbox.relays_changed()"
		: "DELETE FROM outbox.relay WHERE number = $number; SELECT outbox.relays_changed()");
	query(q(SELECT pg_terminate_backend(pid) FROM outbox.stat_relay
		WHERE relay <> 'default' AND random() < 0.2)) if rand() < 0.3;
}
my $settled = q(SELECT bool_and(pid IS NOT NULL AND state <> 'starting') FROM outbox.stat_relay);
wait_until(undef, sub { query($settled) eq 't'
	&& processes() == query('SELECT count(*) FROM outbox.relay') }, 'all run that there are');
pass('the processes are those of the rows');
query("DELETE FROM outbox.relay WHERE name <> 'default'; SELECT outbox.relays_changed()");
wait_until(undef, sub { processes() == 1 }, 'the others have ended');

# A dropped database, or extension, takes all of them with it.
query('CREATE DATABASE gone', 'template1');
query('CREATE EXTENSION outbox', 'gone');
create('gone', audit => 1, lake => 2);
wait_relays('audit unconfigured runs, default publishing runs, lake unconfigured runs',
	'another database', 'gone');
cmp_ok(took(sub { query('CREATE DATABASE copy TEMPLATE gone', 'template1') }), '<', 10, 'a copy');
wait_relays('audit unconfigured runs, default publishing runs, lake unconfigured runs',
	'... has them, too', 'copy');
query('DROP DATABASE copy', 'template1');
query('DROP EXTENSION outbox', 'gone');
wait_until(undef, sub { processes() == 1 }, 'they end with the extension');
query('CREATE EXTENSION outbox', 'gone');
wait_relays('default publishing runs', 'a new one has its own', 'gone');
is(processes(), 2, '... and no other');
query('DROP DATABASE gone', 'template1');
wait_until(undef, sub { processes() == 1 }, 'and with the database');

# A process that cannot begin is shown, too, and not tried in a hot loop.
my $oid = query(q(SELECT oid FROM pg_database WHERE datname = 'postgres'));
$from = log_end($node);
my $told = query(<<~END);
	COPY (SELECT) TO PROGRAM 'mv base/$oid/PG_VERSION base/$oid/hidden';
	DO \$\$
	DECLARE
		deadline timestamptz := clock_timestamp() + '60 s';
	BEGIN
		PERFORM pg_terminate_backend(pid) FROM outbox.stat_relay;
		PERFORM pg_stat_clear_snapshot();
		WHILE clock_timestamp() < deadline AND NOT EXISTS (
			SELECT FROM outbox.relay_status() WHERE last_error LIKE '%before it could begin%')
		LOOP
			PERFORM pg_sleep(0.05);
		END LOOP;
		PERFORM pg_sleep(2);
	END \$\$;
	COPY (SELECT) TO PROGRAM 'mv base/$oid/hidden base/$oid/PG_VERSION';
	SELECT last_error FROM outbox.stat_relay;
	END
like($told, qr/ended before it could begin; the reason is in the server's log/,
	'a process that cannot begin');
cmp_ok(log_lines($node, $from, qr/FATAL.*is not a valid data directory/), '<', 8, '... is tried less and less');
$node->reload;
wait_state($node, 'publishing');

# Too many of them: a state, and one line of the log.
create(undef, audit => 1, lake => 2, third => 3);
wait_until(undef, sub { processes() == 4 }, 'four relays');
for (
	[ 'outbox.max_relays = 2', qr/^2 outbox relays run, .* outbox\.max_relays .* restart/, 'outbox.max_relays' ],
	[ "outbox.max_relays = 100\nmax_worker_processes = 4", qr/max_worker_processes/, 'max_worker_processes' ])
{
	my ($conf, $error, $name) = @$_;

	$node->append_conf('postgresql.conf', $conf);
	$from = log_end($node);
	$node->restart;
	my ($run, $all) = (2, 4);
	wait_until(undef, sub { query('SELECT count(*) FROM outbox.stat_relay
		WHERE pid IS NULL AND state = \'stopped\' AND last_error IS NOT NULL') == $all - $run },
		'the others wait');
	is(processes(), $run, "$name: so many run");
	like(query('SELECT last_error FROM outbox.stat_relay WHERE pid IS NULL LIMIT 1'), $error,
		'... the view tells why others do not');
	is(pid_of('default') ne '', 1, '... the first one is among them');
	ok(stays(1.5, sub { log_lines($node, $from, qr/WARNING/) == 1 }), '... the log says so once');
	if ($name eq 'outbox.max_relays')
	{
		drop_relays(q('audit'));
		wait_until(undef, sub { pid_of('lake') }, 'the next one');
		pass('... and another takes the place of one that ends');
		create(undef, audit => 1);
	}
}
clean_log($node, 'no crash');
$node->stop;
done_testing();
