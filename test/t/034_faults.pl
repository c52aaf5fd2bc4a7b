# Random faults under load: outages, lost connections, slow answers, refusals of
# every class, topics that come and go.  Whatever happens, in the end every
# committed event is published or a dead letter, nothing is invented, and each
# key is in order, but for what comes after a dead letter of it.
#
# Catches: faults of which each alone is handled well, but not one during
# another.
#
# A broker sees by sequence numbers that a batch is missing, and refuses what is
# in flight behind it; the mock does not look at them, so that librdkafka takes
# a missing batch for an acknowledged one, or overtakes it.  So here one event
# is in flight at once; more are in the tests with a real Kafka.
#
# OUTBOX_SOAK=SECONDS makes it longer, and OUTBOX_SEED=N repeats the faults of
# a run (the load differs).

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $seconds = $ENV{OUTBOX_SOAK} || ($ENV{OUTBOX_FAST} ? 16 : 30);
my $seed = $ENV{OUTBOX_SEED} || int(rand(2**31));
my @topics = qw(alpha beta gamma);

# One or more of each class, of src/kafka/errors.c
my @errors = qw(NOT_ENOUGH_REPLICAS NOT_LEADER_FOR_PARTITION
  LEADER_NOT_AVAILABLE REQUEST_TIMED_OUT KAFKA_STORAGE_ERROR
  CLUSTER_AUTHORIZATION_FAILED UNKNOWN_TOPIC_OR_PART
  TOPIC_AUTHORIZATION_FAILED POLICY_VIOLATION MSG_SIZE_TOO_LARGE
  INVALID_RECORD INVALID_MSG_SIZE INVALID_TIMESTAMP TOPIC_EXCEPTION
  OUT_OF_ORDER_SEQUENCE_NUMBER UNKNOWN_PRODUCER_ID INVALID_PRODUCER_EPOCH);

my @refusals = ('UNKNOWN_TOPIC_OR_PART',
	OutboxTest::Mock::can_forbid() ? 'TOPIC_AUTHORIZATION_FAILED' : ());

srand($seed);
note "OUTBOX_SEED=$seed";

my $mock =
  OutboxTest::Mock->new(brokers => 2, topics => { map { $_ => 4 } @topics });
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1,
	conf => <<~'END');
		outbox.window_events = 1
		outbox.retry_base_delay = 50ms
		outbox.retry_max_delay = 500ms
		outbox.retry_max_attempts = 8
		END

query('CREATE TABLE ledger (event_id uuid)');
query("SELECT outbox_emit('$_', NULL, 'first')") for @topics;
$consumer->wait_for(3) or die 'it does not work';

sub random_of { return $_[ rand @_ ]; }

my %fault = (
	outage => sub {
		$mock->command('down');
		usleep(rand 1_500_000);
		$mock->command('up');
	},
	broker => sub {
		my $broker = random_of(1, 2);
		$mock->command("down $broker");
		usleep(rand 1_000_000);
		$mock->command("up $broker");
	},
	drop => sub { $mock->command('drop'); },
	slow => sub { $mock->command('rtt ' . int(rand 300)); },
	quick => sub { $mock->command('rtt 0'); },
	leader => sub {
		my $broker = random_of(1, 2);
		$mock->command("down $broker");
		usleep(200_000 + rand 800_000);
		for my $topic (@topics)
		{
			$mock->command("leader $topic $_ " . (3 - $broker))
			  for grep { rand 2 < 1 } 0 .. 3;
		}
		$mock->command("up $broker");
	},
	refuse => sub {
		$mock->command('fail Produce 100000 ' . random_of(@errors));
		usleep(rand 500_000);
		$mock->command($_) for ('down', 'clear Produce', 'up');
	},
	topic => sub {
		my $topic = random_of(@topics);
		$mock->command("refuse $topic " . random_of(@refusals));
		usleep(rand 2_000_000);
		$mock->command("allow $topic");
	});

# What was done, for the one who has to find out why it failed.
my @faults;

# Load, with such faults meanwhile; then all is well again.
sub load_with
{
	my ($name, @choice) = @_;
	my $pid = relay_pid($node);
	my $log = -s $node->logfile;
	my %counts;
	my $load = pgbench($node, <<~'END',
		\set key random(1, 20)
		\set topic random(1, 3)
		\set count random(1, 5)
		\set fate random(1, 10)
		BEGIN;
		INSERT INTO ledger SELECT outbox_emit(
			CASE :topic WHEN 1 THEN 'alpha' WHEN 2 THEN 'beta' ELSE 'gamma' END,
			:key::text, :client_id || ' ' || n)
		FROM generate_series(1, :count) n;
		\if :fate = 1
		ROLLBACK;
		\else
		COMMIT;
		\endif
		END
		clients => 4, rate => 80, duration => $seconds / 2, background => 1);

	while ($load->is_running)
	{
		my $fault = random_of(@choice);
		push @faults, sprintf '%.1f %s', time, $fault;
		$counts{$fault}++;
		$fault{$fault}->();
		usleep(rand 300_000);
	}
	note "$name: ", join ' ', map { "$_=$counts{$_}" } sort keys %counts;
	is($load->wait(1), 0, "$name: no transaction has failed")
	  or diag $load->log_tail;

	$mock->command($_) for ('up', 'rtt 0', 'clear Produce');
	$mock->command("allow $_") for @topics;
	my $healed = time;
	ok(wait_published($node), "$name: published");
	wait_parked(0, "$name: nothing is parked");
	note sprintf "$name: all well after %.1f s", time - $healed;
	is(relay_state($node), 'publishing', "$name: state is publishing");

	clean_log($node, "$name: nobody has crashed", from => $log);
	is(relay_pid($node), $pid, "$name: it is the same process")
	  or diag join "\n", log_lines($node, $log, qr/FATAL|ERROR|exited/);
	return;
}

my @harmless = qw(outage broker drop slow quick leader topic);
load_with('without refusals', @harmless);
load_with('with refusals', @harmless, ('refuse') x 4);
ok($consumer->drain, 'read');
is_deeply([ $consumer->gaps ], [], 'nothing forgotten by the mock');

my @events = events($node);
is_deeply(
	[ sort split /\n/, query('TABLE ledger') ],
	[ sort map { $_->{event_id} } grep { defined $_->{key} } @events ],
	'what the transactions themselves have written');
my %dead = map { $_ => 1 } split /\n/,
  query('SELECT event_id FROM outbox.dead_letter');
note scalar(@events) . ' events, ' . keys(%dead) . ' dead letters';

# One may have arrived after all, if it was its acknowledgement that failed.
my $duplicates = check_delivery(
	[ grep { !$dead{ $_->{event_id} } } @events ],
	[ grep { !$dead{ $_->{event_id} } } $consumer->records ],
	'all but the dead letters');
my %committed = map { $_->{event_id} => 1 } @events;
is(scalar(grep { !$committed{$_} } keys %dead),
	0, 'each dead letter is of a committed event');

note 'requeued';
query('SELECT count(*) FROM outbox.requeue()');
wait_until(undef, sub { query('SELECT count(*) FROM outbox.parked') == 0 },
	'no dead letter is left');
ok($consumer->drain, 'read');
my %arrived = map { $_->{event_id} => 1 } $consumer->records;
is(scalar(grep { !$arrived{ $_->{event_id} } } @events),
	0, 'now all are published');

diag "OUTBOX_SEED=$seed\n" . join "\n", @faults
  unless Test::More->builder->is_passing;
$node->stop;
done_testing();
