# A subscription and more than one server: on a standby nothing is consumed;
# promoted, it goes on where the replicated offsets are, although it had not
# received all that the primary did; a copy of a server is a consumer of its own;
# and of two who hand over messages of the same partition of one database, one
# comes too late.
#
# Catches: a standby that consumes; a promoted one that goes on where Kafka, or the
# lost primary, was, so that effects are missing, or that repeats what it has; a
# copy that shares its messages with the original; an offset that is moved without
# regard to who has moved it meanwhile, so that effects are there twice.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use PostgreSQL::Test::Cluster;
use Test::More;

my $messages = 0;
my $mock = OutboxTest::Mock->new(topics => { orders => 2, turns => 1 });
my $primary = outbox_node('primary',
	bootstrap => $mock->bootstrap,
	extension => 1,
	allows_streaming => 1,
	conf => <<~'END');
	outbox.kafka_properties = 'fetch.wait.max.ms=50'
	max_worker_processes = 12
	wal_receiver_timeout = 5s
	END

# So many messages with ten keys, numbered in the order of publishing
sub produce
{
	my ($count) = @_;

	kcat($mock->bootstrap, join('', map { 'k' . $_ % 10 . ":$_\n" } $messages + 1 .. $messages + $count),
		qw(-P -t orders -K :));
	$messages += $count;
	return;
}

sub count { return $_[0]->safe_psql('postgres', 'SELECT count(*) FROM effect'); }

# Waits until the server has all of them; each has had its effect once, and those
# of a key in order.
sub check_effects
{
	my ($node, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	eval { wait_until(undef, sub { count($node) >= $messages }); };
	is( $node->safe_psql('postgres', 'SELECT count(*), count(DISTINCT (part, at)), count(DISTINCT payload) FROM effect'),
		join('|', ($messages) x 3), "$name: each effect once");
	is( $node->safe_psql('postgres', q{SELECT count(*) FROM (
			SELECT payload::integer - lag(payload::integer) OVER (PARTITION BY key ORDER BY id) AS step FROM effect) e
			WHERE step <> 10}), 0, "$name: in order");
	is( $node->safe_psql('postgres', q{SELECT sum(next_offset) FROM outbox.subscription_offset WHERE subscription = 'orders'}),
		$messages, "$name: the offsets are behind them");
	return;
}

query($_) for <<~'END', q{SELECT outbox.subscribe('orders', '{orders}', 'handle(outbox.message)', batch_size => 20)};
	CREATE TABLE effect (id serial, part integer, at bigint, key text, payload text);
	-- slowly, so that there is a middle to stop it in
	CREATE FUNCTION handle(m outbox.message) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO public.effect (part, at, key, payload) VALUES (m.partition, m."offset", m.key, outbox.payload_text(m));
		PERFORM pg_sleep(0.0005);
	END$$
	END
$primary->backup('b');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'b', has_streaming => 1);
guard_node($standby);
$standby->start;

note 'a standby';
produce(300);
check_effects($primary, 'primary');
$primary->wait_for_catchup($standby);
is(count($standby), 300, 'the effects are replicated');
is($standby->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'outbox %'}),
	0, 'no process of ours is there');
is($standby->safe_psql('postgres', 'SELECT state, pid IS NULL, lag_messages FROM outbox.stat_subscription'),
	'stopped|t|0', 'outbox.stat_subscription tells so');

note 'which is promoted, without what the primary did in the end';
produce(4000);
wait_until(undef, sub { count($standby) > 500 }, 'some more is replicated');
$standby->append_conf('postgresql.conf', q{primary_conninfo = ''});
$standby->reload;
wait_until(undef, sub { $standby->safe_psql('postgres', 'SELECT count(*) FROM pg_stat_wal_receiver') == 0 }, 'no more arrives');
my $had = count($standby);
my $did = wait_until(undef, sub { my $n = count($primary); $n > $had + 200 && $n }, 'the primary goes on');
crash($primary);
cmp_ok($had, '<', $messages, "the standby had $had of $did");
is(log_lines($standby, 0, qr/outbox subscriber/), 0, 'it has not begun before it is promoted');
$standby->promote;
check_effects($standby, 'promoted');

note 'a copy of a server';
produce(2000);
wait_until(undef, sub { count($standby) > $messages - 1900 }, 'it is at work');
$standby->backup('c');
my $copy = PostgreSQL::Test::Cluster->new('copy');
$copy->init_from_backup($standby, 'c');
guard_node($copy);
$copy->start;
produce(500);
check_effects($standby, 'the original');
check_effects($copy, 'the copy');

note 'two who hand over messages of the same partition';
my $node = $standby;
my $mine = q{UPDATE outbox.subscription_offset SET next_offset = next_offset + 5 WHERE subscription = 'turns' AND next_offset =};
my $turns = q{SELECT string_agg(by || ' ' || payload, ' ' ORDER BY id) FROM turn};
$node->safe_psql('postgres', $_) for <<~'END',
	CREATE TABLE turn (id serial, by text, payload text);
	-- one that is told so waits for the test
	CREATE FUNCTION take_turn(m outbox.message) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		IF m.key = 'wait' THEN PERFORM pg_advisory_xact_lock_shared(7); END IF;
		INSERT INTO public.turn (by, payload) VALUES ('worker', outbox.payload_text(m));
	END$$
	END
  q{SELECT outbox.subscribe('turns', '{turns}', 'take_turn(outbox.message)', start => 'earliest')};
sub turn { return kcat($mock->bootstrap, join('', map { "$_\n" } @_), qw(-P -t turns -K :)); }
sub waits
{
	my ($what, $where) = @_;

	return $node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND $where")
	  || die $what;
}
turn('k:0');
ok($node->poll_query_until('postgres', 'SELECT count(*) = 1 FROM turn'), 'the worker has the first one');

# the other one is before it
my $other = $node->background_psql('postgres');
$other->query_safe(qq{BEGIN; $mine 1; INSERT INTO turn (by, payload) SELECT 'other', generate_series(1, 5)});
turn(map { "k:$_" } 1 .. 8);
waits('the worker waits', q{backend_type = 'outbox subscriber'});
$other->query_safe('COMMIT');
ok($node->poll_query_until('postgres', "SELECT count(*) = 9 FROM turn"), 'the worker goes on');
is($node->safe_psql('postgres', $turns), 'worker 0 other 1 other 2 other 3 other 4 other 5 worker 6 worker 7 worker 8',
	'... behind what the other has done, and undoes its own');
is($node->safe_psql('postgres', q{SELECT sum(attempts) FROM outbox.inbox_retry}), '', '... and blames no message for it');

# the other one comes too late
my $holder = $node->background_psql('postgres');
$holder->query_safe('SELECT pg_advisory_lock(7)');
turn('wait:9', 'k:10');
waits('the worker is at it', q{backend_type = 'outbox subscriber'});
$other->{timeout}->start(60) if ref $other->{timeout};
$other->query_until(qr/^sent$/m, "\\echo sent\n$mine 9;\nSELECT 'moved by me' WHERE :ROW_COUNT > 0;\n");
waits('the other waits', q{backend_type = 'client backend'});
$holder->query_safe('SELECT pg_advisory_unlock(7)');
is($other->query_safe('SELECT 1'), 1, 'the other has its answer');
ok($node->poll_query_until('postgres', "SELECT max(next_offset) = 11 FROM outbox.subscription_offset WHERE subscription = 'turns'"),
	'and finds that it is outdated');
is($node->safe_psql('postgres', "$turns WHERE payload::integer > 8"), 'worker 9 worker 10', 'only the worker\'s effects are there');
$_->quit for $other, $holder;

clean_log($_, 'nothing unclean in the log of ' . $_->name, also => qr/exited with exit code/) for $standby, $copy;
$_->stop for $copy, $standby;
done_testing();
