package OutboxTest::Consumer;

# Reads along what the brokers hold, by test/mock/consumer.c in the background.
# Start it before the first event: the mock forgets old records.

use strict;
use warnings;

use Carp;
use OutboxTest::Mock;
use OutboxTest::Process;
use PostgreSQL::Test::Utils ();
use Time::HiRes qw(time usleep);

my %unescape = ('\\' => '\\', t => "\t", n => "\n", r => "\r");

# A field of COPY's text format.
sub decode
{
	my ($field) = @_;

	return undef if $field eq '\\N';
	$field =~ s/\\([\\tnr])/$unescape{$1}/g if index($field, '\\') >= 0;
	return $field;
}

# bootstrap  => 'HOST:PORT,...'
# topics     => [...], which need not exist yet; all topics if left out
# properties => { 'isolation.level' => 'read_uncommitted', ... }
sub new
{
	my ($class, %opt) = @_;
	my $properties = $opt{properties} // {};
	my $dir = PostgreSQL::Test::Utils::tempdir('consumer');
	my $self = bless {
		records => [],
		event_ids => {},
		position => {},    # "topic partition" => next offset
		gaps => [],
		rest => '',
	}, $class;

	$self->{command} = [
		OutboxTest::Mock::program('consumer'),
		map { ('-X', "$_=$properties->{$_}") } sort keys %$properties
	];
	$self->{args} = [ $opt{bootstrap}, @{ $opt{topics} // [] } ];
	$self->{process} = OutboxTest::Process->new(
		command => [ @{ $self->{command} }, @{ $self->{args} } ],
		stdout => "$dir/records",
		log => "$dir/log");

	# Opened for both, so that it exists whoever is first.
	open($self->{file}, '+>>', "$dir/records") or croak "$dir/records: $!";
	sysseek($self->{file}, 0, 0);
	return $self;
}

# Takes in what was written since the last call.
sub _read
{
	my ($self) = @_;

	while (sysread($self->{file}, my $chunk, 1 << 20))
	{
		my @lines = split /\n/, $self->{rest} . $chunk, -1;
		$self->{rest} = pop @lines;
		$self->_take($_) for @lines;
	}
	return;
}

sub _take
{
	my ($self, $line) = @_;
	my ($topic, $partition, $offset, $timestamp, $key, $payload, @headers) =
	  split /\t/, $line, -1;

	if ($topic eq '\\E')
	{
		my $place = "$partition $offset";    # one field further right
		$self->{position}->{$place} = $timestamp
		  if $timestamp > ($self->{position}->{$place} // 0);
		return;
	}

	# A consumer that had to reset its position reads some records again.
	my $place = "$topic $partition";
	my $expected = $self->{position}->{$place} // 0;
	return if $offset < $expected;
	push @{ $self->{gaps} }, "$place: $expected to " . ($offset - 1)
	  if $offset > $expected;
	$self->{position}->{$place} = $offset + 1;

	my %record = (
		topic => $topic,
		partition => $partition,
		offset => $offset,
		timestamp => $timestamp,
		key => decode($key),
		payload => decode($payload),
		headers => []);
	while (my ($name, $value) = splice @headers, 0, 2)
	{
		($name, $value) = (decode($name), decode($value));
		push @{ $record{headers} }, [ $name, $value ];
		$record{event_id} = $value if $name eq 'event_id';
	}
	$self->{event_ids}->{ $record{event_id} }++ if defined $record{event_id};
	push @{ $self->{records} }, \%record;
	return;
}

# All records so far; those of one partition are in order.
sub records
{
	my ($self) = @_;

	$self->_read;
	return @{ $self->{records} };
}

# The records since the last call, which are forgotten: for long runs.
sub take
{
	my ($self) = @_;

	$self->_read;
	my $records = $self->{records};
	$self->{records} = [];
	$self->{event_ids} = {};
	return @$records;
}

# Number of records, and of different events, so far.
sub count
{
	my ($self) = @_;

	$self->_read;
	return scalar @{ $self->{records} };
}

sub events
{
	my ($self) = @_;

	$self->_read;
	return scalar keys %{ $self->{event_ids} };
}

# Has this event come?
sub has
{
	my ($self, $event_id) = @_;

	$self->_read;
	return exists $self->{event_ids}->{$event_id};
}

# Offsets that were skipped ("topic partition: first to last"): records that
# the mock forgot before they were read, or marks of Kafka's transactions.
sub gaps
{
	my ($self) = @_;

	$self->_read;
	return @{ $self->{gaps} };
}

# Polls until $done->() is true; false after the timeout.
sub _poll
{
	my ($self, $timeout, $done) = @_;
	my $deadline =
	  time + ($timeout // $PostgreSQL::Test::Utils::timeout_default);

	until ($done->())
	{
		croak 'consumer ended: ' . $self->{process}->log_tail
		  unless $self->{process}->is_running;
		return 0 if time > $deadline;
		usleep(20_000);
	}
	return 1;
}

# Waits for $n records in all; false if they do not come.
sub wait_for
{
	my ($self, $n, $timeout) = @_;

	return $self->_poll($timeout, sub { $self->count >= $n });
}

# Waits for $n different events, however often each comes.
sub wait_for_events
{
	my ($self, $n, $timeout) = @_;

	return $self->_poll($timeout, sub { $self->events >= $n });
}

# Waits until all that the brokers hold at this moment is read; then what is
# not in records() is not in Kafka.  The brokers must be up.
sub drain
{
	my ($self, $timeout) = @_;
	my ($ends, $err);

	IPC::Run::run([ @{ $self->{command} }, '--ends', @{ $self->{args} } ],
		'>', \$ends, '2>', \$err)
	  or croak "cannot ask for the ends of the partitions: $err";
	my %ends = map {
		my ($topic, $partition, $end) = split /\t/;
		("$topic $partition" => $end)
	} split /\n/, $ends;

	return $self->_poll(
		$timeout,
		sub {
			$self->_read;
			return !grep { ($self->{position}->{$_} // 0) < $ends{$_} }
			  keys %ends;
		});
}

sub stop
{
	my ($self) = @_;

	$self->{process}->kill9;
	$self->_read;
	return;
}

1;
