# pg_upgrade from an older PostgreSQL, with outbox and brokers configured in
# both servers.  OUTBOX_OLDER_PG_CONFIG says where the older one is, with outbox
# installed; test/upgrade/older gets it.
#
# Catches: events lost, repeated or out of order; a relay that publishes while
# the data is moved; a position, a sequence, delayed or parked events, or a
# replay left behind; tables that later dumps leave out.

use strict;
use warnings;

use File::Basename qw(dirname);
use IPC::Run;
use OutboxTest;
use OutboxTest::Server;
use PostgreSQL::Test::Utils ();
use Test::More;

my $older = $ENV{OUTBOX_OLDER_PG_CONFIG};
plan skip_all => 'OUTBOX_OLDER_PG_CONFIG is not set: see test/upgrade/older'
  unless $older;

my $mock = OutboxTest::Mock->new;
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my %options = (
	bootstrap => $mock->bootstrap,
	# all versions can have them, whatever is their default
	extra => ['--data-checksums'],
	conf => "outbox.retry_base_delay = 1s\noutbox.retry_multiplier = 1\n"
	  . "outbox.retry_max_attempts = 1000\n");
my $install_path = dirname(dirname($older));
my $old = outbox_node('old', %options, install_path => $install_path, extension => 1);
my $new = outbox_node('new', %options, start => 0);
my $members = <<~'END';
	SELECT cardinality(extconfig), count(*), string_agg(pg_describe_object(classid, objid, 0), E'\n'
		ORDER BY pg_describe_object(classid, objid, 0) COLLATE "C")
	FROM pg_extension e JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
	-- row types are members, or not, depending on the version of PostgreSQL
	WHERE extname = 'outbox' AND classid <> 'pg_type'::regclass GROUP BY extconfig
	END

sub before { return $old->safe_psql('postgres', $_[0]); }
sub after { return $new->safe_psql('postgres', $_[0]); }

note 'published, dead, retrying, pending and delayed events, a replay: '
  . before('SHOW server_version');
$mock->command('refuse missing UNKNOWN_TOPIC_OR_PART');
before(<<~'END');
	CREATE ROLE app;
	SELECT outbox.grant_emit('app');
	SELECT outbox_emit('t', 'k' || n % 20, n::text) FROM generate_series(1, 600) n;
	SELECT outbox_emit('t', 'expired', 'x', expires_at => now() - interval '1 s');
	SELECT outbox_emit('missing', 'k' || n % 2, n::text) FROM generate_series(1, 6) n;
	END
ok(wait_published($old), 'published');
$old->poll_query_until('postgres',
	'SELECT dead_letters = 1 AND retrying + waiting = 6 FROM outbox.stat_relay')
  or die 'not parked';
conf_reload($old, 'outbox.enabled = off');
wait_state($old, 'disabled');
before(<<~'END');
	SELECT outbox_emit('t', 'k' || n % 20, 'pending ' || n) FROM generate_series(1, 500) n;
	SELECT outbox_emit('t', 'due', n::text, deliver_after => '1 ms') FROM generate_series(1, 3) n;
	SELECT outbox_emit('t', 'not due', 'x', deliver_after => '1 day');
	SELECT outbox.replay(first_id => 1, last_id => 20);
	END
my $position = before('SELECT max(position) FROM outbox.position');
my $last_id = before('SELECT last_value FROM outbox.event_id_seq');
my $count = before('SELECT count(*) FROM outbox.event');
my $members_before = before($members);
$old->append_conf('postgresql.conf', 'outbox.enabled = on');
$old->stop;

note 'pg_upgrade to ' . qx(pg_config --version);
ok($consumer->drain, 'drained');
my $published = $consumer->count;
my $dir = PostgreSQL::Test::Utils::tempdir('upgrade');
my $output = '';
{
	local $ENV{LD_LIBRARY_PATH} = "$install_path/lib";
	chomp(my $bindir = qx(pg_config --bindir));

	ok( IPC::Run::run(
			[
				'pg_upgrade', '--no-sync', '--retain',
				'--old-datadir', $old->data_dir,
				'--new-datadir', $new->data_dir,
				'--old-bindir', "$install_path/bin",
				'--new-bindir', $bindir,
				'--old-port', $old->port,
				'--new-port', $new->port,
				'--socketdir', $new->host
			],
			init => sub { chdir $dir },
			'>', \$output, '2>&1'),
		'pg_upgrade') or diag $output;
}
my $logs = qx(cat "@{[$new->data_dir]}"/pg_upgrade_output.d/*/log/pg_upgrade_server.log);
like($logs, qr/ready to accept connections/, 'its servers');
unlike($logs, qr/outbox relay|outbox launcher|WARNING/, '... had no relay');
ok($consumer->drain, 'drained');
is($consumer->count, $published, '... and have published nothing');

note 'the new server goes on';
$new->start;
is(after($members), $members_before, 'all of the extension is there');
ok( $new->poll_query_until('postgres', <<~'END'), 'all is done');
	SELECT r.state = 'publishing' AND r.pending_events = 0 AND r.delayed = 1
		AND r.dead_letters = 1 AND r.retrying + r.waiting = 6 AND j.state = 'done' AND j.replayed = 20
	FROM outbox.stat_relay r, outbox.stat_replay j
	END
is(after("SELECT count(*) FROM outbox.event WHERE id <= $last_id"), $count, 'all events');
is(after(<<~END), '600|1|6|1', 'what became of them');
	SELECT count(*) FILTER (WHERE status = 'published' AND id <= $position),
		count(*) FILTER (WHERE status = 'expired'), count(*) FILTER (WHERE status IN ('retrying', 'waiting')),
		count(*) FILTER (WHERE status = 'delayed') FROM outbox.event_status
	END
after("SET ROLE app; SELECT outbox_emit('t', 'k1', 'after')");
cmp_ok(after("SELECT id FROM outbox.event WHERE payload = 'after'"), '>', $last_id, 'ids go on');
$mock->command('allow missing');
after('SELECT outbox.requeue()');
ok( $new->poll_query_until('postgres', 'SELECT retrying + waiting + dead_letters = 0 FROM outbox.stat_relay'),
	'nothing is parked');
ok(wait_published($new) && $consumer->drain, 'published');

my @records = grep { $_->{headers}->[0]->[0] ne 'outbox_replay' } $consumer->records;
is($consumer->count - @records, 20, 'the replay');
is( check_delivery(
		[ events($new, 'postgres', "headers IS NULL OR NOT headers ? 'outbox_replay'") ],
		\@records, 'before and after'),
	0,
	'each once');
clean_log($new, 'nothing unclean in the log', also => qr/ERROR|WARNING/);
$new->stop;
done_testing();
