package OutboxTest::Producer;

# Publishes any record, by test/mock/produce.c in the background.

use strict;
use warnings;

use Carp;
use IO::Select;
use OutboxTest::Mock;
use OutboxTest::Process;
use PostgreSQL::Test::Utils ();
use Time::HiRes qw(time);

# bootstrap  => 'HOST:PORT,...'
# properties => { 'compression.type' => 'zstd', ... }
sub new
{
	my ($class, %opt) = @_;
	my $properties = $opt{properties} // {};
	my $process = OutboxTest::Process->new(
		command => [
			OutboxTest::Mock::program('produce'),
			(map { ('-X', "$_=$properties->{$_}") } sort keys %$properties),
			$opt{bootstrap}
		],
		log => PostgreSQL::Test::Utils::tempdir('producer') . '/log',
		pipes => 1);

	return bless { process => $process, sent => 0, rest => '' }, $class;
}

# A field of COPY's text format, whatever bytes it has
sub encode
{
	my ($field) = @_;

	return '\\N' unless defined $field;
	$field =~ s/([^ -\[\]-~])/sprintf('\\x%02x', ord $1)/ge;
	return $field;
}

# topic, partition (or '-': by its key), key, payload, headers: name, value, ...
sub send
{
	my ($self, $topic, $partition, @fields) = @_;

	print { $self->{process}->{in} }
	  join("\t", $topic, $partition, map { encode($_) } @fields) . "\n"
	  or croak 'the producer is gone: ' . $self->{process}->log_tail;
	$self->{sent}++;
	return;
}

# Waits until all has been acknowledged; returns the offsets, in their order.
sub flush
{
	my ($self) = @_;
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	my @offsets;

	$self->command('F');
	while (@offsets < $self->{sent})
	{
		croak 'the producer does not answer'
		  unless IO::Select->new($self->{process}->{out})
		  ->can_read($deadline - time);
		sysread($self->{process}->{out},
			$self->{rest}, 65536, length $self->{rest})
		  or croak 'the producer is gone: ' . $self->{process}->log_tail;
		while ($self->{rest} =~ s/^(.*)\n//)
		{
			my $line = $1;
			$line =~ /\t(\d+)$/ or croak "not published: $line";
			push @offsets, $1;
		}
	}
	$self->{sent} = 0;
	return @offsets;
}

# 'B', 'C', 'A': begins, commits, aborts a transaction
sub command
{
	my ($self, $letter) = @_;

	print { $self->{process}->{in} } "\\$letter\n"
	  or croak 'the producer is gone: ' . $self->{process}->log_tail;
	return;
}

sub stop
{
	my ($self) = @_;

	return $self->{process}->stop;
}

1;
