# The relay is told to end again and again, while it publishes, parks what is
# blocked or has expired, tries it again, and emits what is due.
#
# Catches: a position that is ahead of what is published or parked, parked
# events that are forgotten, and what is published twice because it was not
# written down.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use Test::More;
use Time::HiRes qw(usleep);

my $ends = $ENV{OUTBOX_ENDS} || ($ENV{OUTBOX_FAST} ? 20 : 40);
my $seed = $ENV{OUTBOX_SEED} || int(rand(2**31));

srand($seed);
note "OUTBOX_SEED=$seed";

my $mock = OutboxTest::Mock->new(topics => { good => 4, bad => 4 });
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1,
	conf => <<~'END');
		outbox.retry_base_delay = 50ms
		outbox.retry_max_delay = 200ms
		outbox.retry_max_attempts = 0
		END

my $load = pgbench($node, <<~'END',
	\set key random(1, 20)
	\set fate random(1, 10)
	BEGIN;
	SELECT outbox_emit('good', :key, n::text), outbox_emit('bad', :key, n::text)
	FROM generate_series(1, :fate) n;
	\if :fate = 1
	SELECT outbox_emit('good', :key, 'expired', expires_at => now() - interval '1 s');
	\elif :fate = 2
	SELECT outbox_emit('good', 'delayed', 'x', deliver_after => '50 ms');
	\endif
	COMMIT;
	END
	clients => 3,
	rate => 60,
	duration => 600,
	background => 1);
$consumer->wait_for(200) or die 'no load';

my $log = log_end($node);
for my $n (1 .. $ends)
{
	my $pid = relay_pid($node);

	$mock->command('refuse bad UNKNOWN_TOPIC_OR_PART') if $n % 8 == 0;
	$mock->command('allow bad') if $n % 8 == 4;
	usleep(rand 200_000);
	kill 'TERM', $pid or die "no relay: $!";
	wait_next_relay($node, $pid);
	# what has no answer would keep the position back
	$node->poll_query_until('postgres',
		"SELECT count(*) > 0 FROM outbox.blocked WHERE scope = 'topic'")
	  or die 'not blocked'
	  if $n % 8 == 0;
}
is(log_lines($node, $log, qr/"outbox relay" \(PID \d+\) exited with exit code 1/),
	$ends, 'each has ended in good order');
clean_log($node, 'quietly', from => $log, also => qr/ERROR|WARNING/);

$mock->command('allow bad');
stop_load($node, $load);
ok(wait_published($node), 'published');
wait_until(undef,
	sub { query("SELECT count(*) FROM outbox.parked WHERE state <> 'dead'") == 0 },
	'nothing is parked');
ok($consumer->drain, 'read');

my %dead = map { $_ => 1 } split /\n/, query('SELECT event_id FROM outbox.dead_letter');
my @events = events($node);
is(keys %dead, scalar(grep { ($_->{payload} // '') eq 'expired' } @events),
	'what has expired is a dead letter');
my @alive = grep { !$dead{ $_->{event_id} } } @events;

# Now and then librdkafka sends the first record of a partition twice; Kafka
# knows it by its sequence number, the mock does not.
my %last;
my @records = grep {
	my $place = "$_->{topic} $_->{partition}";
	my $again = ($last{$place} // '') eq $_->{event_id};
	$last{$place} = $_->{event_id};
	!$again;
} $consumer->records;
is(check_delivery(\@alive, \@records, 'all others'),
	0, 'nothing is repeated')
  or diag "OUTBOX_SEED=$seed";

$node->stop;
done_testing();
