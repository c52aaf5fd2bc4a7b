package OutboxTest::Hostile;

# The broker of test/mock/hostile, which answers wrongly on command.

use strict;
use warnings;

use Carp;
use OutboxTest::Mock;
use OutboxTest::Process;
use PostgreSQL::Test::Utils ();

use parent -norequire, 'OutboxTest::Mock';

sub new
{
	my ($class) = @_;
	my $self = bless { buffer => '' }, $class;
	my $dir = PostgreSQL::Test::Utils::tempdir('hostile');

	$self->{process} = OutboxTest::Process->new(
		command => [ OutboxTest::Mock::program('hostile') ],
		log => "$dir/log",
		pipes => 1);
	($self->{port}) = $self->_read_line =~ /^port (\d+)$/
	  or croak 'unexpected first line of hostile';
	$self->{bootstrap} = "127.0.0.1:$self->{port}";
	return $self;
}

sub ask
{
	my ($self, $line) = @_;

	print { $self->{process}->{in} } "$line\n" or croak "hostile is gone: $!";
	return $self->_read_line;
}

# All later answers are wrong in this way; the connections are closed.
sub mode
{
	my ($self, $mode) = @_;
	my $answer = $self->ask("mode $mode");

	croak "hostile: $answer" unless $answer eq 'ok';
	return;
}

# All that there are.
sub modes { return split ' ', $_[0]->ask('modes'); }

# How many there were in this mode.
sub connections { return (split ' ', $_[0]->ask('stats'))[0]; }
sub requests { return (split ' ', $_[0]->ask('stats'))[1]; }

1;
