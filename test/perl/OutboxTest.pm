package OutboxTest;

# What all tests here need: a PostgreSQL server with the extension preloaded,
# Kafka brokers (OutboxTest::Mock, OutboxTest::Kafka), a consumer
# (OutboxTest::Consumer), load, and the check of what arrived.
#
#	use OutboxTest;
#	my $mock = OutboxTest::Mock->new;
#	my $node = outbox_node('main', bootstrap => $mock->bootstrap);
#
# PG_CONFIG says which PostgreSQL; PostgreSQL's own test modules are found by
# it, so that "prove -I test/perl test/t" is enough.

use strict;
use warnings;

use File::Basename qw(basename);
use File::Path qw(make_path);
use File::Spec;
use File::Temp;
use List::Util qw(max min);

my ($bindir, $pgxs_dir, $test_dir, $first_node);

BEGIN
{
	my $pg_config = $ENV{PG_CONFIG} // 'pg_config';
	chomp($bindir = qx("$pg_config" --bindir));
	chomp($pgxs_dir = qx("$pg_config" --pgxs));
	die "could not run $pg_config\n" if $? != 0;

	$pgxs_dir =~ s{/[^/]+$}{};
	$ENV{PG_REGRESS} //= "$pgxs_dir/../test/regress/pg_regress";
	$ENV{PATH} = "$bindir:$ENV{PATH}" unless $ENV{PATH} =~ m{^\Q$bindir\E:};

	# A directory for each run, so that runs never meet; kept if it fails.
	my $base = $ENV{TESTDATADIR}
	  // ($ENV{TESTDIR} ? "$ENV{TESTDIR}/tmp_check" : 'tmp_check');
	make_path($base);
	$test_dir = File::Temp::tempdir(
		basename($0, '.pl') . '.XXXXXX',
		DIR => File::Spec->rel2abs($base),
		CLEANUP => !$ENV{PG_TEST_NOCLEAN});
	$ENV{TESTDIR} = $test_dir;
	$ENV{TESTDATADIR} = "$test_dir/tmp_check";
	$ENV{TESTLOGDIR} = "$test_dir/tmp_check/log";

	# Ports are the one thing that all runs of a user share.
	$ENV{PG_TEST_PORT_DIR} //= File::Spec->tmpdir . "/outbox-test-ports-$>";
}

use lib "$pgxs_dir/../test/perl";

use Carp;
use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils ();
use Test::More ();
use Time::HiRes qw(time usleep);

use OutboxTest::Consumer;
use OutboxTest::Delivery;
use OutboxTest::Hostile;
use OutboxTest::Kafka;
use OutboxTest::Mock;
use OutboxTest::Process;

our @EXPORT = (
	qw(outbox_node guard_node query wait_until pgbench kcat relay_state relay_pid
	  published wait_state wait_parked wait_rows wait_next_relay replace_relay
	  wait_published),
	@OutboxTest::Delivery::EXPORT);

# Copies of one cluster are much quicker than initdb: $INITDB_TEMPLATE, which
# newer versions of PostgreSQL's modules know by themselves.
if ($ENV{INITDB_TEMPLATE})
{
	no warnings 'redefine';
	my $system_or_bail = \&PostgreSQL::Test::Utils::system_or_bail;

	*PostgreSQL::Test::Utils::system_or_bail = sub {
		my @command = @_;

		@command = (qw(cp -RPp), $ENV{INITDB_TEMPLATE}, $command[2])
		  if "@command" =~ /^initdb -D \S+ -A trust -N$/;
		return $system_or_bail->(@command);
	};
}

# A server that is initialised and started.
#
# bootstrap => 'HOST:PORT'   value of outbox.bootstrap_servers
# conf      => 'lines'       of postgresql.conf
# preload   => 0             without shared_preload_libraries = 'outbox'
# extension => 1             CREATE EXTENSION in database postgres
# start     => 0             leave it stopped
# install_path => '/...'     another PostgreSQL than that of PG_CONFIG
# the rest, such as allows_streaming => 1, is for $node->init
sub outbox_node
{
	my ($name, %opt) = @_;
	my $bootstrap = delete $opt{bootstrap};
	my $conf = delete $opt{conf} // '';
	my $preload = delete $opt{preload} // 1;
	my $extension = delete $opt{extension};
	my $start = delete $opt{start} // 1;
	my $install_path = delete $opt{install_path};
	my $node = PostgreSQL::Test::Cluster->new($name,
		$install_path ? (install_path => $install_path) : ());

	$node->init(%opt);

	# PostgreSQL's tests log every statement; under load that is too much.
	$node->append_conf('postgresql.conf', <<~END);
		log_statement = none
		log_min_messages = info
		shared_buffers = 32MB
		max_connections = 50
		END
	$node->append_conf('postgresql.conf',
		"shared_preload_libraries = 'outbox'")
	  if $preload;
	$node->append_conf('postgresql.conf',
		"outbox.bootstrap_servers = '$bootstrap'")
	  if defined $bootstrap;
	$node->append_conf('postgresql.conf', $conf);
	$first_node //= $node;
	guard_node($node);
	$node->start if $start;
	$node->safe_psql('postgres', 'CREATE EXTENSION outbox')
	  if $extension && $start;
	return $node;
}

# The end of a test stops its servers, but a test that is killed cannot.  So
# somebody holds the other end of a pipe, and looks after the server when it
# breaks.  For servers not made by outbox_node(), such as standbys.
my %guards;

sub guard_node
{
	my ($node) = @_;
	my $script = <<~'END';
		cat >/dev/null
		pid=$(head -n 1 "$0/postmaster.pid") &&
		[ "/proc/$pid/cwd" -ef "$0" ] && kill -QUIT "$pid"
		END

	$guards{ $node->data_dir } //= OutboxTest::Process->new(
		command => [ 'sh', '-c', $script, $node->data_dir ],
		log => '/dev/null',
		pipes => 1,
		orphan => 1);
	return;
}

# What SQL returns, from the test's server: the first that outbox_node() made.
sub query
{
	my ($sql, $db) = @_;

	return $first_node->safe_psql($db // 'postgres', $sql);
}

# Polls until $condition->() is true and returns its value; dies after the
# timeout (undef: the default of PostgreSQL's tests).  What takes long is asked
# for less often: each time may cost a session.
sub wait_until
{
	my ($timeout, $condition, $what) = @_;
	my $start = time;
	my $deadline =
	  $start + ($timeout // $PostgreSQL::Test::Utils::timeout_default);

	while (1)
	{
		my $value = $condition->();
		return $value if $value;
		croak 'timed out: ' . ($what // 'condition') if time > $deadline;
		usleep(min(max(50_000, 100_000 * (time - $start)), 200_000));
	}
}

sub _stat_relay
{
	my ($column, $node, $db) = @_;

	return $node->safe_psql($db // 'postgres',
		"SELECT $column FROM outbox.stat_relay WHERE relay = 'default'");
}

sub relay_state { return _stat_relay('state', @_); }
sub relay_pid { return _stat_relay('pid', @_); }
sub published { return _stat_relay('published', @_); }

# Waits until the relay says that it is in this state.
sub wait_state
{
	my ($node, $state, $db) = @_;
	my $is;

	eval {
		wait_until(undef,
			sub { ($is = relay_state($node, $db)) eq $state }, 'state');
	} or croak "the relay is $is, not $state";
	return;
}

# Waits until so many events are parked in the test's server, besides dead
# letters.
sub wait_parked
{
	my ($count, $what) = @_;
	my $is;

	eval {
		wait_until(undef,
			sub { ($is = query('SELECT retrying + waiting FROM outbox.stat_relay')) == $count },
			'parked');
	} or croak "$is events are parked, not $count"
	  . (defined $what ? ": $what" : '');
	return;
}

# Waits until so many rows of outbox.parked, or of another table of the test's
# server, meet a condition.
sub wait_rows
{
	my ($count, $where, $table) = @_;
	my $is;

	$table //= 'outbox.parked';
	eval {
		wait_until(undef,
			sub { ($is = query("SELECT count(*) FROM $table WHERE $where")) == $count },
			'rows');
	} or croak "$is rows of $table, not $count: $where";
	return;
}

# Waits until another process than that one is the relay and in this state
# (publishing), and returns its id.  One that has ended is seen for a moment.
sub wait_next_relay
{
	my ($node, $pid, %opt) = @_;
	my $state = $opt{state} // 'publishing';
	my ($is, $next);

	eval {
		wait_until(
			undef,
			sub {
				($is, $next) = split /\|/, _stat_relay('state, pid', $node, $opt{db});
				return $is eq $state && $next && $next != $pid;
			},
			'another relay');
	} or croak "there is no other relay that is $state: it is $is";
	return $next;
}

# Ends the relay and waits for the next one, likewise.
sub replace_relay
{
	my ($node, %opt) = @_;
	my $pid = wait_until(undef, sub { relay_pid($node, $opt{db}) }, 'a relay');

	$node->safe_psql($opt{db} // 'postgres', "SELECT pg_terminate_backend($pid)");
	return wait_next_relay($node, $pid, %opt);
}

# True once all that is committed now is acknowledged; false after the timeout.
sub wait_published
{
	my ($node, $db, $timeout) = @_;

	$timeout //= $PostgreSQL::Test::Utils::timeout_default;
	return $node->safe_psql($db // 'postgres',
		"SELECT outbox.wait_published('$timeout s')") eq 't';
}

# Runs a pgbench script and dies if it fails, or with background => 1 returns
# its OutboxTest::Process: ->wait($timeout) for its status, ->stop, ->log_tail.
#
# clients => 1, jobs, transactions => N (each) or duration => seconds,
# rate, db => 'postgres', args => [...], timeout => seconds
sub pgbench
{
	my ($node, $script, %opt) = @_;
	my $dir = PostgreSQL::Test::Utils::tempdir('pgbench');

	open(my $fh, '>', "$dir/script.sql") or croak "$dir: $!";
	print $fh $script;
	close($fh) or croak "$dir: $!";

	my $clients = $opt{clients} // 1;
	my @command = (
		'pgbench', '-n', '-f', "$dir/script.sql",
		'-h', $node->host, '-p', $node->port,
		'-c', $clients, '-j', $opt{jobs} // ($clients < 2 ? 1 : 2));
	push @command,
	  $opt{duration}
	  ? ('-T', $opt{duration})
	  : ('-t', $opt{transactions} // 1);
	push @command, '-R', $opt{rate} if $opt{rate};
	push @command, @{ $opt{args} // [] }, $opt{db} // 'postgres';

	my $process =
	  OutboxTest::Process->new(command => \@command, log => "$dir/log");
	return $process if $opt{background};

	my $status =
	  $process->wait($opt{timeout} // $PostgreSQL::Test::Utils::timeout_default);
	croak 'pgbench ' . (defined $status ? 'failed: ' : 'timed out: ')
	  . $process->log_tail
	  unless defined $status && $status == 0;
	return $process->log_tail;
}

# Runs kcat with an input and returns its output; dies if it fails:
#	kcat($mock->bootstrap, "key:value\n", qw(-P -t orders -K :))
sub kcat
{
	my ($bootstrap, $input, @args) = @_;
	my ($out, $err);

	IPC::Run::run([ 'kcat', '-b', $bootstrap, @args ],
		'<', \$input, '>', \$out, '2>', \$err)
	  or croak "kcat @args: $err";
	return $out;
}

END
{
	Test::More::diag("kept: $test_dir")
	  unless $? == 0 && PostgreSQL::Test::Utils::all_tests_passing();
}

1;
