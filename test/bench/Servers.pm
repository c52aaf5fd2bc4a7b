# The benchmark's throw-away servers: one PostgreSQL and one Kafka, in a
# directory of their own that goes away with them.  PostgreSQL refuses to run
# as root, so its own processes then run as the user postgres; clients do not.
package Servers;

use strict;
use warnings;

use Cwd qw(realpath);
use Errno;
use File::Basename qw(dirname);
use File::Path qw(remove_tree);
use File::Temp qw(tempdir);
use IO::Socket::INET;
use POSIX ();
use Time::HiRes qw(time usleep);

my $kafka_script = dirname(realpath(__FILE__)) . '/../kafka/kafka';

sub new
{
	my $class = shift;
	my $dir = tempdir('outbox-bench-XXXXXX', TMPDIR => 1);
	chmod 0755, $dir or die "$dir: $!\n";
	chomp(my $bindir = `\${PG_CONFIG:-pg_config} --bindir`);
	die "no pg_config\n" if $? != 0;
	my $self = bless { dir => $dir, bindir => $bindir, databases => 0 },
	  $class;
	$self->{as_postgres} =
	  $> == 0
	  ? [qw(setpriv --reuid=postgres --regid=postgres --init-groups)]
	  : [];
	$ENV{PGHOST} = $dir;
	$ENV{PGPORT} = 5432;    # names a socket in that directory, no more
	$ENV{PGUSER} = 'postgres';
	$ENV{PGDATABASE} = 'postgres';
	delete @ENV{qw(PGOPTIONS PGSERVICE PGHOSTADDR PGPASSWORD PGSSLMODE)};
	return $self;
}

sub run
{
	my @command = @_;
	system(@command) == 0 or die "failed: @command\n";
	return;
}

my $child;    # what output_of() waits for

sub output_of
{
	my @command = @_;
	$child = open(my $pipe, '-|', @command) or die "$command[0]: $!\n";
	my $output = do { local $/; <$pipe> };
	undef $child;
	close $pipe or die "failed: @command\n";
	chomp($output) if defined $output;
	return $output;
}

# For a signal handler: whoever waits for a command waits no longer.  Once is
# enough: a second signal must not interrupt the cleaning up.
sub interrupt
{
	$SIG{$_} = 'IGNORE' for qw(INT TERM HUP);
	kill 'TERM', $child if $child;
	die "interrupted\n";
}

# Wait until the condition holds, which is asked for again and again.
sub wait_for
{
	my ($what, $seconds, $condition) = @_;
	my $deadline = time() + $seconds;
	until ($condition->())
	{
		die "timed out waiting for $what\n" if time() > $deadline;
		usleep(50_000);
	}
	return;
}

sub start_postgres
{
	my ($self, %settings) = @_;
	my $data = "$self->{dir}/postgres";
	my @as = @{ $self->{as_postgres} };

	mkdir $data, 0700 or die "$data: $!\n";
	mkdir "$self->{dir}/log" or die "$self->{dir}/log: $!\n";
	if (@as)
	{
		my ($uid, $gid) = (getpwnam('postgres'))[ 2, 3 ];
		die "no user postgres\n" unless defined $uid;
		chown $uid, $gid, $data, $self->{dir}, "$self->{dir}/log";
	}
	chdir $self->{dir} or die "$self->{dir}: $!\n";
	output_of(@as, "$self->{bindir}/initdb", qw(-N -U postgres -A trust),
		qw(--locale=C -E UTF8), "--pgdata=$data", '--no-instructions',
		'--auth-host=reject');
	open(my $conf, '>>', "$data/postgresql.conf") or die "$data: $!\n";
	print $conf "listen_addresses = ''\n",
	  "unix_socket_directories = '$self->{dir}'\n",
	  map { "$_ = '$settings{$_}'\n" } sort keys %settings;
	close $conf or die "$data: $!\n";
	run(@as, "$self->{bindir}/pg_ctl", qw(-s -w start), '-D', $data,
		'-l', "$self->{dir}/log/postgres");
	$self->{postgres} = 1;
	return;
}

sub start_kafka
{
	my $self = shift;
	my @ports = map {
		IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1)
		  or die "no free port: $!\n"
	} 1, 2;
	my ($port, $controller_port) = map { $_->sockport } @ports;
	undef @ports;

	run($kafka_script, 'fetch');
	$self->{brokers} = "127.0.0.1:$port";
	$self->{kafka} = fork() // die "fork: $!\n";
	if ($self->{kafka} == 0)
	{
		$ENV{OUTBOX_KAFKA_JAVA} //= '-Xms1g -Xmx1g';
		open(STDOUT, '>', "$self->{dir}/kafka.log");
		open(STDERR, '>&', \*STDOUT);
		exec($kafka_script, 'start', "$self->{dir}/kafka",
			"$port:$controller_port")
		  or POSIX::_exit(127);
	}
	return;
}

# Unless it is there.  The first call also waits for the broker.
sub create_topic
{
	my ($self, $name, $partitions) = @_;
	return if $self->{topics}->{$name}++;
	output_of($kafka_script, 'topic', $self->{brokers}, $name, $partitions);
	return;
}

# The last line of what the statements print, in the bench database or another.
sub sql
{
	my ($self, $statements, $database) = @_;
	my $output = output_of("$self->{bindir}/psql", qw(-XAtq -v ON_ERROR_STOP=1),
		'-d', $database // $ENV{PGDATABASE},
		map { ('-c', $_) } ref $statements ? @$statements : $statements);
	$output =~ s/.*\n//s;
	return $output;
}

# Change settings of the running server.
sub configure
{
	my ($self, %settings) = @_;
	$self->sql(
		[   (map { "ALTER SYSTEM SET $_ = '$settings{$_}'" } sort keys %settings),
			'SELECT pg_reload_conf()'
		],
		'postgres');
	return;
}

# A new database with the extension becomes the present one.
sub add_database
{
	my ($self, $name) = @_;
	$self->sql("CREATE DATABASE $name", 'postgres');
	$ENV{PGDATABASE} = $name;
	$self->sql('CREATE EXTENSION outbox');
	return;
}

sub drop_database
{
	my ($self, $name) = @_;
	$self->sql("DROP DATABASE $name WITH (FORCE)", 'postgres');
	$ENV{PGDATABASE} = 'postgres' if $ENV{PGDATABASE} eq $name;
	return;
}

# One that takes the place of the last one, so that no measurement starts from
# what another one left.
sub new_database
{
	my $self = shift;
	my $old = $ENV{PGDATABASE};
	$self->add_database('bench_' . ++$self->{databases});
	$self->drop_database($old) if $old ne 'postgres';
	return;
}

sub postmaster
{
	my $self = shift;
	open(my $file, '<', "$self->{dir}/postgres/postmaster.pid")
	  or die "no postmaster: $!\n";
	chomp(my $pid = <$file>);
	return $pid;
}

sub relays_off
{
	my $self = shift;
	$self->configure('outbox.enabled' => 'off');
	wait_for('the relay to end', 30,
		sub {
			return !$self->sql(
				"SELECT count(*) FROM pg_stat_activity
				 WHERE backend_type = 'outbox relay'", 'postgres');
		});
	return;
}

# Let the present database publish, and no other.
sub relay_on
{
	my $self = shift;
	$self->configure(
		'outbox.enabled' => 'on',
		'outbox.databases' => $ENV{PGDATABASE});
	return;
}

# The process of its default relay, once it runs and none of another database
# does.
sub relay_pid
{
	my $self = shift;
	my $pid;
	wait_for('the relay', 30,
		sub {
			return $pid = $self->sql(
				"SELECT pid FROM outbox.stat_relay
				 WHERE relay = 'default' AND NOT EXISTS (
					SELECT FROM pg_stat_activity
					WHERE backend_type = 'outbox relay'
						AND datname <> '$ENV{PGDATABASE}')");
		});
	return $pid;
}

# What a relay other than the default one is to connect to, a line of its file.
sub cluster_file
{
	my ($self, $relay, $line) = @_;
	my $dir = "$self->{dir}/postgres/outbox.d";
	my $file = "$dir/$relay.properties";
	mkdir $dir, 0700 or $!{EEXIST} or die "$dir: $!\n";
	open(my $fh, '>', $file) or die "$file: $!\n";
	print $fh "$line\n";
	close $fh or die "$file: $!\n";
	chmod 0600, $file or die "$file: $!\n";
	if (@{ $self->{as_postgres} })
	{
		chown +(getpwnam('postgres'))[ 2, 3 ], $dir, $file;
	}
	return;
}

sub tail
{
	my ($self, $file, $lines) = @_;
	return unless -e "$self->{dir}/$file";
	print STDERR "--- the end of $file:\n",
	  output_of('tail', '-n', $lines, "$self->{dir}/$file"), "\n";
	return;
}

# Stop everything; $failed: and show first what it said.
sub stop
{
	my ($self, $failed) = @_;
	if ($failed)
	{
		$self->tail('log/postgres', 20);
		$self->tail('kafka.log', 5);
	}
	system(@{ $self->{as_postgres} }, "$self->{bindir}/pg_ctl",
		qw(-s -m immediate stop -D), "$self->{dir}/postgres")
	  if delete $self->{postgres};
	if (my $pid = delete $self->{kafka})
	{
		kill 'KILL', $pid;
		waitpid $pid, 0;
	}
	chdir '/';
	remove_tree($self->{dir});
	return;
}

1;
