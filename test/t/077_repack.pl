# pg_repack, which copies a table and collects meanwhile, by a trigger of its
# own, what is written to it, then puts the copy in the table's place.
#
# Catches: rows that are written past that trigger, and are not in the copy:
# committed events that are never published; events that come back.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Process;
use OutboxTest::Server;
use PostgreSQL::Test::Utils ();
use Test::More;

my $mock = OutboxTest::Mock->new;
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	start => 0,
	conf => "outbox.retry_base_delay = 1s\noutbox.retry_multiplier = 1\noutbox.retry_max_attempts = 1000\n");
my $bindir = $node->config_data('--bindir');
my $dir = PostgreSQL::Test::Utils::tempdir('repack');

plan skip_all => 'pg_repack is not installed for this PostgreSQL'
  unless -x "$bindir/pg_repack";
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION outbox; CREATE EXTENSION pg_repack');

# Rewrites tables with pg_repack, in the background.
sub repack
{
	my ($name, @args) = @_;

	return OutboxTest::Process->new(
		command => [ "$bindir/pg_repack", '-h', $node->host, '-p', $node->port, '-d', 'postgres',
			'--no-order', @args ],
		log => "$dir/$name");
}

# Has that happened between the copy of a table and its end?  pg_repack waits
# there for transactions that are older.
sub repack_during
{
	my ($table, $work) = @_;
	my $holder = $node->background_psql('postgres');

	$holder->query_safe('BEGIN; SELECT txid_current()');
	my $repack = repack($table, '-t', "outbox.$table");
	wait_until(undef,
		sub { $repack->log_tail =~ /Waiting for 1 transactions/ },
		'the table is copied');
	$work->();
	$holder->query_safe('COMMIT');
	$holder->quit;
	is($repack->wait, 0, "$table is repacked") or diag $repack->log_tail;
	return;
}

note 'what the relay parks';
$mock->command('refuse missing UNKNOWN_TOPIC_OR_PART');
query("SELECT outbox_emit('missing', 'k' || n % 3, n::text) FROM generate_series(1, 10) n");
wait_parked(10);
repack_during('parked', sub {
	query("SELECT outbox_emit('missing', 'k' || n % 3, n::text) FROM generate_series(11, 100) n");
	wait_parked(100);
});
is(query('SELECT count(*) FROM outbox.parked'), 100, 'nothing of it is lost');
ok(wait_published($node), 'the rest is published');

note 'what transactions emit';
conf_reload($node, 'outbox.enabled = off');
repack_during('event_0', sub {
	query("SELECT outbox_emit('t', 'k' || n % 3, n::text) FROM generate_series(1, 1500) n");
});
repack_during('delayed', sub {
	query("SELECT outbox_emit('t', 'due', n::text, deliver_after => '1 ms') FROM generate_series(1, 50) n");
});
is(query("SELECT count(*) FROM outbox.event WHERE topic = 't'"), 1500, 'no event is lost');
is(query('SELECT count(*) FROM outbox.delayed'), 50, 'none of those that are delayed');

note 'all tables, under load';
conf_reload($node, 'outbox.enabled = on');
my $load = pgbench($node, <<~'END', clients => 3, duration => 600, background => 1);
	BEGIN;
	SELECT outbox_emit('t', 'k' || :client_id, 'x') FROM generate_series(1, 3);
	SELECT outbox_emit('t', 'd' || :client_id, 'x', deliver_after => '100 ms');
	COMMIT;
	END
my $repack = repack('all', '-c', 'outbox');
is($repack->wait, 0, 'all are repacked') or diag $repack->log_tail;
stop_load($node, $load);
like($repack->log_tail(100), qr/outbox\.$_"/, "... $_")
  for qw(event_7 delayed parked discarded relay replay_job);

note 'what arrived';
$mock->command('allow missing');
$node->poll_query_until('postgres',
	'SELECT retrying + waiting + delayed + pending_events = 0 AND outbox.wait_published() FROM outbox.stat_relay')
  or die;
ok($consumer->drain, 'drained');
is(check_delivery([ events($node) ], [ $consumer->records ]), 0, 'nothing repeated');
my @due = grep { $_->{key} =~ /^d\d/ } $consumer->records;
my @events = grep { $_->{key} =~ /^k/ && $_->{payload} eq 'x' } $consumer->records;
cmp_ok(@due, '>', 0, 'delayed events under load');
is(@events, 3 * @due, '... all of them');
clean_log($node, 'no crash');
$node->stop;
done_testing();
