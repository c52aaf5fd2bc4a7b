# What a subscription does in a second, and how long a message takes to its
# effect.
package Subscribe;

use strict;
use warnings;

use Bench;
use Emit;
use FindBin;
use Report;
use Servers;

my $partitions = 4;
my $batch = 500;
my @effects = ('SET client_min_messages = warning', 'DROP TABLE IF EXISTS effect',
	'CREATE TABLE effect (key text, id text, payload bytea)');
my $messages;

# The messages of all rounds: a relay's, so each has an id of its own.
sub produce
{
	$messages = size(200_000, 50_000);
	$servers->create_topic('subscribe', $partitions);
	$servers->relays_off;
	$servers->new_database;
	$servers->sql("SELECT count(outbox_emit('subscribe', 'key-' || i % 10000, " . payload()
		. ")) FROM generate_series(1, $messages) AS i");
	$servers->relay_on;
	die "the messages are not published\n"
	  unless $servers->sql("SELECT outbox.wait_published('2min')") eq 't';
	$servers->relays_off;
	return;
}

# The yardstick: a session that inserts the same rows one by one, as many in a
# transaction as a subscription may have.
sub insert
{
	$servers->sql([ @effects, <<"END" ]);
CREATE PROCEDURE insert_all() LANGUAGE plpgsql AS \$\$
BEGIN
	FOR i IN 1 .. $messages LOOP
		INSERT INTO effect VALUES ('key-' || i % 10000, gen_random_uuid(), @{[ payload() ]});
		IF i % $batch = 0 THEN
			COMMIT;
		END IF;
	END LOOP;
END \$\$
END
	my ($seconds) = Emit::seconds('CALL insert_all()');
	return ($messages / $seconds, sprintf '%.0f rows/s', $messages / $seconds);
}

sub subscribe_to
{
	my ($topic, $start, $function) = @_;

	$servers->sql([ @effects,
		"CREATE FUNCTION handle(m outbox.message) RETURNS void LANGUAGE plpgsql AS '$function'",
		"SELECT outbox.subscribe('bench', '{$topic}', 'handle(outbox.message)', start => '$start', batch_size => $batch)" ]);
	$servers->relay_on;
	return;
}

my $insert = 'BEGIN INSERT INTO public.effect VALUES (m.key, m.message_id, m.payload); END';

# Messages a second of one worker, from the first look that shows progress on.
sub handled
{
	subscribe_to('subscribe', 'earliest', $insert);
	my $rate = $servers->sql([ "SET statement_timeout = '2min'", <<"END",
DO \$\$
DECLARE
	start timestamptz;
	first bigint;
	done bigint := 0;
BEGIN
	WHILE done < $messages LOOP
		PERFORM pg_sleep(0.005);
		SELECT coalesce(sum(next_offset), 0) INTO STRICT done FROM outbox.subscription_offset;
		IF start IS NULL AND done > 0 THEN
			start := clock_timestamp();
			first := done;
		END IF;
	END LOOP;
	PERFORM set_config('bench.rate', (($messages - first)
		/ extract(epoch FROM clock_timestamp() - start))::text, false);
END \$\$
END
		"SELECT current_setting('bench.rate')" ]);
	my $effects = $servers->sql('SELECT count(DISTINCT id) FROM effect');
	die "$effects effects of $messages messages\n" if $effects != $messages;
	my ($all, $main) = map { $_ / $messages * 1e6 } Bench::cpu_of($servers->sql(
		"SELECT pid FROM pg_stat_activity WHERE backend_type = 'outbox subscriber'"));
	$servers->relays_off;
	return ($rate,
		sprintf '%.0f/s, CPU %.2f us a message, of it %.2f main thread', $rate, $all, $main);
}

sub backlog
{
	produce();
	my $pairs = Emit::rounds_of($rounds, [ insert => \&insert ], [ subscribe => \&handled ]);
	my $read = measure('read', sub {
		my $line = Servers::output_of("$FindBin::RealBin/consumer",
			$servers->{brokers}, 'subscribe', $partitions, $messages);
		my ($rate) = $line =~ /^(\d+)/ or die "consumer: $line\n";
		return ($rate, $line);
	});
	my @rates = map { $_->[1] } @$pairs;
	compare('subscription from a backlog, messages/s', '%.0f', $pairs, least => 0.3);
	bound('  a worker', number('%.0f', median(@rates)), '>= 20,000', median(@rates) >= 20_000);
	note sprintf 'subscription: %d messages of %d bytes with ids, %d partitions, a function in plpgsql that INSERTs, '
	  . '%d a transaction; a session that INSERTs the same rows one by one (a bare librdkafka consumer reads %.0f/s)',
	  $messages, $payload_size, $partitions, $batch, $read;
	return;
}

# From the produce call until a session knows that the effect is committed.
sub latency
{
	my @pairs;
	my $seconds = size(20, 5);
	my $notify = $insert =~ s/END$/PERFORM pg_notify(\$n\$effect\$n\$, left(outbox.payload_text(m), 48)); END/r;

	$servers->create_topic('latency', $partitions);
	$servers->relays_off;
	$servers->new_database;
	subscribe_to('latency', 'latest', $notify);
	Servers::wait_for('the subscription', 30,
		sub { return $servers->sql('SELECT count(*) FROM outbox.subscription_offset') == $partitions });
	delay($_, 2000, 5) for qw(raw subscription);    # warms up
	for my $round (1 .. $rounds)
	{
		push @pairs, [ alternate($round,
			map { my $way = $_; sub { measure($way, sub { delay($way, 200, $seconds) }) } } qw(raw subscription)) ];
	}
	for (['p50', 1.5], ['p99', 10])
	{
		my ($figure, $most) = @$_;
		compare("produced to effect committed, $figure, ms",
			'%.2f', [ map { [ map { $_->{$figure} } @$_ ] } @pairs ],
			difference => 1, most => $most);
	}
	my $p50 = median(map { $_->[1]->{p50} } @pairs);
	bound('  p50 itself', sprintf('%.2f', $p50), '<= 2', $p50 <= 2);
	note 'produced to effect committed: 200 messages/s, until a session has been notified of it; raw: produce call to consumer';
	$servers->relays_off;
	return;
}

sub subscription
{
	backlog();
	latency();
	return;
}

1;
