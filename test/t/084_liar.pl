# A sink's module that breaks the rules of its interface (test/mock/liar.c): it
# answers twice, or for events that it does not have, tells of what does not
# exist, or without a message.  Each is an error of the relay, which goes on:
# nothing is lost, no key out of order, and only what has lost its answer is
# sent again.
#
# Catches a relay that writes beyond its memory, or reads what is not there,
# because it believes a module; and one that waits forever for an answer.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use PostgreSQL::Test::Utils;
use Test::More;

# Lies after which each event has its answer; and others, which take as long as
# answers are waited for.  By sink.
my %quick = (
	stream => [
		qw(twice unknown purged failed type negative failure trouble log fatal
		  statistics below_zero topic no_topic long_topic answer)
	],
	alone => [qw(twice unknown purged failed type fault)],
	copies => [qw(twice unknown purged failed type topic answer)]);
my %slow = (stream => [qw(other refusal)], alone => ['other'], copies => ['other']);

my $mock = OutboxTest::Mock->new;
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $lies = PostgreSQL::Test::Utils::tempdir('lies');
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	start => 0,
	conf => <<~'END');
		log_error_verbosity = verbose
		max_worker_processes = 20
		restart_after_crash = off
		outbox.dead_letter_topic = 'dead_letters'
		outbox.retry_base_delay = 10ms
		outbox.retry_max_delay = 10ms
		END
$ENV{OUTBOX_TEST_LIES} = $lies;
sub start
{
	local $ENV{LD_PRELOAD} = OutboxTest::Mock::program('liar.so');
	$node->start;
	return;
}
start();
my $from = log_end($node);

# A database for each series of lies to one sink; its topic has its name.
my @series;
for my $sink (sort keys %quick)
{
	push @series, { db => $sink, sink => $sink, lies => $quick{$sink} };
	push @series, { db => "${sink}_$_", sink => $sink, lies => [$_] }
	  for @{ $slow{$sink} };
}
for my $series (@series)
{
	query("CREATE DATABASE $series->{db}");
	query('CREATE EXTENSION outbox', $series->{db});
	$series->{sent} = 0;
	$series->{copies} = 0;
}

# Has the relay something to lie about: ten events of three keys, in order, of
# which the sink gets some
sub emit
{
	my ($series) = @_;
	my $prefix = $series->{sink} eq 'stream' ? "''"
	  : $series->{sink} eq 'alone' ? "CASE n WHEN 3 THEN 'later ' ELSE '' END"
	  : "CASE n % 5 WHEN 3 THEN 'dead ' ELSE '' END";
	my $first = $series->{sent} + 1;

	$series->{sent} += 10;
	$series->{copies} += 2 if $series->{sink} eq 'copies';
	query(<<~"END", $series->{db});
		SELECT count(outbox_emit('$series->{db}', (n % 3)::text, $prefix || i))
		FROM generate_series($first, $series->{sent}) i, LATERAL (SELECT i - $first + 1 AS n) n
		END
	return;
}

# Begins the next lie of a series, if there is one.
sub lie
{
	my ($series) = @_;

	my $lie = $series->{lie} = shift @{ $series->{lies} } or return;
	open(my $fh, '>', "$lies/$series->{db}.new") or die "$series->{db}: $!";
	print $fh "$series->{sink} $lie\n";
	close $fh;
	rename "$lies/$series->{db}.new", "$lies/$series->{db}" or die "$series->{db}: $!";
	emit($series);
	return;
}

sub is_told
{
	my ($series) = @_;

	return !-e "$lies/$series->{db}" && query(<<~'END', $series->{db}) eq 't';
		SELECT pending_events = 0
			AND NOT EXISTS (SELECT FROM outbox.parked WHERE state <> 'dead' OR announced_at IS NULL)
		FROM outbox.stat_relay
		END
}

my %pending = map { $_->{db} => $_ } @series;
my $lies_told = 0;
$lies_told += @{ $_->{lies} } for @series;
lie($_) for @series;
sub goes_on
{
	for my $series (values %pending)
	{
		next unless is_told($series);
		lie($series);
		delete $pending{ $series->{db} } unless $series->{lie};
		# errors are forgotten, so that no task has to rest longer than others
		$node->reload;
	}
	return !%pending;
}
eval { wait_until(60, \&goes_on, 'the relays go on') }
  or die $@, map { "$_->{db}: $_->{lie}\n" } values %pending;

ok(!log_lines($node, $from, qr/terminated by signal|Failed assertion/), 'no crash');
my @errors = log_lines($node, $from, qr/ERROR:  08P01: "\$libdir\/outbox_kafka" breaks the rules/);
note $_ for @errors;
cmp_ok(scalar(@errors), '>=', $lies_told, "$lies_told lies are errors");
is(scalar(log_lines($node, $from, qr/ERROR:  (?!08P01)/)), 0, 'no other errors');

$consumer->drain or die 'not read';
for my $series (@series)
{
	my (%seen, %last, @wrong);
	my $again = 0;

	for my $record (grep { $_->{topic} eq $series->{db} } $consumer->records)
	{
		my ($i) = $record->{payload} =~ /(\d+)$/;
		my $key = $record->{key};

		$again++, next if $seen{$i}++;
		push @wrong, "$i after $last{$key}" if ($last{$key} // 0) > $i;
		$last{$key} = $i;
	}
	is(scalar(keys %seen), $series->{sent} - $series->{copies}, "$series->{db}: all");
	is("@wrong", '', "$series->{db}: in order");
	cmp_ok($again, '<=', $series->{db} =~ /_/ ? 1 : 0, "$series->{db}: once");
}

# Of another build: it is not called at all.
$node->stop;
$from = log_end($node);
{
	local $ENV{OUTBOX_TEST_INTERFACE} = 99;
	start();
}
wait_until(
	undef,
	sub { log_lines($node, $from, qr/ERROR:  55000: .* is of another version than outbox/) },
	'an error');
is(query('SELECT 1', 'stream'), 1, 'the server goes on');
$node->stop;
done_testing();
