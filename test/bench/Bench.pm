# What the measurements share: rounds, their figures, and a backlog of events.
package Bench;

use strict;
use warnings;

use Exporter qw(import);
use FindBin;
use Load;
use Servers;

our @EXPORT = qw(size measure alternate payload build_backlog pending drain
  delay $servers $rounds $payload_size);

our $servers;
our $rounds;    # of each measurement
our $quick;
our @disturbed;    # by others, in percent of the CPUs
our $payload_size = 200;

# The size of a measurement, in the full and in the quick run.
sub size
{
	my ($full, $small) = @_;
	return $quick ? $small : $full;
}

# Measure: call it, print what it was, the CPU time of all of ours (load,
# servers, and the little that setting it up took), and how others disturbed.
sub measure
{
	my ($name, $code) = @_;
	my $load = Load->new($$, $servers->postmaster);
	my ($result, $text) = $code->();
	my ($ours, $others) = $load->used;
	push @disturbed, $others;
	printf STDERR "  %-9s %s  (all of it %.2f CPU s; others had %.0f %%)\n",
	  $name, $text, $ours, $others;
	return $result;
}

# Call both, in an order that changes with the round; returns both results.
sub alternate
{
	my ($round, $yardstick, $outbox) = @_;
	my @result;
	for my $i ($round % 2 ? (1, 0) : (0, 1))
	{
		$result[$i] = ($yardstick, $outbox)[$i]->();
	}
	return @result;
}

# Expression for a payload, the same for outbox and for a plain table.
sub payload
{
	return "convert_to(repeat('payload.', $payload_size / 8), 'UTF8')";
}

# Emit so many events while the relay is off; they are all of one size.
sub build_backlog
{
	my ($count) = @_;
	my $part = $count / 10;
	$servers->relays_off;
	$servers->sql(
		[   map({ my $from = $_ * $part;
				  "SELECT count(outbox_emit('backlog', 'key-' || i % 10000, "
				  . payload() . ")) FROM generate_series($from + 1, "
				  . "$from + $part) AS i" } 0 .. 9),
			'CHECKPOINT' ]);
	die "no backlog of $count events\n" if pending() != $count;
	return;
}

sub pending
{
	return $servers->sql(
		"SELECT pending_events FROM outbox.stat_relay WHERE relay = 'default'");
}

# CPU seconds of a process: all its threads, and its main thread alone.
sub cpu_of
{
	my $pid = shift;
	return map {
		open(my $stat, '<', $_) or die "$_: $!\n";
		my @field = split ' ', <$stat> =~ s/.*\) //r;
		($field[11] + $field[12]) / 100    # USER_HZ, a constant of Linux
	} "/proc/$pid/stat", "/proc/$pid/task/$pid/stat";
}

# Events a second of the relay at work on a backlog, by its own position
# (stat_relay.pending_events, looked at every 5 ms): from the first look that
# shows progress until nothing is pending. Of several relays, the slowest.
sub drain
{
	my ($count, @relays) = @_;
	my $relays = join ', ', map { "'$_'" } @relays ? @relays : 'default';
	$servers->relay_on;
	my $rate = $servers->sql([ "SET statement_timeout = '2min'", <<"END",
DO \$\$
DECLARE
	start timestamptz;
	first bigint;
	pending bigint := $count;
BEGIN
	WHILE pending > 0 LOOP
		PERFORM pg_sleep(0.005);
		SELECT max(pending_events) INTO STRICT pending FROM outbox.stat_relay
			WHERE relay IN ($relays);
		IF start IS NULL AND pending < $count THEN
			start := clock_timestamp();
			first := pending;
		END IF;
	END LOOP;
	PERFORM set_config('bench.rate', (first
		/ extract(epoch FROM clock_timestamp() - start))::text, false);
END \$\$
END
		"SELECT current_setting('bench.rate')" ]);
	my ($all, $main) = map { $_ / $count * 1e6 } cpu_of($servers->relay_pid);
	return ($rate,
		sprintf '%.0f/s, CPU %.2f us an event, of it %.2f main thread',
		$rate, $all, $main);
}

# How long events of either way take to a consumer, at this rate.
sub delay
{
	my ($way, $rate, $seconds) = @_;
	my $line = Servers::output_of("$FindBin::RealBin/latency", $way, $servers->{brokers},
		'latency', $rate, $seconds);
	my %figure = $line =~ /(\w+) (-?[\d.]+)/g;
	die "$way lost $figure{lost} events\n" if $figure{lost};
	return (\%figure, $line);
}

1;
