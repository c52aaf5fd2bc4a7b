# How much of the machine others use while we measure: what all CPUs did, less
# what the processes of the benchmark did.
package Load;

use strict;
use warnings;

use Time::HiRes qw(time);

my $hz = 100;    # USER_HZ, the same on every Linux

# Seconds for which the CPUs were busy with processes, and how many they are.
sub busy
{
	open(my $file, '<', '/proc/stat') or die "/proc/stat: $!\n";
	my @lines = grep { /^cpu/ } <$file>;
	my (undef, $user, $nice, $system) = split ' ', $lines[0];
	return (($user + $nice + $system) / $hz, @lines - 1);
}

# CPU seconds of these processes and all that they have started.  One that ends
# just then is seen twice or not at all, so two looks have to agree.
sub used_by
{
	my ($last, $now) = (look(@_), look(@_));
	($last, $now) = ($now, look(@_)) while abs($now - $last) > 0.1;
	return $now;
}

sub look
{
	my %wanted = map { $_ => 1 } @_;
	my (%parent, %used);
	for my $path (glob '/proc/[0-9]*/stat')
	{
		open(my $file, '<', $path) or next;    # it has gone
		my ($pid, $rest) = (<$file> // '') =~ /^(\d+) \(.*\) (.*)/ or next;
		my @field = split ' ', $rest;
		$parent{$pid} = $field[1];
		# its own time, and that of children that have ended
		$used{$pid} = ($field[11] + $field[12] + $field[13] + $field[14]) / $hz;
	}
	my $sum = 0;
	for my $pid (keys %used)
	{
		my $ancestor = $pid;
		$ancestor = $parent{$ancestor}
		  while $ancestor && !$wanted{$ancestor};
		$sum += $used{$pid} if $ancestor;
	}
	return $sum;
}

# Start looking; roots are the processes from which all of ours descend.
sub new
{
	my ($class, @roots) = @_;
	my ($busy) = busy();
	return bless {
		roots => \@roots,
		time => time(),
		busy => $busy,
		ours => used_by(@roots) }, $class;
}

# Since then: CPU seconds of ours, and the others' share of all CPUs in percent.
sub used
{
	my $self = shift;
	my ($busy, $cpus) = busy();
	my $ours = used_by(@{ $self->{roots} }) - $self->{ours};
	my $others = 100 * ($busy - $self->{busy} - $ours)
	  / ((time() - $self->{time}) * $cpus);
	return ($ours, $others < 0 ? 0 : $others);
}

1;
