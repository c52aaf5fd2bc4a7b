# Relays are created, changed and dropped while events are emitted: where each
# begins, that a change holds at once, and that a drop leaves nothing behind. A
# dump has them, and publishes nowhere by itself.
#
# Catches: an event that a new relay misses because its commit was under way, or
# gets though it was committed before; a change that waits for a reload; events
# dropped by a slip, or by a relay that still writes when it is dropped; a
# process that goes on as the relay of the same name that came after it; a
# restored copy that publishes, or has a "default" that the dump had not.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Process;
use OutboxTest::Server;
use PostgreSQL::Test::Utils;
use Test::More;

my ($ours, $theirs) = map { OutboxTest::Mock->new } 1 .. 2;
my $consumer = OutboxTest::Consumer->new(bootstrap => $theirs->bootstrap);
my $node = outbox_node('main', bootstrap => $ours->bootstrap, extension => 1, allows_streaming => 1,
	conf => "max_worker_processes = 16\noutbox.retry_base_delay = 200ms");
my $local = 'SET synchronous_commit = local;';

mkdir $node->data_dir . '/outbox.d' or die;
for my $name (qw(audit old))
{
	my $file = $node->data_dir . "/outbox.d/$name.properties";

	append_to_file($file, 'bootstrap.servers=' . $theirs->bootstrap . "\n");
	chmod 0600, $file;
}

sub emit { return query("$local SELECT outbox_emit('t', 'k', '$_[0]')"); }
sub of_relay { return query("SELECT $_[1] FROM outbox.stat_relay WHERE relay = '$_[0]'"); }

sub wait_relay
{
	my ($relay, $condition, $what) = @_;

	wait_until(undef, sub { of_relay($relay, $condition) eq 't' }, "$relay: $condition");
	pass($what);
	return;
}

sub arrived
{
	my ($topic) = @_;

	return join ' ', map { $_->{payload} } grep { $_->{topic} eq $topic } $consumer->records;
}

note 'where a new relay begins';
emit('before');
ok(wait_published($node), 'published');
conf_reload($node, "synchronous_standby_names = 'nobody'");
my $under_way = OutboxTest::Process->new(
	command => [ 'psql', '-X', '-d', $node->connstr('postgres'), '-c', q(SELECT outbox_emit('t', 'k', 'under_way')) ],
	log => PostgreSQL::Test::Utils::tempdir() . '/log');
wait_until(undef,
	sub { query("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'") == 1 }, 'it waits');
emit('overtook');
query("$local SELECT outbox.create_relay('audit')");
emit('after');
query("$local SELECT outbox.create_relay('old', start => 'oldest', topic_prefix => 'old.')");
conf_reload($node, "synchronous_standby_names = ''");
is($under_way->wait(60), 0, 'its commit is over');
ok(wait_published($node), 'published by all');
ok($consumer->drain, 'read');
is(arrived('t'), 'under_way overtook after', 'start => now: all that was not committed, and what overtook it');
is(arrived('old.t'), 'before under_way overtook after', 'start => oldest: all that is kept');

note 'a change holds at once';
my $pid = relay_pid_of('default');
query(q(SELECT outbox.alter_relay('default', on_failure => 'halt')));
$ours->command('fail Produce 100000 POLICY_VIOLATION');
emit('refused');
wait_relay('default', q(state = 'halted'), 'on_failure of the row, without a reload');
ok($consumer->wait_for(9), 'the others do not mind');
is(of_relay('audit', 'state'), 'publishing', '... nor halt');
query(q(SELECT outbox.alter_relay('default', retry_max_attempts => 1, reset => '{on_failure}')));
wait_relay('default', q(dead_letters = 1 AND state = 'publishing'), 'back to the settings, with one attempt');
$ours->command('clear Produce');
query(q(SELECT outbox.alter_relay('default', reset => '{retry_max_attempts}')));
is(relay_pid_of('default'), $pid, 'by the same process');
query('SELECT count(*) FROM outbox.requeue()');
ok(wait_published($node), 'published');

note 'dropped';
query(q(SELECT outbox.create_relay('idle')));
wait_relay('idle', q(state = 'unconfigured'), 'it has no file');
emit('kept');
fails_with($node, 'postgres', q(SELECT outbox.drop_relay('idle')), '55000',
	qr/has events that it has not published.*discard => true/s, 'events must be discarded');
$theirs->command('fail Produce 1 INVALID_RECORD');
emit('dead');
wait_until(undef, sub { query(q(SELECT count(*) FROM outbox.parked WHERE state = 'dead')) == 1 }, 'a dead letter');
my $relay = query(q(SELECT relay FROM outbox.parked));
ok(wait_published_by('old') && wait_published_by('audit'), 'published');
fails_with($node, 'postgres', "SELECT outbox.drop_relay('$relay')", '55000',
	qr/has events that it has not published.*1 dead letters/s, 'dead letters, too');
my @processes = map { relay_pid_of($_) } 'idle', 'old', 'audit';
query("SELECT outbox.drop_relay('$_', discard => true)") for qw(idle old audit);
wait_until(undef, sub { !grep { kill 0, $_ } @processes }, 'the processes end');
pass('the processes end');
is(query(<<~'END'), '0', 'nothing of them is left');
	SELECT count(*) FROM (
		SELECT relay FROM outbox.position UNION SELECT relay FROM outbox.parked
		UNION SELECT relay FROM outbox.discarded UNION SELECT name FROM outbox.relay) r
	WHERE relay <> 'default'
	END
ok(wait_published($node), 'nobody waits for them');

note 'dropped and created again under load';
query(q(SELECT outbox.create_relay('audit')));
my $load = pgbench($node, q(SELECT outbox_emit('load', 'k', clock_timestamp()::text);),
	clients => 2, rate => 300, duration => 600, background => 1);
my $last;
for my $round (1 .. 8)
{
	wait_relay('audit', q(state = 'publishing' AND published > 20), "round $round");
	$pid = relay_pid_of('audit');
	# in one transaction, so that there is no moment without it
	query(q(BEGIN; SELECT outbox.drop_relay('audit', discard => true); SELECT outbox.create_relay('audit'); COMMIT));
	$last = query(q(SELECT first_position FROM outbox.relay WHERE name = 'audit'));
	wait_until(undef, sub { my $next = relay_pid_of('audit'); $next && $next != $pid }, 'another process');
	is(query("SELECT count(*) FROM outbox.position WHERE relay = 'audit' AND position < $last"),
		0, "round $round: nothing is left of the one before");
}
stop_load($node, $load);
ok(wait_published($node), 'published');
ok($consumer->drain, 'read');
my %seen = map { $_->{payload} => 1 } grep { $_->{topic} eq 'load' } $consumer->records;
my @missing = grep { !$seen{$_} }
  split /\n/, query("SELECT convert_from(payload, 'UTF8') FROM outbox.event WHERE topic = 'load' AND id > $last");
is(@missing, 0, 'the last one has published all since it was created');
is(log_lines($node, 0, qr/ (?:ERROR|PANIC): /), 2, 'no error but the two that were to be');

note 'a dump';
query(q(SELECT outbox.alter_relay('audit', topics => '{t,x*}', on_failure => 'skip')));
query(q(SELECT outbox.drop_relay('default', discard => true)));
emit('dumped');
ok(wait_published($node), 'published by the one that is left');
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump';
my $elsewhere = outbox_node('elsewhere', conf => 'max_worker_processes = 16');
for my $format ([ '-Fc' ], [ '--inserts' ])
{
	my $db = $format->[0] eq '-Fc' ? 'custom' : 'inserts';

	system_or_bail('pg_dump', @$format, '-f', $dump, '-d', $node->connstr('postgres'));
	$elsewhere->safe_psql('postgres', "CREATE DATABASE $db");
	system_or_bail($db eq 'custom'
		? ('pg_restore', '-d', $elsewhere->connstr($db), $dump)
		: ('psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $elsewhere->connstr($db), '-f', $dump));
	my $rows = q(SELECT name, number, topics, on_failure, first_position, created_at FROM outbox.relay);
	is($elsewhere->safe_psql($db, $rows), query($rows), "$db: the relays are those of the dump");
	$elsewhere->poll_query_until($db,
		q(SELECT string_agg(relay || ' ' || state, ',') = 'audit unconfigured' FROM outbox.stat_relay))
	  or die 'not unconfigured';
	$elsewhere->safe_psql($db, q(SELECT outbox_emit('t', 'k', 'copy')));
	$elsewhere->poll_query_until($db, 'SELECT pending_events >= 1 FROM outbox.stat_relay')
	  or die 'not pending';
}
ok($consumer->drain, 'read');
is((grep { $_->{payload} eq 'copy' } $consumer->records), 0, 'and publish nothing');
clean_log($node, 'no crash');
$elsewhere->stop;
$node->stop;
done_testing();

sub relay_pid_of { return of_relay($_[0], 'pid'); }

sub wait_published_by
{
	my ($name) = @_;

	return wait_until(undef, sub { of_relay($name, 'pending_events = 0') eq 't' }, $name);
}
