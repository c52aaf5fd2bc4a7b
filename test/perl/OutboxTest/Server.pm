package OutboxTest::Server;

# What tests ask of a server besides its events: errors by their SQLSTATE,
# lines of its log, its processes, and reloads that have arrived.

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Utils ();
use Test::More;
use Time::HiRes qw(time usleep);

our @EXPORT = qw(fails_with log_end log_lines clean_log nobody_waited
  outbox_pid memory_mb temp_files conf_reload conf_taken restart_with stop_load took stays
  damage_toast crash kill_relay);

my $timeout = $PostgreSQL::Test::Utils::timeout_default;
my $reloads = 0;

# The SQL fails with this SQLSTATE, and message, detail or hint match.
sub fails_with
{
	my ($node, $db, $sql, $sqlstate, $pattern, $name, @params) = @_;
	my ($status, $out, $err) = $node->psql(
		$db, $sql,
		extra_params => [ '-v', 'VERBOSITY=verbose' ],
		@params);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return ok(
		$status == 3
		  && $err =~ /^(?:psql:\S+ )?(?:ERROR|FATAL):  \Q$sqlstate\E: /m
		  && $err =~ $pattern,
		$name) || diag "status $status: $out$err";
}

# Where the server's log ends now, for log_lines().
sub log_end
{
	my ($node) = @_;

	return -s $node->logfile // 0;
}

# The lines since then that match.
sub log_lines
{
	my ($node, $from, $pattern) = @_;

	return grep { $_ =~ $pattern }
	  split /\n/, PostgreSQL::Test::Utils::slurp_file($node->logfile, $from);
}

# There was no crash, nor anything else that is told by $opt{also}, a pattern,
# since $opt{from}.
sub clean_log
{
	my ($node, $name, %opt) = @_;
	my $unclean = qr/PANIC|TRAP|terminated by signal/;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$unclean = qr/$unclean|$opt{also}/ if $opt{also};
	return is(join("\n", log_lines($node, $opt{from} // 0, $unclean)), '', $name);
}

# Neither the relay nor anybody else has waited for a lock of ours since then;
# the server has log_lock_waits.
sub nobody_waited
{
	my ($node, $from, $name) = @_;
	my @waits = log_lines($node, $from,
		qr/still waiting for .* on (?!tuple|transaction)|deadlock|canceling/);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return is(join("\n", @waits), '', $name);
}

# The process id of the launcher, or of a database's relay; '' if there is none.
sub outbox_pid
{
	my ($node, $db) = @_;
	my $which =
	  defined $db
	  ? "backend_type = 'outbox relay' AND datname = '$db'"
	  : "backend_type = 'outbox launcher'";

	return $node->safe_psql('template1',
		"SELECT pid FROM pg_stat_activity WHERE $which");
}

# What a process has of its own, or another line of its status in kB, in MB.
sub memory_mb
{
	my ($pid, $line) = @_;

	$line //= 'RssAnon';
	my ($kb) = PostgreSQL::Test::Utils::slurp_file("/proc/$pid/status") =~
	  /^$line:\s+(\d+) kB/m;
	return $kb / 1024;
}

# How many temporary files of sessions there are.
sub temp_files
{
	my ($node) = @_;

	return scalar grep { -f } glob $node->data_dir . '/base/pgsql_tmp/*';
}

# Adds lines to postgresql.conf, reloads, and returns when the launcher and
# every relay have read it: application_name tells.
sub conf_reload
{
	my ($node, $lines) = @_;
	my $mark = 'reload ' . ++$reloads;

	$node->append_conf('postgresql.conf',
		($lines // '') . "\napplication_name = '$mark'");
	$node->reload;
	$node->poll_query_until('template1', <<~END)
		SELECT NOT EXISTS (SELECT FROM pg_stat_activity
		WHERE backend_type LIKE 'outbox %' AND application_name <> '$mark')
		END
	  or die 'a reload was not noticed';
	return;
}

# The same, and returns when all have done what the reload asks them to: they
# notice the next one only then.
sub conf_taken
{
	my ($node, $lines) = @_;

	conf_reload($node, $lines);
	conf_reload($node);
	return;
}

# The same by a restart; returns when the relay publishes.
sub restart_with
{
	my ($node, $lines) = @_;

	$node->append_conf('postgresql.conf', $lines);
	$node->restart;
	OutboxTest::wait_state($node, 'publishing');
	return;
}

# Stops a pgbench; returns when its last transaction has ended, too.
sub stop_load
{
	my ($node, $load) = @_;

	$load->stop;
	$node->poll_query_until('template1', <<~'END')
		SELECT NOT EXISTS (SELECT FROM pg_stat_activity
		WHERE application_name = 'pgbench')
		END
	  or die 'a session outlives pgbench';
	return;
}

# How many seconds something takes.
sub took
{
	my ($code) = @_;
	my $start = time;

	$code->();
	return time - $start;
}

# A condition that holds now and for some time.
sub stays
{
	my ($seconds, $condition) = @_;
	my $deadline = time + $seconds;

	while (time < $deadline)
	{
		return 0 unless $condition->();
		usleep(50_000);
	}
	return 1;
}

# Stops a server, and overwrites what tables of outbox hold outside of their
# rows.  Pages of zeros are empty.
sub damage_toast
{
	my ($node, @tables) = @_;
	my @paths = map {
		$node->safe_psql('postgres',
			"SELECT pg_relation_filepath(reltoastrelid) FROM pg_class"
			  . " WHERE oid = 'outbox.$_'::regclass")
	} @tables;

	$node->stop;
	for my $path (@paths)
	{
		my $file = $node->data_dir . "/$path";
		my $size = -s $file or die "$file is empty";
		open(my $fh, '+<', $file) or die "$file: $!";
		print $fh "\0" x $size;
		close $fh or die "$file: $!";
	}
	return;
}

sub parent_of
{
	my ($pid) = @_;

	open(my $fh, '<', "/proc/$pid/stat") or return 0;
	return (<$fh> // '') =~ /^\d+ \(.*\) \S (\d+)/s ? $1 : 0;
}

# Kills the relay. With it go all sessions, which takes a moment.
sub kill_relay
{
	my ($node) = @_;
	my $from = log_end($node);

	kill 'KILL', OutboxTest::relay_pid($node);
	OutboxTest::wait_until(undef,
		sub { log_lines($node, $from, qr/database system is ready to accept connections/) },
		'the server is back');
	return;
}

# Kills every process of a server at once.  The postmaster is stopped first, so
# that it replaces nobody.  Until it is reaped, it still looks alive to the next.
sub crash
{
	my ($node) = @_;
	my ($postmaster) = PostgreSQL::Test::Utils::slurp_file(
		$node->data_dir . '/postmaster.pid') =~ /^(\d+)/;

	kill 'STOP', $postmaster;
	my @children = grep { parent_of($_) == $postmaster }
	  map { m{(\d+)$} } glob '/proc/[0-9]*';
	kill 'KILL', @children;
	$node->kill9;
	OutboxTest::wait_until(undef,
		sub { !grep { kill 0, $_ } @children, $postmaster },
		'the server is gone');
	return;
}

1;
