# Large transactions: a million events in one, with savepoints that are rolled
# back after the buffer has gone to disk, and thousands of exception blocks.
#
# Catches: a buffer that grows with the transaction, a temporary file that
# stays, a savepoint that takes too much or too little of a spilled buffer with
# it, memory of the relay that grows with the backlog, and costs that grow with
# the square of the events.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use PostgreSQL::Test::Utils;
use Test::More;

my $events = 1_000_000;
my $keys = 256;
my $max_memory_mb = 16;    # of the backend; the events need 80
my $max_relay_memory_mb = 160;    # for the window; all events need 400

# Counts instead of keeping, which takes too long for so many.  Event $n has
# key $n % $keys, so that the events of a key ascend in steps of $keys.
package Counter
{
	our @ISA = ('OutboxTest::Consumer');
	our ($count, %next, @wrong);

	sub _take
	{
		my ($self, $line) = @_;
		my ($topic, $partition, $offset, undef, $key, $payload) =
		  split /\t/, $line, 7;

		return $self->SUPER::_take($line) if $topic eq '\\E';
		my $position = \$self->{position}->{"$topic $partition"};
		return if $offset < ($$position //= 0);
		push @wrong, "offset $$position is missing" if $offset > $$position;
		$$position = $offset + 1;

		push @wrong, "key $key: $payload"
		  if $payload != ($next{$key} // ($key || $keys));
		$next{$key} = $payload + $keys;
		$count++;
		return;
	}
}

# Enough partitions that the mock forgets nothing.
my $mock = OutboxTest::Mock->new(topics => { large => 64 });
my $counter = Counter->new(bootstrap => $mock->bootstrap, topics => ['large']);
my $consumer =
  OutboxTest::Consumer->new(bootstrap => $mock->bootstrap, topics => ['tx']);
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1,
	conf => <<~'END');
		outbox.kafka_properties = 'compression.type=lz4'
		work_mem = 1MB
		autovacuum = off
		max_wal_size = 4GB
		END

my $session = $node->background_psql('postgres');
my $pid = $session->query_safe('SELECT pg_backend_pid()');

# Emits events $from to $to, one after another.
sub emit
{
	my ($from, $to) = @_;

	$session->query_safe(
		"SELECT count(outbox_emit('large', n % $keys, n::text))"
		  . " FROM (SELECT generate_series($from, $to) AS n) s");
	return;
}

note 'a million events';
emit(1, 1);
my $memory = memory_mb($pid, 'RssAnon');
$session->query_safe('BEGIN');
emit(2, 300_000);
$session->query_safe('SAVEPOINT a');
emit(1, 100_000);
$session->query_safe('ROLLBACK TO a');
emit(300_001, 600_000);
$session->query_safe('SAVEPOINT b');
emit(600_001, 600_010);
$session->query_safe('SAVEPOINT c');
emit(1, 50_000);
$session->query_safe('RELEASE c');
emit(1, 50_000);
$session->query_safe('ROLLBACK TO b');
emit(600_001, 700_000);
$session->query_safe('RELEASE b');
emit(700_001, $events);

$memory = memory_mb($pid, 'RssAnon') - $memory;
cmp_ok($memory, '<', $max_memory_mb,
	sprintf 'memory before the commit: %.1f MB', $memory);
cmp_ok(temp_files($node), '>', 0, 'there is a temporary file');
is($session->query_safe('SELECT count(*) FROM outbox.emitted()'),
	$events - 1, 'outbox.emitted() reads it');
my $peak = memory_mb($pid, 'VmHWM');
$session->query_safe('COMMIT');

# The commit reads all of the server's shared buffers, 32 MB.
$memory = memory_mb($pid, 'VmHWM') - $peak;
cmp_ok($memory, '<', 32 + $max_memory_mb,
	sprintf 'memory at the commit: %.1f MB', $memory);
is(temp_files($node), 0, 'the temporary file is gone');
ok(wait_published($node), 'published');
$memory = memory_mb(relay_pid($node), 'VmHWM');
cmp_ok($memory, '<', $max_relay_memory_mb,
	sprintf 'memory of the relay: %.1f MB', $memory);
ok($counter->drain, 'read');
is($Counter::count, $events, 'all have arrived');
is(scalar @Counter::wrong, 0, 'in order')
  or diag join "\n", @Counter::wrong[ 0 .. 4 ];

note 'a large transaction that is rolled back';
$session->query_safe('BEGIN');
emit(1, 100_000);
cmp_ok(temp_files($node), '>', 0, 'there is a temporary file');
$session->query_safe('ROLLBACK');
is(temp_files($node), 0, 'it is gone');

note '20000 exception blocks, half of them fail';
$session->query_safe(<<~'END');
	SET work_mem = '64kB';
	DO $$
	BEGIN
		FOR i IN 1 .. 20000 LOOP
			BEGIN
				PERFORM outbox_emit('tx', 'k', i::text);
				IF i % 2 = 0 THEN
					RAISE 'fails';
				END IF;
			EXCEPTION WHEN raise_exception THEN NULL;
			END;
		END LOOP;
	END $$
	END
ok(wait_published($node) && $consumer->drain, 'published');
is_deeply(
	[ map { $_->{payload} } $consumer->records ],
	[ map { 2 * $_ - 1 } 1 .. 10_000 ],
	'exactly the events of the other half, in order');
is($counter->drain && $Counter::count, $events, 'nothing else has come');

$session->quit;
$node->stop;
done_testing();
