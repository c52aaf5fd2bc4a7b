package OutboxTest::Mock;

# The mock brokers of test/mock/mockbroker.c: quick, and they fail on command.

use strict;
use warnings;

use Carp;
use Cwd qw(abs_path);
use Errno;
use File::Basename qw(dirname);
use IO::Handle;
use IO::Select;
use OutboxTest::Process;

my $dir = abs_path(dirname(__FILE__) . '/../../mock');
my $answer_timeout = 30;

# The path of a program of test/mock.
sub program
{
	my ($name) = @_;

	-x "$dir/$name" or croak "$dir/$name is missing: run make -C test/mock";
	return "$dir/$name";
}

# brokers => 1, topics => { name => partitions }
sub new
{
	my ($class, %opt) = @_;
	my $self = bless { buffer => '' }, $class;
	my $topics = $opt{topics} // {};
	my @command = (program('mockbroker'), '--brokers', $opt{brokers} // 1);

	push @command, '--topic', "$_:$topics->{$_}" for sort keys %$topics;
	my $log_dir = PostgreSQL::Test::Utils::tempdir('mock');
	$self->{process} = OutboxTest::Process->new(
		command => \@command,
		log => "$log_dir/log",
		pipes => 1);

	my $line = $self->_read_line;
	($self->{bootstrap}) = $line =~ /^bootstrap (\S+)$/
	  or croak "unexpected first line of mockbroker: $line";
	return $self;
}

# May a topic be refused with TOPIC_AUTHORIZATION_FAILED? The mock names
# partitions even then, which Kafka does not, and librdkafka 2.8 crashes on that
# (its issue 4907).
sub can_forbid { return qx(kcat -V) !~ /librdkafka 2\.[89]\./; }

# May a partition that somebody has read lose its leader? Newer mocks crash.
sub can_lose_leader { return qx(kcat -V) =~ /librdkafka 2\.[0-7]\./; }

sub bootstrap { return $_[0]->{bootstrap}; }
sub pid { return $_[0]->{process}->pid; }

# 'down', 'fail Produce 3 NOT_ENOUGH_REPLICAS', ...: see mockbroker --help
sub command
{
	my ($self, $line) = @_;

	print { $self->{process}->{in} } "$line\n"
	  or croak "mockbroker is gone: $!";
	my $answer = $self->_read_line;
	croak "mockbroker: $line: $answer" unless $answer eq 'ok';
	return;
}

sub _read_line
{
	my ($self) = @_;
	my $out = $self->{process}->{out};
	my $deadline = time + $answer_timeout;

	while (index($self->{buffer}, "\n") < 0)
	{
		# a signal may end it, too
		if (!IO::Select->new($out)->can_read($deadline - time))
		{
			next if $!{EINTR} && time < $deadline;
			croak "mockbroker does not answer: $!";
		}
		sysread($out, $self->{buffer}, 4096, length $self->{buffer})
		  or croak 'mockbroker is gone: ' . $self->{process}->log_tail;
	}
	(my $line, $self->{buffer}) = split /\n/, $self->{buffer}, 2;
	return $line;
}

sub stop
{
	my ($self) = @_;

	return $self->{process}->stop;
}

1;
