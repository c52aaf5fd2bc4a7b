# CREATE and DROP EXTENSION under a running server: the relay comes and goes
# with them, whatever clients do meanwhile, and waits for tables that others
# have locked.
#
# Catches: a relay that needs a restart, or outlives its extension, or is
# started for a rolled-back one; deadlocks of DROP EXTENSION with clients or
# the relay; ids of a new outbox that repeat those of the old one, so that
# events are skipped or taken for others; half of a DROP committed; a relay
# that queues for a lock while it holds others.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use Test::More;

my $mock = OutboxTest::Mock->new;
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	# longer than CREATE EXTENSION takes on a busy machine
	conf => "log_lock_waits = on\ndeadlock_timeout = 5s");
my $ends = qr/DETAIL:  The extension has been dropped/;
my $unclean = qr/deadlock detected|exited with exit code/;

sub emit { return query("SELECT outbox_emit('ext', 'k', '$_[0]')"); }
sub last_id { return query('SELECT last_value FROM outbox.event_id_seq'); }
sub has_relay { return outbox_pid($node, 'postgres') ne ''; }

sub wait_ended
{
	my ($name) = @_;

	return ok(wait_until(undef, sub { !has_relay() }, $name), $name);
}

# What was emitted, kept beyond DROP EXTENSION.
query(<<~'END');
	CREATE TABLE emitted (event_id uuid);
	CREATE FUNCTION emit_some() RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO emitted
		SELECT outbox_emit('ext', 'k' || n, n::text)
		FROM generate_series(1, 3) n;
	EXCEPTION
		-- as anybody meets them whose function is dropped under his feet
		WHEN undefined_function OR object_not_in_prerequisite_state THEN NULL;
		WHEN internal_error THEN
			IF SQLERRM NOT LIKE 'cache lookup failed for function %' THEN
				RAISE;
			END IF;
	END $$
	END

# Rolled back.
query(<<~END);
	BEGIN;
	CREATE EXTENSION outbox;
	SELECT outbox_emit('ext', 'k', 'never');
	ROLLBACK
	END
ok(stays(1, sub { !has_relay() }), 'no relay for a CREATE that rolled back');

# Created; events of the same transaction are published, too.
my $seconds = took(
	sub {
		query(<<~END);
			BEGIN;
			CREATE EXTENSION outbox;
			SELECT outbox_emit('ext', 'k', 'with CREATE');
			COMMIT
			END
		$consumer->wait_for(1) or die 'not published';
	});
cmp_ok($seconds, '<', 10, 'published at once after CREATE');
note sprintf 'after %.2f s', $seconds;
my $relay = relay_pid($node);

# DROP rolled back, also to a savepoint.
query('BEGIN; DROP EXTENSION outbox; ROLLBACK');
query(<<~END);
	BEGIN;
	SELECT outbox_emit('ext', 'k', 'before savepoint');
	SAVEPOINT s;
	DROP EXTENSION outbox;
	ROLLBACK TO s;
	SELECT outbox_emit('ext', 'k', 'after savepoint');
	COMMIT
	END
ok(wait_published($node), 'published after a DROP that rolled back');
is(relay_pid($node), $relay, '... by the same relay');

# What cannot be done, and is not half done.
fails_with($node, 'postgres', 'DROP SCHEMA outbox CASCADE', '2BP01',
	qr/because extension outbox requires it/, 'DROP SCHEMA');
for my $more ('', 'CREATE EXTENSION outbox;')
{
	fails_with(
		$node, 'postgres',
		"BEGIN; SELECT outbox_emit('ext', 'k', 'never');"
		  . " DROP EXTENSION outbox; $more COMMIT", '55000',
		qr/was dropped after events were emitted in this transaction/,
		"DROP after an emit: $more");
}
emit('kept');
ok(wait_published($node), 'the extension is still there');
is(relay_pid($node), $relay, '... and its relay');
ok($consumer->drain, 'drained');
check_delivery([ events($node) ], [ $consumer->records ], 'so far');

# An idle relay ends with its extension.
my $from = log_end($node);
my $id = last_id();
query('DROP EXTENSION outbox');
wait_ended('an idle relay ends after DROP');
is(log_lines($node, $from, $ends), 1, '... says so');
clean_log($node, '... and in good order', from => $from, also => $unclean);
fails_with($node, 'postgres', "SELECT outbox_emit('ext', 'k', 'never')",
	'42883', qr/does not exist/, 'nothing to emit with');

# Once more, with an id that nobody has used.
query('CREATE EXTENSION outbox');
emit('again');
cmp_ok(last_id(), '>', $id, 'ids go on');
ok(wait_published($node), 'published after CREATE');

# DROP in the middle of traffic.
$from = log_end($node);
my $load = pgbench($node, 'SELECT emit_some();',
	clients => 4, rate => 600, duration => 600, background => 1,
	args => [qw(-M prepared)]);
wait_until(undef, sub { $consumer->count > 500 }, 'traffic');
query('DROP EXTENSION outbox');
wait_ended('a busy relay ends after DROP');

# Again and again: apart, in one transaction, and rolled back.
for my $round (1 .. 9)
{
	$id = last_id() unless $round == 1;
	query('CREATE EXTENSION outbox') if $round == 1;
	query('DROP EXTENSION outbox; CREATE EXTENSION outbox') if $round % 3 == 1;
	query('BEGIN; DROP EXTENSION outbox; CREATE EXTENSION outbox; COMMIT')
	  if $round % 3 == 2;
	query('BEGIN; DROP EXTENSION outbox; CREATE EXTENSION outbox; ROLLBACK')
	  if $round % 3 == 0;
	die "id $id comes again" if last_id() < $id;

	# some rounds wait until the new relay is at work, some do not
	next if $round % 2;
	my $count = $consumer->count;
	wait_until(undef, sub { $consumer->count > $count + 50 }, 'traffic');
}
pass('no id came again');
ok($load->is_running, 'no client has met another error: ' . $load->log_tail(3));
stop_load($node, $load);
ok(wait_published($node), 'all of the last outbox is published');
ok($consumer->drain, 'drained');

my %emitted = map { $_ => 1 } split /\n/, query('TABLE emitted');
my @events = events($node);
my %last = map { $_->{event_id} => 1 } @events;
my @records = grep { $_->{payload} =~ /^\d+$/ } $consumer->records;
is(grep({ !$emitted{ $_->{event_id} } } @records), 0, 'nothing invented');
is($consumer->count, $consumer->events, 'nothing published twice');
check_delivery(\@events, [ grep { $last{ $_->{event_id} } } @records ],
	'the last outbox');
clean_log($node, 'nobody was in the way of another', from => $from, also => $unclean);
is(log_lines($node, $from, qr/still waiting for/), 0, '... for long');

# A table that is locked: the relay waits, and holds nothing meanwhile.
$relay = relay_pid($node);
my $locker = $node->background_psql('postgres');
$locker->query_safe('BEGIN; LOCK TABLE outbox.parked');
emit('while locked');
ok(stays(1, sub { query('SELECT outbox.wait_published(interval \'0\')') eq 'f' }),
	'a locked table is waited for');
query(<<~END);
	SET lock_timeout = '5s';
	BEGIN; LOCK TABLE outbox.relay, outbox.event_0; COMMIT;
	BEGIN; LOCK TABLE outbox.event_5, outbox.event_0; COMMIT;
	END
is( query("SELECT count(*) FROM pg_locks WHERE pid = $relay AND NOT granted"),
	0, 'the relay is in no queue');
$locker->query_safe('COMMIT');
ok(wait_published($node), 'published when it is free');
is(relay_pid($node), $relay, '... by the same relay');

# The same while the relay starts.
conf_reload($node, 'outbox.enabled = off');
wait_until(undef, sub { !has_relay() }, 'disabled');
emit('while off');
$locker->query_safe('BEGIN; LOCK TABLE outbox.event_0');
conf_reload($node, 'outbox.enabled = on');
wait_until(undef, \&has_relay, 'started');
$locker->query_safe('COMMIT');
ok(wait_published($node), 'a relay that starts waits, too');
$locker->quit;

# Tables that are rewritten under traffic.
$load = pgbench($node, "SELECT outbox_emit('ext', 'k' || :client_id, 'x');",
	clients => 2, transactions => 300, background => 1);
query("VACUUM FULL outbox.event_$_") for 0, 1, 0;
query('VACUUM FULL outbox.relay; REINDEX TABLE outbox.event_0; CLUSTER outbox.event_0 USING event_0_pkey');
is($load->wait, 0, 'emit beside VACUUM FULL');
ok(wait_published($node), 'published beside VACUUM FULL');
ok($consumer->drain, 'drained');
is($consumer->count, $consumer->events, 'each event once');
@events = events($node);
%last = map { $_->{event_id} => 1 } @events;
check_delivery(\@events,
	[ grep { $last{ $_->{event_id} } } $consumer->records ], 'at the end');
clean_log($node, 'nothing unclean in the log', also => $unclean);
$node->stop;
done_testing();
