package OutboxTest::Bouncer;

# PgBouncer in front of a server of the test: each of its databases is one of
# the server's in one mode.  It is killed and started again like a server, and
# stopped by its id.
#
#	my $bouncer = OutboxTest::Bouncer->new($node,
#		databases => { slow => 'dbname=postgres pool_mode=transaction' },
#		users => { app => 'secret' });
#	$bouncer->node->safe_psql('slow', 'SELECT 1', extra_params => [ '-U', 'app' ]);

use strict;
use warnings;

use Carp;
use IPC::Run;
use OutboxTest::Process;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils ();
use Time::HiRes qw(time usleep);

my ($program) = grep { -x } map { "$_/pgbouncer" } split(/:/, $ENV{PATH}), '/usr/sbin';

# Why there is none for this test, or undef if there is.
sub skip_reason { return $program ? undef : 'pgbouncer is not installed'; }

# Does it keep prepared statements of the protocol, whatever the mode is?
sub can_prepare
{
	my ($major, $minor) = qx("$program" --version) =~ /PgBouncer (\d+)\.(\d+)/;

	return $major > 1 || $minor >= 21;
}

# databases => { name => where to }, users => { name => password },
# conf => 'lines'
sub new
{
	my ($class, $node, %opt) = @_;
	my $dir = PostgreSQL::Test::Utils::tempdir_short();
	my $port = PostgreSQL::Test::Cluster::get_free_port();
	my $self = bless { dir => $dir, port => $port }, $class;
	my $where = 'host=' . $node->host . ' port=' . $node->port;

	# the server as clients of the pooler see it
	$self->{node} = bless { %$node, _host => $dir, _port => $port }, ref $node;
	_write("$dir/users", map { qq("$_" "$opt{users}->{$_}"\n) } sort keys %{ $opt{users} });
	_write(
		"$dir/ini",
		"[databases]\n",
		(map { "$_ = $where $opt{databases}->{$_}\n" } sort keys %{ $opt{databases} }),
		<<~END, $opt{conf} // '');
		[pgbouncer]
		listen_port = $port
		unix_socket_dir = $dir
		auth_type = scram-sha-256
		auth_file = $dir/users
		admin_users = admin
		END
	$self->start;
	return $self;
}

sub _write
{
	my ($path, @lines) = @_;

	open(my $fh, '>', $path) or croak "$path: $!";
	print $fh @lines;
	close($fh) or croak "$path: $!";
	return;
}

sub node { return $_[0]->{node}; }

sub start
{
	my ($self) = @_;
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;

	$self->{process} = OutboxTest::Process->new(
		command => [ $program, "$self->{dir}/ini" ],
		log => "$self->{dir}/log");
	until (eval { $self->admin('SHOW VERSION') })
	{
		croak 'pgbouncer does not start: ' . $self->{process}->log_tail
		  if time > $deadline || !$self->{process}->is_running;
		usleep(20_000);
	}
	return;
}

# What a command of its console returns; dies if it fails.
sub admin
{
	my ($self, $command) = @_;
	my ($out, $err);
	local $ENV{PGPASSWORD} = 'admin';

	IPC::Run::run(
		[ 'psql', '-XAtq', '-h', $self->{dir}, '-p', $self->{port},
			'-U', 'admin', '-c', $command, 'pgbouncer' ],
		'<', \undef, '>', \$out, '2>', \$err)
	  or croak "$command: $err";
	return $out || 1;
}

# Gone at once, with all connections; its socket stays behind.
sub kill9
{
	my ($self) = @_;

	$self->{process}->kill9;
	unlink glob "$self->{dir}/.s.PGSQL.*";
	return;
}

sub stop { return $_[0]->{process}->stop; }

1;
