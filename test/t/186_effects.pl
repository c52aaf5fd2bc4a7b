# What messages have done is compared with what was sent: a producer sends ids
# again and again, in any order, while subscribers, the server and the broker are
# killed, and functions fail now and then.
#
# Catches: a message that takes effect twice or never, or out of its key's order,
# because an end has come between its effect, its id and its offset; what a
# function wrote before it failed, or before it discarded; a copy of an id that
# slips in while the first one fails; a key that waits for ever; effects of what
# was rolled back in Kafka.

use strict;
use warnings;

use IO::Select;
use List::Util qw(max shuffle);
use OutboxTest;
use OutboxTest::Server;
use Test::More;
use Time::HiRes qw(usleep);

my $keys = 9;
my $burst = 60;
my $seed = $ENV{OUTBOX_SEED} || int(rand(2**31));
my %partitions = (orders => 4, again => 2, echo => 1);
my ($node, $broker, $producer, $policy);
my ($written, $acknowledged, $rest, %end);    # lines to the producer, and what the broker says of them
my (%sent, @again);    # of each key: its last number, and what is to be done; and what may be repeated

srand($seed);
note "OUTBOX_SEED=$seed";

sub random_of { return $_[ rand @_ ]; }

sub ask { return $node->safe_psql('postgres', $_[0]); }

# What may be refused, or fails while the server restarts.
sub try_query
{
	my ($sql) = @_;
	my (undef, $out) = $node->psql('postgres', $sql);

	return $out;
}

sub start_broker
{
	my ($kind) = @_;

	if ($kind eq 'mock')
	{
		$broker = OutboxTest::Mock->new(topics => \%partitions);
		return;
	}
	$broker = OutboxTest::Kafka->new;
	$broker->create_topic($_, $partitions{$_}) for sort keys %partitions;
	return;
}

sub start_producer
{
	return OutboxTest::Process->new(
		command => [ OutboxTest::Mock::program('produce'), '-X', 'max.in.flight.requests.per.connection=1',
			@_, $broker->bootstrap ],
		log => PostgreSQL::Test::Utils::tempdir('produce') . '/log',
		pipes => 1);
}

# Takes in what has been acknowledged so far.
sub take_acknowledged
{
	my ($wait) = @_;

	while (IO::Select->new($producer->{out})->can_read($wait))
	{
		$wait = 0;
		sysread($producer->{out}, $rest, 65536, length $rest) or die 'the producer is gone: ' . $producer->log_tail;
		while ($rest =~ s/^(.*)\n//)
		{
			my ($topic, $partition, $offset) = split /\t/, $1;

			die "not sent: $1" unless defined $offset;
			$acknowledged++;
			$end{"$topic $partition"} = max($end{"$topic $partition"} // 0, $offset + 1);
		}
	}
	return $acknowledged;
}

sub write_line
{
	my ($topic, $key, $id, $payload) = @_;
	my @id = defined $id ? (random_of(qw(event_id id ce_id)), $id) : ();

	print { $producer->{in} } join("\t", $topic, '-', $key, $payload, @id) . "\n";
	$written++;
	return;
}

# What a function is to do with it: mostly just its work.
sub fate
{
	my $n = rand 100;

	return (error => 1 + int(rand 2)) if $n < 2;
	return (retry => 1) if $n < 3;
	return (commit => 1) if $n < 3.5;
	return (timeout => 1) if $n < 3.6;
	return (discard => 0) if $n < 6;
	return (none => 0);
}

# A message of its key's next number; or one of a key without an order, which
# comes by two topics.
sub send_new
{
	my $key = 'k' . int(rand $keys);
	my $place = rand() < 0.05;
	my $cross = !$place && rand() < 0.05;
	my ($fate, $times) = fate();

	$key = 'x' . int(rand 4) if $cross;
	my $seq = ++$sent{$key}->{last};
	my $id = "$key-$seq";
	my $payload = qq({"id": "$id", "seq": $seq, "fate": "$fate", "times": $times});

	push @{ $sent{$key}->{done} }, $seq if $fate ne 'discard';
	# of one without an id each copy would be another message
	push @again, [ $key, $id, $payload ] unless $place;
	my @topics = $cross ? shuffle(qw(orders again)) : ('orders');
	write_line($_, $key, $place ? undef : $id, $payload) for @topics;
	return;
}

# Some that were sent before, in another order.
sub send_again
{
	my $from = max(0, @again - 200);

	write_line($_->[0] =~ /^x/ ? random_of(qw(orders again)) : 'orders', @$_)
	  for shuffle(map { $again[ $from + rand(@again - $from) ] } 1 .. 1 + rand 8);
	return;
}

sub send_burst
{
	for (1 .. $burst)
	{
		send_new();
		send_again() if rand() < 0.1;
	}
	take_acknowledged(0);
	return;
}

# One in Kafka's transaction that is rolled back: it has never been.
sub send_aborted
{
	my $other = start_producer('-X', 'transactional.id=other');
	my @lines = map { "orders\t$_\tk0\t" . qq({"id": "never", "seq": 0, "fate": "none", "times": 0}) . "\tid\tnever\n" }
	  0 .. $partitions{orders} - 1;

	print { $other->{in} } "\\B\n", @lines, "\\A\n";
	close $other->{in};
	is($other->wait, 0, 'a transaction of Kafka is rolled back');
	return;
}

sub create_effects
{
	ask(<<~'END');
		CREATE ROLE app;
		SELECT outbox.grant_emit('app');
		CREATE TABLE effect (n bigserial, subscription text, place text, key text, id text, seq bigint, fate text,
			attempt integer, times integer);
		GRANT INSERT ON effect TO app;
		GRANT USAGE ON SEQUENCE effect_n_seq TO app;
		CREATE FUNCTION fails_at_commit() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			IF NEW.fate = 'commit' AND NEW.attempt <= NEW.times THEN
				RAISE EXCEPTION 'not at this commit';
			END IF;
			RETURN NULL;
		END $$;
		CREATE CONSTRAINT TRIGGER fails_at_commit AFTER INSERT ON effect DEFERRABLE INITIALLY DEFERRED
			FOR EACH ROW EXECUTE FUNCTION fails_at_commit();
		END
	ask(handler());
	ask(<<~END);
		SELECT outbox.subscribe(name, '{orders,again}', 'handle(outbox.message)', start => 'earliest', role => 'app',
			workers => workers, on_failure => policy, batch_size => size,
			retry_base_delay => '20 ms', retry_max_delay => '100 ms', retry_max_attempts => 0, handler_timeout => '1 s')
		FROM (VALUES ('main', 2, 'block_key', 100), ('side', 1, '$policy', 10)) AS s (name, workers, policy, size)
		END
	return;
}

sub handler
{
	return <<~'END';
		CREATE OR REPLACE FUNCTION public.handle(m outbox.message) RETURNS text LANGUAGE plpgsql AS $$
		DECLARE
			its jsonb := outbox.payload_json(m);
			fate text := its ->> 'fate';
			early boolean := m.attempt <= (its ->> 'times')::integer;
		BEGIN
			INSERT INTO public.effect (subscription, place, key, id, seq, fate, attempt, times)
				VALUES (m.subscription, concat_ws('/', m.topic, m.partition, m."offset"), m.key, its ->> 'id',
					(its ->> 'seq')::bigint, fate, m.attempt, (its ->> 'times')::integer);
			PERFORM public.outbox_emit('echo', m.key, its ->> 'id', jsonb_build_object('by', m.subscription));
			IF early AND fate = 'retry' THEN
				RETURN 'retry';
			ELSIF early AND fate = 'error' OR random() < 0.001 THEN
				RAISE EXCEPTION 'not now';
			ELSIF early AND fate = 'timeout' THEN
				PERFORM pg_sleep(60);
			END IF;
			RETURN CASE WHEN fate = 'discard' THEN 'discard' WHEN random() < 0.5 THEN 'done' END;
		END $$;
		END
}

my $subscribers = "FROM pg_stat_activity WHERE backend_type = 'outbox subscriber'";

# There is a server, with all that it has to run; so each kill has its own life.
sub wait_back
{
	wait_until(undef, sub { (try_query("SELECT count(*) >= 2 $subscribers") // '') eq 't' }, 'subscribers');
	return;
}

my %action = (
	kill => sub {
		my ($pid) = shuffle(split /\n/, try_query("SELECT pid $subscribers"));

		kill 'KILL', $pid if $pid;
		usleep(100_000);
		wait_back();
	},
	crash => sub { crash($node); $node->start; wait_back(); },
	restart => sub { $node->restart; wait_back(); },
	terminate => sub { try_query("SELECT pg_terminate_backend(pid) $subscribers") },
	cancel => sub { try_query("SELECT pg_cancel_backend(pid) $subscribers") },
	others => sub { try_query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type IN ('outbox launcher', 'outbox relay')") },
	pause => sub {
		try_query("SELECT outbox.pause_subscription()");
		send_burst();
		usleep(rand 300_000);
		try_query("SELECT outbox.resume_subscription()");
	},
	lock => sub { try_query('BEGIN; LOCK TABLE effect; SELECT pg_sleep(random() * 0.3); COMMIT') },
	handler => sub {
		try_query('DROP FUNCTION handle(outbox.message)');
		send_burst();
		usleep(rand 300_000);
		try_query(handler());
	},
	workers => sub { try_query("SELECT outbox.alter_subscription('main', workers => $_)") for 1 + int(rand 3) },
	away => sub {
		if ($broker->isa('OutboxTest::Mock'))
		{
			$broker->command('down');
			send_burst();
			usleep(rand 500_000);
			$broker->command('up');
		}
		else
		{
			$broker->kill9;
			send_burst();
			$broker->start;
		}
	},
	drop => sub { $broker->command('drop') if $broker->isa('OutboxTest::Mock') },
	fetch => sub { $broker->command('fail Fetch 2 NOT_LEADER_FOR_PARTITION') if $broker->isa('OutboxTest::Mock') },
);

# Each partition has been done, up to its end, and nothing is left over. The end
# may be that of the transaction that is rolled back: a message and a mark.
sub settle
{
	my ($name) = @_;
	my $is;
	my $ends = sub { join ', ', map { my $by = $_; map { "$by: $_ $end{$_}" } sort keys %end } qw(main side) };

	print { $producer->{in} } "\\F\n";
	wait_until(undef, sub { take_acknowledged(0.1) == $written }, 'all that was sent is acknowledged');
	eval {
		wait_until(60, sub {
			my @rows = split /\n/, ask(<<~'END');
				SELECT subscription, topic || ' ' || partition, next_offset
				FROM outbox.subscription_offset WHERE next_offset > 0 ORDER BY subscription, topic, partition
				END
			my @places;
			for (map { [ split /\|/ ] } @rows)
			{
				my ($by, $partition, $next) = @$_;
				my $end = $end{$partition} // 0;

				$next = $end if $name eq 'kafka' && $partition =~ /^orders/ && $next == $end + 2;
				push @places, "$by: $partition $next" if $next > 0;
			}
			$is = join ', ', @places;
			return $is eq $ends->();
		}, 'ends');
	} or diag $@;
	is($is, $ends->(), "$name: all partitions are done up to their ends");
	eval { wait_until(60, sub { ask('SELECT count(*) FROM outbox.inbox_parked') == 0 }, 'parked') } or diag $@;
	is(ask(q(SELECT string_agg((to_jsonb(p) - 'payload')::text, E'\n') FROM outbox.inbox_parked p)), '',
		"$name: nothing waits");
	is(ask(q(SELECT string_agg((to_jsonb(d) - 'payload')::text, E'\n') FROM outbox.inbox_dead d)), '',
		"$name: nothing is given up");
	return;
}

# Each key has its numbers once, in order if its subscription keeps that.
sub check
{
	my ($name, $consumer) = @_;
	my $once = { map { $_ => join ' ', @{ $sent{$_}->{done} } } grep { $sent{$_}->{done} } keys %sent };

	for my $subscription (qw(main side))
	{
		my $order = $subscription eq 'main' || $policy eq 'block_partition' ? "CASE WHEN key LIKE 'x%' THEN seq ELSE n END" : 'seq';
		my $is = { map { split /\|/ } split /\n/, ask(<<~END) };
			SELECT key, string_agg(seq::text, ' ' ORDER BY $order) FROM effect WHERE subscription = '$subscription' GROUP BY key
			END

		is_deeply($is, $once, "$name: $subscription: each message once" . ($order eq 'seq' ? '' : ', in order'));
	}
	is(ask("SELECT count(*) FROM effect WHERE times > 0 AND attempt <= times"), 0, "$name: nothing of what has failed");

	ok(wait_published($node), "$name: what the functions have emitted is published");
	$consumer->drain or die 'not read';
	my %echo;
	$echo{ $_->{payload} }->{ $_->{event_id} } = 1 for $consumer->records;
	my $expected = { map { my $key = $_; map { ("$key-$_" => 2) } @{ $sent{$key}->{done} // [] } } keys %sent };
	is_deeply({ map { $_ => scalar keys %{ $echo{$_} } } keys %echo }, $expected, "$name: once for each, too");
	return;
}

sub run_with
{
	my ($kind, @actions) = @_;

	start_broker($kind);
	$policy = random_of(qw(skip block_partition));
	note "$kind, $policy";
	($acknowledged, $written, $rest) = (0, 0, '');
	(%end, %sent, @again) = ();
	my $consumer = OutboxTest::Consumer->new(bootstrap => $broker->bootstrap, topics => ['echo']);
	$node = outbox_node($kind, bootstrap => $broker->bootstrap, extension => 1, conf => <<~'END');
		outbox.kafka_properties = 'fetch.wait.max.ms=50 reconnect.backoff.max.ms=200'
		outbox.max_subscribers = 8
		max_worker_processes = 24
		restart_after_crash = on
		deadlock_timeout = 50ms
		END
	$producer = start_producer();
	send_burst();
	create_effects();
	for my $action (@actions)
	{
		note $action;
		send_burst();
		usleep(rand 200_000);
		$action{$action}->();
		usleep(rand 100_000);
	}
	send_aborted() if $kind eq 'kafka';
	send_burst();
	settle($kind);
	check($kind, $consumer);
	is(log_lines($node, 0, qr/TRAP:|PANIC|terminated by signal (?!9\b)/), 0, "$kind: no crash but ours");
	$node->stop;
	$producer->stop;
	$broker->stop;
	return;
}

run_with('mock', shuffle(keys %action), shuffle(qw(kill terminate drop)));
run_with('kafka', shuffle(qw(away kill crash terminate))) unless OutboxTest::Kafka->skip_reason;
done_testing();
