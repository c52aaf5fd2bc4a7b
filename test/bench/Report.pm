# The benchmark's table: figures of outbox beside those of the yardstick.
package Report;

use strict;
use warnings;

use Exporter qw(import);
use List::Util qw(max);

our @EXPORT = qw(median compare bound note print_report missed);

my @table;
my @notes;

sub median
{
	my @sorted = sort { $a <=> $b } @_;
	return $sorted[ @sorted / 2 ] if @sorted % 2;
	return ($sorted[ @sorted / 2 - 1 ] + $sorted[ @sorted / 2 ]) / 2;
}

# A line with a yardstick, from the rounds' pairs [yardstick, outbox]: the
# median of each, and the median of the rounds' ratios, or differences.
sub compare
{
	my ($what, $format, $pairs, %target) = @_;
	my $compared = median(
		map { $target{difference} ? $_->[1] - $_->[0] : $_->[1] / $_->[0] }
		  @$pairs);
	my $bound = sprintf $target{difference} ? '%+.2f' : '%.2f',
	  $target{least} // $target{most};
	my $ok =
	  defined $target{least}
	  ? $compared >= $target{least}
	  : $compared <= $target{most};

	push @table,
	  [ $what,
		sprintf($format, median(map { $_->[0] } @$pairs)),
		sprintf($format, median(map { $_->[1] } @$pairs)),
		sprintf($target{difference} ? '%+.2f' : '%.2f', $compared),
		(defined $target{least} ? '>= ' : '<= ') . $bound,
		$ok ? 'ok' : 'MISSED' ];
	return;
}

# A line without a yardstick.
sub bound
{
	my ($what, $value, $target, $ok) = @_;
	push @table, [ $what, '-', $value, '-', $target, $ok ? 'ok' : 'MISSED' ];
	return;
}

# A line of text below the table.
sub note
{
	push @notes, @_;
	return;
}

sub print_report
{
	my @rows = ([ '', qw(yardstick outbox ratio target), '' ], @table);
	my @width = map {
		my $column = $_;
		max(map { length $_->[$column] } @rows)
	} 0 .. 4;
	for my $row (@rows)
	{
		printf "%-*s  %*s  %*s  %*s  %-*s  %s\n",
		  (map { $width[$_], $row->[$_] } 0 .. 4), $row->[5];
	}
	print "\n", map { "$_\n" } @notes;
	return;
}

# How many targets are missed.
sub missed
{
	return scalar grep { $_->[5] ne 'ok' } @table;
}

1;
