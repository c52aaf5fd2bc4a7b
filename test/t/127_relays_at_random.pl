# Relays are paused, changed, stopped, ended and killed at random, while others
# come and go, segments are emptied, and each ends by itself when it has nothing
# to do for a moment.
#
# Catches: an event that one of two relays never publishes, or out of order,
# because an end, a pause, a drop or an emptied segment has met another; a relay
# that is not started again, or for which nobody waits; chores that nobody does
# any more.

use strict;
use warnings;

use List::Util qw(shuffle);
use OutboxTest;
use OutboxTest::Counter;
use OutboxTest::Server;
use Test::More;
use Time::HiRes qw(usleep);

my $rounds = 2;
my $seed = $ENV{OUTBOX_SEED} || int(rand(2**31));

srand($seed);
note "OUTBOX_SEED=$seed";
my ($mock, $consumer, $node) = counter_node(<<~'END');
	outbox.idle_timeout = 10ms
	outbox.retry_base_delay = 100ms
	max_worker_processes = 24
	restart_after_crash = on
	END
my %mock = (default => $mock, audit => OutboxTest::Mock->new(topics => { count => 3, copies => 1, late => 1 }));
my %consumer = (
	default => $consumer,
	audit => OutboxTest::Consumer->new(bootstrap => $mock{audit}->bootstrap));
my $directory = $node->data_dir . '/outbox.d';
my %arrived;
my %stopped;

mkdir $directory, 0700 or die "$directory: $!";
for my $relay (qw(audit extra))
{
	my $file = "$directory/$relay.properties";

	open(my $fh, '>', $file) or die "$file: $!";
	print $fh 'bootstrap.servers=' . $mock{audit}->bootstrap . "\n";
	close $fh or die "$file: $!";
	chmod 0600, $file or die "$file: $!";
}
query("SELECT outbox.create_relay('audit')");

sub random_of { return $_[ rand @_ ]; }
sub a_relay { return random_of(keys %mock); }

# What may be refused, such as to drop what is not there, and fails while the
# server restarts.
sub try_query
{
	my ($sql) = @_;
	my (undef, $out) = $node->psql('postgres', $sql);

	return $out;
}

sub pid_of { return try_query("SELECT pid FROM outbox.stat_relay WHERE relay = '$_[0]'"); }

sub go_on
{
	kill 'CONT', values %stopped;
	%stopped = ();
	return;
}

END { my $status = $?; go_on(); $? = $status; }

my %action = (
	end => sub { try_query("SELECT pg_terminate_backend(pid) FROM outbox.stat_relay WHERE relay = '" . a_relay() . "'") },
	launcher => sub { try_query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'outbox launcher'") },
	stop => sub {
		my $pid = pid_of(my $relay = a_relay());

		$stopped{$relay} = $pid if $pid && kill 'STOP', $pid;
		usleep(rand 1_500_000);
		go_on();
	},
	pause => sub { try_query("SELECT outbox.pause('" . a_relay() . "')") },
	pause_all => sub { try_query('SELECT outbox.pause()') },
	resume => sub { try_query('SELECT outbox.resume()') },
	pause_topic => sub { try_query("SELECT outbox.pause_topic('count', relay => '" . a_relay() . "')") },
	resume_topic => sub { try_query("SELECT outbox.resume_topic('count')") },
	create => sub { try_query("SELECT outbox.create_relay('extra', topic_prefix => 'extra.', start => '" . random_of(qw(now oldest)) . "')") },
	drop => sub { try_query("SELECT outbox.drop_relay('extra', discard => true)") },
	other => sub { try_query("BEGIN; SELECT outbox.drop_relay('extra', discard => true); SELECT outbox.create_relay('extra', topics => '{none}'); COMMIT") },
	undone => sub { try_query("BEGIN; SELECT outbox.drop_relay('audit', discard => true), pg_sleep(0.1); ROLLBACK") },
	alter => sub { try_query("SELECT outbox.alter_relay('" . a_relay() . "', on_failure => '" . random_of(qw(skip block_key)) . "')") },
	replay => sub { try_query("SELECT outbox.replay(topic => 'count', to_topic => 'copies', relay => '" . a_relay() . "', rate => 500)") },
	delayed => sub { try_query("SELECT outbox_emit('late', 'k', 'x', deliver_after => '300 ms')") },
	away => sub { my $m = $mock{ a_relay() }; $m->command('down'); usleep(rand 1_000_000); $m->command('up') },
	reload => sub { $node->reload },
	kill => sub {
		my $pid = pid_of(a_relay());

		kill 'KILL', $pid if $pid;
	},
);

# All that is committed has come to both, in order; some of it twice.
sub check
{
	my ($name) = @_;
	my $expected = { map { split /\|/ } split /\n/, query('TABLE counter') };

	ok(wait_published($node), "$name: published");
	for my $relay (sort keys %consumer)
	{
		my $last = $arrived{$relay} //= {};
		my @wrong;

		ok($consumer{$relay}->drain, "$name: read");
		for my $record (grep { $_->{topic} eq 'count' } $consumer{$relay}->take)
		{
			my $n = \$last->{ $record->{key} };

			$$n //= 0;
			push @wrong, "key $record->{key}: $record->{payload} after $$n" if $record->{payload} > $$n + 1;
			$$n = $record->{payload} if $record->{payload} > $$n;
		}
		is_deeply(\@wrong, [], "$name: $relay: nothing lost, every key in order");
		is_deeply($last, $expected, "$name: $relay: up to the last one");
	}
	return;
}

for my $round (1 .. $rounds)
{
	my $load = counter_load($node, clients => 3, rate => random_of(20, 300));

	for my $action (shuffle(grep { $_ ne 'kill' || $round == $rounds } keys %action))
	{
		note $action;
		$action{$action}->();
		usleep(rand 100_000);
	}
	wait_until(undef, sub { try_query('SELECT 1') }, 'a server');
	# those that it has not published would be kept
	try_query("SELECT outbox.drop_relay('extra', discard => true)");
	query('SELECT outbox.resume()');
	query("SELECT outbox.resume_topic('count')");
	query('SELECT count(*) FROM outbox.requeue()');
	# a crash has ended it
	$load = counter_load($node) unless $load->is_running;
	wait_emptied($node, 1, 0 .. 2);
	stop_load($node, $load);
	check("round $round");
	wait_until(undef, sub { query("SELECT count(*) FROM outbox.delayed") == 0 }, 'what was delayed');
	wait_until(undef, sub { query("SELECT count(*) FROM outbox.stat_replay WHERE state = 'running'") == 0 }, 'replays');
}
is(log_lines($node, 0, qr/TRAP:|PANIC|terminated by signal (?!9\b)/), 0, 'no crash but ours');
$node->stop;
done_testing();
