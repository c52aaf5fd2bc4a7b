# A broker that answers wrongly, in each way of test/mock/hostile: counts,
# lengths, ids, codes, bytes that come slowly or never, and what is no Kafka at
# all.  Whatever it says, the server lives, the relay's memory, its log and its
# connections are bounded, and it ends within seconds when it is told to.
#
# Catches: a relay that waits for the client library's threads, which do not
# end ("partitions_stuck"); a producer that is given up for a wrong answer, and
# opened again at once, 300 times a second; a thread for each of ever more
# brokers; a crash, and a crash of the server again and again.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $side_by_side = 6;      # servers
my $max_end = 5;           # seconds that a relay may take to end
my @max_connections = (100, 30);    # at once, and each second
my $max_memory_mb = 400;
my $max_threads = 4000;
my $max_log = 20_000;      # bytes

# What ends librdkafka 2.0 by a signal, and with it the server's sessions. Newer
# ones end in other ways, by chance: that is told, and another server goes on.
my %deadly = map { $_ => 1 } qw(partitions_negative);
my $may_crash = qx(kcat -V) !~ /librdkafka 2\.0\./;
my $max_crashes = 10;
my @crashed;

sub status_of
{
	my ($pid, $field) = @_;
	my $status = eval { slurp_file("/proc/$pid/status") } // '';

	return $status =~ /^$field:\s+(\d+)/m ? $1 : 0;
}

# The relay of a server, without asking it: that would take most of the time.
sub relay_of
{
	my ($victim) = @_;

	for my $file (glob '/proc/[0-9]*/cmdline')
	{
		my $title = eval { slurp_file($file) } // next;

		return $file =~ m{(\d+)} ? $1 : undef
		  if $title =~ /^postgres: $victim->{name}: outbox relay/;
	}
	return undef;
}

# A server with a hostile broker of its own, and what it has to go through.
sub victim
{
	my ($number) = @_;
	my $broker = OutboxTest::Hostile->new;

	return {
		name => "victim$number",
		broker => $broker,
		node => outbox_node("victim$number", bootstrap => $broker->bootstrap,
			extension => 1, conf => 'restart_after_crash = on')
	};
}

# Begins a mode: with a new relay, and something to publish to a new topic.
sub begin
{
	my ($victim, $mode) = @_;
	my $node = $victim->{node};

	$victim->{mode} = $mode;
	$victim->{log} = log_end($node);
	$victim->{broker}->mode($mode);
	$victim->{old} = relay_of($victim);
	$victim->{pid} = undef;
	$victim->{told} = time;
	kill 'TERM', $victim->{old} if $victim->{old};
	# it may be in a crash just now, and is looked at later
	$node->psql('postgres',
		"SELECT count(outbox_emit('$mode', i % 3, 'x')) FROM generate_series(1, 20) i");
	return;
}

# Has the server crashed?  Then another one takes its place, if that may be.
sub has_crashed
{
	my ($victim) = @_;

	return 0 unless log_lines($victim->{node}, $victim->{log}, qr/terminated by signal/);
	wrong($victim, 'a crash') unless $may_crash;
	push @crashed, $victim->{mode};
	$victim->{node}->stop('immediate');
	my $next = victim($victim->{name} =~ s/victim//r + 100);
	$victim->{$_} = $next->{$_} for keys %$next;
	return 1;
}

sub wrong
{
	my ($victim, $what) = @_;

	push @{ $victim->{wrong} }, "$victim->{mode}: $what";
	return;
}

# Goes on with a mode; true when it is over: the broker has had its say.
sub is_over
{
	my ($victim) = @_;
	my ($node, $broker) = @{$victim}{qw(node broker)};

	return 1 if has_crashed($victim);
	if (!$victim->{pid})
	{
		if ($victim->{old} && kill 0, $victim->{old})
		{
			wrong($victim, 'does not end') if time > $victim->{told} + $max_end;
			return time > $victim->{told} + $max_end;
		}
		$victim->{pid} = relay_of($victim);
		$victim->{since} = time if $victim->{pid};
		die "$victim->{mode}: no relay" if time > $victim->{told} + 60;
		return 0;
	}

	my $pid = $victim->{pid};
	my $mb = status_of($pid, 'VmRSS') / 1024;
	wrong($victim, "$mb MB") if $mb > $max_memory_mb;
	wrong($victim, status_of($pid, 'Threads') . ' threads')
	  if status_of($pid, 'Threads') > $max_threads;
	return 0
	  if time < $victim->{since} + 0.5
	  || $broker->connections == 0 && time < $victim->{since} + 10;

	my $log = log_end($node) - $victim->{log};
	wrong($victim, $broker->connections . ' connections')
	  if $broker->connections >
	  $max_connections[0] + $max_connections[1] * (time - $victim->{told});
	wrong($victim, "$log bytes of log") if $log > $max_log;
	return 1;
}

my @victims = map { victim($_) } 1 .. $side_by_side;
my @modes = grep { !$deadly{$_} && $_ ne 'ok' } $victims[0]->{broker}->modes;
my $modes = @modes;
my %pending = map { $_ => 1 } 0 .. $#victims;

while (%pending)
{
	for my $i (0 .. $#victims)
	{
		my $victim = $victims[$i];

		next unless $pending{$i} && (!$victim->{mode} || is_over($victim));
		note sprintf '%s: %.1f s', $victim->{mode}, time - $victim->{told}
		  if $victim->{told};
		my $mode = shift @modes;

		delete $pending{$i} unless $mode;
		begin($victim, $mode) if $mode;
	}
	Time::HiRes::usleep(20_000);
}
is_deeply([ map { @{ $_->{wrong} // [] } } @victims ], [], "$modes ways to answer wrongly");
note "the library crashed: @crashed" if @crashed;
cmp_ok(scalar @crashed, '<=', $max_crashes, 'few crashes of the library');

# What crashes librdkafka 2.0, each time: the server restarts less and less
# often, and publishing can be turned off.
my $victim = $victims[3];
begin($victim, $_) for keys %deadly;
sub crashes { return scalar log_lines($victims[3]->{node}, $victims[3]->{log}, qr/terminated by signal/); }
wait_until(undef, sub { crashes() || $victim->{broker}->requests > 50 }, 'an answer');
SKIP:
{
	skip 'this librdkafka survives', 2 unless crashes();
	ok(stays(5, sub { crashes() < 8 }), 'few crashes');
	my $off = q{ALTER SYSTEM SET outbox.enabled = off; SELECT pg_reload_conf(); };
	wait_until(undef, sub { ($victim->{node}->psql('postgres', $_))[0] == 0 }, $_)
	  for split /(?<=;) /, $off;
	wait_until(
		undef,
		sub {
			my ($status, $out) =
			  $victim->{node}->psql('postgres', 'SELECT state FROM outbox.stat_relay');
			return $status == 0 && $out eq 'disabled';
		},
		'it is turned off');
	my $count = crashes();
	ok(stays(2, sub { crashes() == $count }), 'publishing can be turned off');
	# it is late by now, and goes on while the others are looked at
	$victim->{broker}->mode('ok');
	$victim->{node}->safe_psql('postgres', 'ALTER SYSTEM RESET outbox.enabled');
	$victim->{node}->reload;
}

# While the library's threads do not end: a server that is told to,
begin($_, 'partitions_stuck') for @victims[ 0 .. 2 ];
my @over = (0) x 3;
wait_until(
	undef,
	sub {
		$over[$_] ||= is_over($victims[$_]) for 0 .. 2;
		return !grep { !$_ } @over;
	},
	'partitions_stuck');
cmp_ok(took(sub { $victims[0]->{node}->stop('fast') }), '<', 10, 'a fast shutdown');

# ... an extension that is dropped,
$victims[1]->{node}->safe_psql('postgres', 'DROP EXTENSION outbox');
ok( wait_until(
		10, sub { outbox_pid($victims[1]->{node}, 'postgres') eq '' }, 'the relay ends'),
	'DROP EXTENSION');

# ... and sinks that are closed one after another: by reloads
conf_reload($victims[2]->{node}, "outbox.window_events = $_") for 1000, 1001;
is_deeply($victims[2]->{wrong} // [], [], 'reloads');

# All others publish as soon as the broker comes to its senses.
for my $victim (@victims[ 2 .. $#victims ])
{
	$victim->{broker}->mode('ok');
	my $node = $victim->{node};
	$node->safe_psql('postgres',
		'SELECT pg_terminate_backend(pid) FROM outbox.stat_relay WHERE pid IS NOT NULL;'
		  . q{SELECT outbox_emit('fine', 'k', 'x')});
	ok( $node->poll_query_until('postgres',
			q{SELECT outbox.wait_published('1 s') FROM outbox.stat_relay}),
		"$victim->{name}: it goes on");
}
$_->{node}->stop('fast') for @victims[ 1 .. $#victims ];
done_testing();
