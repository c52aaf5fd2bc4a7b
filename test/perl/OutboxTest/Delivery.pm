package OutboxTest::Delivery;

# Compares what was committed with what Kafka holds: nothing lost, nothing
# invented, in order.

use strict;
use warnings;

use Exporter 'import';
use OutboxTest::Consumer;
use Test::More;

our @EXPORT = qw(check_delivery events);

my $max_details = 5;

# The rows of outbox.event as a list of hashes, in the order of their ids.
# $where is optional: "topic = 'orders'".
sub events
{
	my ($node, $db, $where) = @_;
	my @names = qw(id event_id topic key payload);

	my $rows = $node->safe_psql(
		$db // 'postgres',
		"SET bytea_output = hex; COPY (SELECT @{[join ', ', @names]}"
		  . ' FROM outbox.event WHERE ' . ($where // 'true')
		  . ' ORDER BY id) TO STDOUT');
	my @events;
	for my $line (split /\n/, $rows)
	{
		my %event;
		@event{@names} =
		  map { OutboxTest::Consumer::decode($_) } split /\t/, $line, -1;
		$event{payload} = pack 'H*', substr($event{payload}, 2)
		  if defined $event{payload};
		push @events, \%event;
	}
	return @events;
}

# Three assertions; returns the number of duplicates:
#	$consumer->drain;
#	check_delivery([ events($node) ], [ $consumer->records ], 'after crash');
sub check_delivery
{
	my ($events, $records, $name) = @_;
	my $found = compare($events, $records);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$name //= 'delivery';
	_none($found->{lost}, "$name: nothing lost of " . scalar(@$events));
	_none($found->{invented}, "$name: nothing invented");
	_none($found->{misplaced}, "$name: every key in order");
	note "$name: $found->{duplicates} duplicates";
	return $found->{duplicates};
}

# The lists of what is lost, invented and misplaced, as texts, and the number
# of duplicates.  Order is that of the first time each event comes.
sub compare
{
	my ($events, $records) = @_;
	my %event = map { $_->{event_id} => $_ } @$events;
	my (%seen, @first, @invented);

	for my $record (@$records)
	{
		my $problem = _problem($record, \%event);
		push @invented, "$problem: " . _describe($record) if $problem;
		next if $problem || $seen{ $record->{event_id} }++;
		push @first, $record;
	}

	my $duplicates = 0;
	$duplicates += $_ - 1 for values %seen;
	return {
		lost => [
			map { _describe($_) } grep { !$seen{ $_->{event_id} } } @$events
		],
		invented => \@invented,
		misplaced => [ _misplaced(\@first, \%event) ],
		duplicates => $duplicates
	};
}

# Why the record is not one of the events; undef if it is.
sub _problem
{
	my ($record, $events) = @_;

	return 'no event_id' unless defined $record->{event_id};
	my $event = $events->{ $record->{event_id} }
	  or return 'never committed';
	for my $field (qw(topic key payload))
	{
		my ($is, $should) = ($record->{$field}, $event->{$field});
		next if !defined $is && !defined $should;
		return "wrong $field (event $event->{id})"
		  unless defined $is && defined $should && $is eq $should;
	}
	return undef;
}

# Events with a key that come after a later event of that key, or in another
# partition than the key's first.  Kafka promises nothing without a key.
sub _misplaced
{
	my ($records, $events) = @_;
	my (%last, @misplaced);

	for my $record (grep { defined $_->{key} } @$records)
	{
		my $id = $events->{ $record->{event_id} }->{id};
		my $last = $last{ $record->{topic} }->{ $record->{key} } //=
		  { partition => $record->{partition}, id => 0 };

		push @misplaced, "event $id after $last->{id}: " . _describe($record)
		  if $id <= $last->{id};
		push @misplaced,
		  "event $id not in partition $last->{partition}: "
		  . _describe($record)
		  if $record->{partition} != $last->{partition};
		$last->{id} = $id if $id > $last->{id};
	}
	return @misplaced;
}

sub _describe
{
	my ($thing) = @_;

	return join ' ', map {
		my $value = $thing->{$_};
		my $text = !defined $value ? 'NULL' : substr($value, 0, 60);
		"$_=$text"
	} grep { exists $thing->{$_} }
	  qw(id event_id topic partition offset key payload);
}

sub _none
{
	my ($list, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	return if is(scalar @$list, 0, $name);
	my $shown = @$list < $max_details ? @$list : $max_details;
	diag $_ for @$list[ 0 .. $shown - 1 ];
	diag '... and ' . (@$list - $shown) . ' more' if @$list > $shown;
	return;
}

1;
