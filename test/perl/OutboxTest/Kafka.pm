package OutboxTest::Kafka;

# A real Apache Kafka of one node or of several, each run by test/kafka/kafka in
# a directory of its own.  Stopped or killed and started again a node keeps its
# data and port.

use strict;
use warnings;

use Carp;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use OutboxTest::Process;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils ();
use Time::HiRes qw(time usleep);

my $program = abs_path(dirname(__FILE__) . '/../../kafka/kafka');

# Why there is no Kafka for this test, or undef if there is:
#	if (my $why = OutboxTest::Kafka->skip_reason) { plan skip_all => $why }
sub skip_reason
{
	return 'OUTBOX_FAST leaves real Kafka out' if $ENV{OUTBOX_FAST};
	my $message = qx("$program" check 2>&1);
	return undef if $? == 0;
	chomp $message;
	return $message;
}

# settings => { 'message.max.bytes' => 2000, ... }, start => 0, id => 1
sub new
{
	my ($class, %opt) = @_;
	my $self = bless {
		id => $opt{id} // 1,
		port => PostgreSQL::Test::Cluster::get_free_port(),
		controller_port => PostgreSQL::Test::Cluster::get_free_port(),
		dir => PostgreSQL::Test::Utils::tempdir('kafka'),
		settings => $opt{settings} // {},
	}, $class;

	$self->start unless defined $opt{start} && !$opt{start};
	return $self;
}

# So many nodes of one cluster; each is broker and controller, so that most of
# them have to be up.  Topics have a replica on each, if not said otherwise.
sub cluster
{
	my ($class, $count, %settings) = @_;
	my @nodes = map { $class->new(id => $_, start => 0) } 1 .. $count;
	my $voters = join ',',
	  map { "$_->{id}\@127.0.0.1:$_->{controller_port}" } @nodes;

	for my $node (@nodes)
	{
		$node->{settings} = {
			'default.replication.factor' => $count,
			%settings,
			'node.id' => $node->{id},
			'controller.quorum.voters' => $voters
		};
	}
	start_all(@nodes);
	return @nodes;
}

# Nodes of one cluster, which wait for each other before they serve.
sub start_all
{
	my (@nodes) = @_;

	$_->_launch for @nodes;
	$_->wait_ready for @nodes;
	return;
}

sub bootstrap { return "127.0.0.1:$_[0]->{port}"; }
sub pid { return $_[0]->{process}->pid; }
sub log_file { return "$_[0]->{dir}/kafka.log"; }

# Returns when the broker serves; dies if it does not in time.
sub start
{
	my ($self, $timeout) = @_;

	$self->_launch;
	$self->wait_ready($timeout);
	return;
}

sub _launch
{
	my ($self) = @_;
	my $settings = $self->{settings};

	croak 'Kafka is running'
	  if $self->{process} && $self->{process}->is_running;
	$self->{process} = OutboxTest::Process->new(
		command => [
			$program, 'start', $self->{dir},
			"$self->{port}:$self->{controller_port}",
			map { "$_=$settings->{$_}" } sort keys %$settings
		],
		log => $self->log_file);
	return;
}

# A broker answers before it is fit for work; then it lists no brokers.
sub wait_ready
{
	my ($self, $timeout) = @_;
	my $deadline =
	  time + ($timeout // $PostgreSQL::Test::Utils::timeout_default);
	my $bootstrap = $self->bootstrap;

	while (1)
	{
		croak 'Kafka ended: ' . $self->{process}->log_tail
		  unless $self->{process}->is_running;
		my $listing = qx(kcat -b $bootstrap -L -m 1 2>/dev/null);
		last if $? == 0 && $listing =~ /^\s+broker $self->{id} at /m;
		croak 'Kafka does not start: ' . $self->{process}->log_tail
		  if time > $deadline;
		usleep(100_000);
	}
	return;
}

# Further arguments: 'max.message.bytes=1000', ...
sub create_topic
{
	my ($self, $name, $partitions, @settings) = @_;

	$self->_tool('topic', $self->bootstrap, $name, $partitions, @settings);
	return;
}

# Any of Kafka's tools: $kafka->run('org.apache.kafka.tools.TopicCommand', ...)
sub run
{
	my ($self, @args) = @_;

	return $self->_tool('run', @args);
}

# How many producers have written to a partition. One that Kafka leaves in
# doubt is given up by librdkafka, and the next one may repeat events.
sub producers
{
	my ($self, $topic, $partition) = @_;
	my @lines = split /\n/, $self->run(
		'org.apache.kafka.tools.TransactionsCommand',
		'--bootstrap-server', $self->bootstrap, 'describe-producers',
		'--topic', $topic, '--partition', $partition);

	return scalar(grep { /^\d+\s+\d+\s/ } @lines);
}

sub _tool
{
	my ($self, @args) = @_;
	my ($out, $err) = ('', '');

	IPC::Run::run([ $program, @args ], '>', \$out, '2>', \$err)
	  or croak "kafka @args: $out$err";
	return $out;
}

sub kill9 { return $_[0]->{process}->kill9; }
sub stop { return $_[0]->{process}->stop(60); }

1;
