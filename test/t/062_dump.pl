# pg_dump and pg_restore into servers that publish.
#
# Catches: events that were published before the dump and are published again
# by the copy, or pending ones that are not; a relay that begins before all is
# loaded, and takes ids, or goes on from a wrong position, or loses delayed,
# parked or replayed events; ids that come again.

use strict;
use warnings;

use IPC::Run;
use OutboxTest;
use OutboxTest::Server;
use PostgreSQL::Test::Utils ();
use Test::More;

my $mock = OutboxTest::Mock->new;
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $conf = "outbox.retry_base_delay = 1s\noutbox.retry_multiplier = 1\n"
  . "outbox.retry_max_attempts = 1000\n";
my $source = outbox_node('source',
	bootstrap => $mock->bootstrap,
	extension => 1,
	conf => $conf);
my $copy = outbox_node('copy', conf => $conf);
my $dir = PostgreSQL::Test::Utils::tempdir('dump');
my $not_replayed = "(headers IS NULL OR NOT headers ? 'outbox_replay')";

sub there { return $copy->safe_psql('restored', $_[0]); }

# Runs one of PostgreSQL's programs; it must have nothing to say.
sub run_client
{
	my ($node, @command) = @_;
	my $output = '';
	my $ok = IPC::Run::run(
		[ $command[0], '-h', $node->host, '-p', $node->port, @command[ 1 .. $#command ] ],
		'<', '/dev/null', '>', \$output, '2>&1');

	$output =~ s/^(?:SET|COPY \d+|CREATE .*|ALTER .*|COMMENT|INSERT 0 \d+| *set_config *| *setval *|-+| *\d*|\(\d+ rows?\)|DO|DROP .*|GRANT|REVOKE)\n//mg;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is(($ok ? '' : 'failed: ') . $output, '', "@command[0, 1]");
}

note 'while rows are loaded, ids are not to be trusted';
$copy->safe_psql('postgres', 'CREATE EXTENSION outbox');
my $loader = $copy->background_psql('postgres');
$loader->query_safe('INSERT INTO outbox.parked SELECT * FROM outbox.parked');
$copy->safe_psql('postgres', "SELECT outbox_emit('t', 'k', 'x')");
my $emitter = $copy->background_psql('postgres', on_error_stop => 0);
$emitter->query_safe("BEGIN; SELECT outbox_emit('t', 'k', 'x')");
$loader->query_safe("INSERT INTO outbox.position_0 VALUES ('default', 0)");
my $refused = qr/cannot emit an event while rows are loaded/;
fails_with($copy, 'postgres', "SELECT outbox_emit('t', 'k', 'x')", '55000', $refused,
	'no event can be emitted');
my $loading = log_end($copy);
$emitter->query('COMMIT');
wait_until(undef, sub { log_lines($copy, $loading, $refused) }, 'refused');
pass('nor committed');
$emitter->quit;
$loader->quit;
wait_until(undef,
	sub { return 0 == $copy->psql('postgres', q(SELECT outbox_emit('t', 'k', 'x'))); },
	'afterwards');
is($copy->safe_psql('postgres', 'SELECT count(*) FROM outbox.event'), 2, 'it can, afterwards');
$copy->safe_psql('postgres', 'DROP EXTENSION outbox');
$loading = log_end($copy);

note 'the source: published, dead, retrying, delayed and pending events, a replay';
$mock->command('refuse missing UNKNOWN_TOPIC_OR_PART');
query("SELECT outbox_emit('t', 'k' || n % 20, n::text) FROM generate_series(1, 600) n");
query("SELECT outbox_emit('t', 'expired', 'x', expires_at => now() - interval '1 s')");
query("SELECT outbox_emit('missing', 'k' || n % 2, n::text) FROM generate_series(1, 6) n");
ok(wait_published($source), 'published');
$source->poll_query_until('postgres', <<~'END') or die;
	SELECT written_position = (SELECT last_value FROM outbox.event_id_seq)
		AND dead_letters = 1 AND retrying + waiting = 6 FROM outbox.stat_relay
	END
conf_reload($source, 'outbox.enabled = off');
wait_state($source, 'disabled');
query(<<~'END');
	SELECT outbox_emit('t', 'k' || n % 20, 'pending ' || n) FROM generate_series(1, 500) n;
	SELECT outbox_emit('t', 'due', n::text, deliver_after => '1 ms') FROM generate_series(1, 3) n;
	SELECT outbox_emit('t', 'not due', 'x', deliver_after => '1 day');
	SELECT outbox.replay(first_id => 1, last_id => 20);
	SELECT outbox.pause_topic('nothing', reason => 'why');
	CREATE TABLE public.filler AS SELECT n, repeat('x', 100) FROM generate_series(1, 20000) n;
	END
my $position = query('SELECT max(position) FROM outbox.position');
my $last_id = query('SELECT max(id) FROM outbox.event');
my $first = query('SELECT first_position FROM outbox.relay');
cmp_ok($last_id, '>=', $position + 500, 'pending');

run_client($source, 'pg_dump', '-Fc', '-f', "$dir/custom", 'postgres');
run_client($source, 'pg_dump', '-Fd', '-j', 2, '-f', "$dir/directory", 'postgres');
run_client($source, 'pg_dump', '--inserts', '-f', "$dir/inserts", 'postgres');

# A restore that takes its time, with what the relay would make events of, or
# would end too early, before all else; and relays that start at any moment.
IPC::Run::run([ 'pg_restore', '-l', "$dir/custom" ], '>', \my $list) or die;
my @entries = split /^/, $list;
my $early = qr/TABLE DATA outbox (?:delayed|parked|replay_job) /;
PostgreSQL::Test::Utils::append_to_file("$dir/list",
	join('', (grep { !/TABLE DATA|SEQUENCE SET/ } @entries),
		(grep { /$early/ } @entries),
		(grep { /TABLE DATA|SEQUENCE SET/ && !/$early/ } @entries)));
IPC::Run::run([ 'pg_restore', '-L', "$dir/list", '-f', "$dir/slow", "$dir/custom" ]) or die;
my $slow = PostgreSQL::Test::Utils::slurp_file("$dir/slow");
my $wait = <<~'END';
	DO $$ BEGIN
		PERFORM pg_terminate_backend(pid, 5000) FROM pg_stat_activity
			WHERE backend_type = 'outbox relay' AND datname = current_database();
		PERFORM pg_sleep(0.6);
	END $$;
	END
is($slow =~ s/^(?=COPY outbox\.(?:parked|discarded|event_0|relay) |SELECT pg_catalog\.setval\('outbox\.event)/$wait/mg,
	5, 'a slow restore');
unlink "$dir/slow";
PostgreSQL::Test::Utils::append_to_file("$dir/slow", $slow);

sub restore_sections
{
	for my $section (qw(pre-data data post-data))
	{
		run_client($copy, 'pg_restore', '-d', 'restored', "--section=$section", "$dir/custom");
		wait_until(undef, sub { outbox_pid($copy, 'restored') ne '' }, 'relay');
	}
	return;
}

# All that the copy has to publish, and nothing else.
sub check_copy
{
	my ($name, $restore, $before) = @_;
	my $mock = OutboxTest::Mock->new;
	my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);

	note $name;
	$mock->command('refuse missing UNKNOWN_TOPIC_OR_PART');
	conf_reload($copy, "outbox.bootstrap_servers = '" . $mock->bootstrap . "'");
	$copy->safe_psql('postgres', 'CREATE DATABASE restored');
	$before->($consumer) if $before;
	my $old = $consumer->count;
	$restore->();
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	ok( $copy->poll_query_until('restored', <<~'END'), "$name: all is done");
		SELECT r.state = 'publishing' AND r.pending_events = 0 AND r.delayed = 1
			AND r.dead_letters = 1 AND r.retrying + r.waiting = 6 AND j.state = 'done' AND j.replayed = 20
		FROM outbox.stat_relay r, outbox.stat_replay j
		END
	is(there('SELECT name, first_position FROM outbox.relay'), "default|$first", "$name: first_position");
	is(there('TABLE outbox.paused'), query('TABLE outbox.paused'), "$name: what is paused");
	is(there("SELECT count(*) FROM outbox.event WHERE id <= $last_id"),
		query('SELECT count(*) FROM outbox.event'), "$name: all events");
	is(there(<<~END), '600|1|6|1', "$name: what became of them");
		SELECT count(*) FILTER (WHERE status = 'published' AND id <= $position),
			count(*) FILTER (WHERE status = 'expired'), count(*) FILTER (WHERE status IN ('retrying', 'waiting')),
			count(*) FILTER (WHERE status = 'delayed') FROM outbox.event_status
		END
	my $id = there("SELECT outbox_emit('t', 'k1', 'after'); SELECT last_value FROM outbox.event_id_seq") =~ s/.*\n//r;
	cmp_ok($id, '>', $last_id, "$name: ids go on");
	$mock->command('allow missing');
	there('SELECT outbox.requeue()');
	ok( $copy->poll_query_until('restored', 'SELECT retrying + waiting + dead_letters = 0 FROM outbox.stat_relay'),
		"$name: nothing is parked");
	ok(wait_published($copy, 'restored') && $consumer->drain, "$name: published");

	my @records = $consumer->records;
	splice @records, 0, $old;
	my @replayed = grep { $_->{headers}->[0]->[0] eq 'outbox_replay' } @records;
	@records = grep { $_->{headers}->[0]->[0] ne 'outbox_replay' } @records;
	is(check_delivery(
			[ events($copy, 'restored', "(id > $position OR topic = 'missing' OR key = 'expired') AND $not_replayed") ],
			\@records, $name), 0, "$name: each once");
	is(@records, 500 + 6 + 1 + 3 + 1, "$name: all of them");
	is(@replayed, 20, "$name: the replay");
	is($copy->safe_psql('restored', 'SELECT count(*) FROM filler'), 20000, "$name: the rest");
	$copy->safe_psql('postgres', 'DROP DATABASE restored');
	return;
}

# An outbox before, in the same database and with higher ids
sub outbox_before
{
	my ($consumer) = @_;

	there('CREATE EXTENSION outbox');
	there("SELECT outbox_emit('old', n::text, 'old') FROM generate_series(1, 3000) n");
	ok(wait_published($copy, 'restored') && $consumer->wait_for(3000), 'an outbox before');
	return;
}

my @restore = ('pg_restore', '-d', 'restored');
check_copy('pg_restore', sub { run_client($copy, @restore, "$dir/custom") });
check_copy('-j 4', sub { run_client($copy, @restore, '-j', 4, "$dir/directory") });
check_copy('--single-transaction',
	sub { run_client($copy, @restore, '--single-transaction', "$dir/custom") });
check_copy('--inserts', sub { run_client($copy, 'psql', '-d', 'restored', '-f', "$dir/inserts") });
check_copy('slowly', sub { run_client($copy, 'psql', '-d', 'restored', '-f', "$dir/slow") });
check_copy('section by section', \&restore_sections);
check_copy('over an outbox that was dropped',
	sub { there('DROP EXTENSION outbox'); run_client($copy, @restore, "$dir/custom") },
	\&outbox_before);
check_copy('--clean over another outbox',
	sub { run_client($copy, @restore, '--clean', '--if-exists', '--single-transaction', "$dir/custom") },
	\&outbox_before);

for ([ $source, 0 ], [ $copy, $loading ])
{
	my ($node, $from) = @$_;

	clean_log($node, 'nothing unclean in the log', from => $from, also => qr/ERROR|exited with exit code [^1]/);
	$node->stop;
}
done_testing();
