# The benchmark's table: figures of outbox beside those of the yardstick, in
# the form that README has.
package Report;

use strict;
use warnings;

use Exporter qw(import);
use List::Util qw(max min);

our @EXPORT = qw(median number compare bound note print_report missed);

my @table;
my @notes;

sub median
{
	my @sorted = sort { $a <=> $b } @_;
	return $sorted[ @sorted / 2 ] if @sorted % 2;
	return ($sorted[ @sorted / 2 - 1 ] + $sorted[ @sorted / 2 ]) / 2;
}

# 1234567.8 as 1,234,568
sub number
{
	my ($format, $value) = @_;
	my $text = sprintf $format, $value;
	1 while $text =~ s/^(\d+)(\d{3})/$1,$2/;
	return $text;
}

# A line with a yardstick, from the rounds' pairs [yardstick, outbox]: the
# median of each, and of the rounds' ratios, or differences, the median and how
# far they spread.
sub compare
{
	my ($what, $format, $pairs, %target) = @_;
	my $form = $target{difference} ? '%+.2f' : '%.2f';
	my @compared =
	  map { $target{difference} ? $_->[1] - $_->[0] : $_->[1] / $_->[0] }
	  @$pairs;
	my $median = median(@compared);
	my ($sign, $bound) =
	  defined $target{least} ? ('>=', $target{least}) : ('<=', $target{most});

	push @table,
	  [ $what,
		(map { my $side = $_; number($format, median(map { $_->[$side] } @$pairs)) }
			0, 1),
		sprintf("$form [$form .. $form]", $median, min(@compared), max(@compared)),
		sprintf("$sign $form", $bound),
		($sign eq '>=' ? $median >= $bound : $median <= $bound)
		? 'ok'
		: 'MISSED' ];
	return;
}

# A line without a yardstick.
sub bound
{
	my ($what, $value, $target, $ok) = @_;
	push @table, [ $what, '', $value, '', $target, $ok ? 'ok' : 'MISSED' ];
	return;
}

# A line of text below the table.
sub note
{
	push @notes, @_;
	return;
}

# The table, with the targets in columns that README leaves out.
sub print_report
{
	my @rows = ([ 'what', 'yardstick', 'outbox', 'ratio [its spread]', 'target', '' ],
		@table);
	my @width = map {
		my $column = $_;
		max(map { length $_->[$column] } @rows)
	} 0 .. 5;
	splice @rows, 1, 0, [ map { '-' x $_ } @width ];
	for my $row (@rows)
	{
		print '| ', join(' | ', map { sprintf '%-*s', $width[$_], $row->[$_] } 0 .. 5),
		  " |\n";
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
