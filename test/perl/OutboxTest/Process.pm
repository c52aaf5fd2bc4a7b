package OutboxTest::Process;

# A background process of a test, which never outlives the test: it is stopped
# by its id when its object goes, when the test ends, and by the kernel if the
# test is killed.

use strict;
use warnings;

use Carp;
use Errno qw(EINTR);
use IO::Handle;
use POSIX qw(WNOHANG);
use PostgreSQL::Test::Utils ();
use Scalar::Util qw(weaken);
use Time::HiRes qw(time usleep);

my %running;    # pid => object, weak

# Linux only; elsewhere a killed test leaves its processes behind.
my $has_setpriv =
  system('setpriv --pdeathsig KILL true >/dev/null 2>&1') == 0;

# command => [program, arguments...]
# log     => file that gets its output (appended); stderr only if:
# stdout  => file that gets stdout alone
# orphan  => true: it lives on when this process is killed
# pipes   => true: stdin and stdout are pipes to $self->{in}, $self->{out}
sub new
{
	my ($class, %opt) = @_;
	my $self = bless {%opt, owner => $$}, $class;
	my ($child_in, $child_out);

	if ($opt{pipes})
	{
		pipe($child_in, $self->{in}) or croak "pipe: $!";
		pipe($self->{out}, $child_out) or croak "pipe: $!";
		$self->{in}->autoflush(1);
	}

	my $pid = fork();
	croak "fork: $!" unless defined $pid;
	if ($pid == 0)
	{
		_become($self, $child_in, $child_out);
		POSIX::_exit(127);
	}
	$self->{pid} = $pid;
	weaken($running{$pid} = $self);
	return $self;
}

# In the child: never returns if all is well, and never dies.
sub _become
{
	my ($self, $child_in, $child_out) = @_;
	my @command = @{ $self->{command} };

	unshift @command, qw(setpriv --pdeathsig KILL --) if $has_setpriv && !$self->{orphan};
	# what ends all of our process group is not to end it
	POSIX::setsid() if $self->{orphan};
	$SIG{$_} = 'DEFAULT' for qw(INT TERM PIPE HUP);
	open(STDERR, '>>', $self->{log}) or return;
	if ($self->{pipes})
	{
		open(STDIN, '<&', $child_in) or return;
		open(STDOUT, '>&', $child_out) or return;
	}
	else
	{
		my $stdout = $self->{stdout} // $self->{log};
		open(STDIN, '<', '/dev/null') or return;
		open(STDOUT, '>>', $stdout) or return;
	}
	no warnings 'exec';
	exec { $command[0] } @command;
	return;
}

sub pid { return $_[0]->{pid}; }

# The exit status as in $?, or undef while it runs.
sub status
{
	my ($self) = @_;

	if (!defined $self->{status})
	{
		local ($?, $!);
		my $pid = waitpid($self->{pid}, WNOHANG);
		return undef if $pid == 0 || ($pid == -1 && $! == EINTR);
		$self->{status} = $pid == -1 ? -1 : $?;
		delete $running{ $self->{pid} };
	}
	return $self->{status};
}

sub is_running { return !defined $_[0]->status; }

# Waits for the end and returns the status, or undef after the timeout (that of
# PostgreSQL's tests).
sub wait
{
	my ($self, $timeout) = @_;
	my $deadline =
	  time + ($timeout // $PostgreSQL::Test::Utils::timeout_default);

	while ($self->is_running)
	{
		return undef if time > $deadline;
		usleep(20_000);
	}
	return $self->{status};
}

sub signal
{
	my ($self, $signal) = @_;

	kill $signal, $self->{pid} if $self->is_running;
	return;
}

sub kill9
{
	my ($self) = @_;

	$self->signal('KILL');
	return $self->wait(10);
}

sub stop
{
	my ($self, $timeout) = @_;

	$self->signal('TERM');
	return $self->wait($timeout // 15) // $self->kill9;
}

# What it said, for diagnostics.
sub log_tail
{
	my ($self, $lines) = @_;

	open(my $fh, '<', $self->{log}) or return '';
	my @lines = <$fh>;
	splice @lines, 0, -($lines // 20) if @lines > ($lines // 20);
	return join '', @lines;
}

sub DESTROY
{
	my ($self) = @_;
	local ($@, $!, $?);

	$self->stop if $self->{pid} && $self->{owner} == $$;
	return;
}

END
{
	local ($@, $!, $?);

	for my $process (grep { $_ && $_->{owner} == $$ } values %running)
	{
		$process->stop;
	}
}

1;
