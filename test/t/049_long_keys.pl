# Keys as long as an event may be, of characters that do not compress: they are
# parked, wait, die, are requeued, found, discarded and replayed like any other.
#
# Catches: an index that refuses such a key, and with it the relay that wants to
# park it, or a requeue of everything; and a memory of what is blocked that
# grows with the length of the keys.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use Test::More;

my @lengths = (3_200, 900_000);

my $mock = OutboxTest::Mock->new(topics => { t => 1, late => 1 });
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1,
	conf => <<~'END');
		outbox.retry_base_delay = 300ms
		outbox.retry_max_delay = 300ms
		outbox.retry_max_attempts = 0
		END
my $log = log_end($node);

# What has arrived in a topic: the payloads of each key, by the key's length
sub arrived
{
	my ($topic) = @_;
	my %of;

	push @{ $of{ length $_->{key} } }, $_->{payload}
	  for grep { $_->{topic} eq $topic } $consumer->records;
	return { map { $_ => join(' ', @{ $of{$_} }) } keys %of };
}

sub emit
{
	my ($topic, $payload) = @_;

	query("SELECT outbox_emit('$topic', key, '$payload') FROM keys ORDER BY n");
	return;
}

query('CREATE TABLE keys (n int, key text)');
query("INSERT INTO keys SELECT $_, string_agg(chr(33 + (random() * 90)::int), '')"
	  . " FROM generate_series(1, $_)")
  for @lengths;
query(q{SELECT outbox_emit('t', 'first', 'x')});
ok(wait_published($node), 'it runs');
my $pid = relay_pid($node);

note 'a topic that cannot be written to';
$mock->command('refuse late UNKNOWN_TOPIC_OR_PART');
emit('late', $_) for 1 .. 3;
wait_rows(3 * @lengths, "topic = 'late'");
is(query(q{SELECT scope, waiting FROM outbox.blocked}),
	'topic|' . (3 * @lengths - 1), 'the topic is blocked');
$mock->command('allow late');
wait_rows(0, 'true');
ok($consumer->drain, 'read');
is_deeply(arrived('late'), { map { $_ => '1 2 3' } @lengths },
	'all come, in order, once');

note 'keys whose events are refused for now';
$mock->command('fail Produce 100000 INVALID_TIMESTAMP');
emit('t', $_) for 1 .. 2;
wait_rows(scalar @lengths, "state = 'retrying'");
emit('t', 3);
wait_rows(3 * @lengths, 'true');
is(query(q{SELECT count(*), min(waiting) FROM outbox.blocked WHERE scope = 'key'}),
	@lengths . '|2', 'each key is blocked');
is(query('SELECT count(*) FROM keys k JOIN outbox.event_status s USING (key) WHERE status IN (\'retrying\', \'waiting\')'),
	3 * @lengths, 'they are found by their keys');
my $scans = q{SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'parked_block'};
my $before = query($scans);
$node->poll_query_until('postgres', "SELECT ($scans) > $before")
  or fail('the relay uses the index');

note 'dead letters';
conf_reload($node, 'outbox.retry_max_attempts = 2');
wait_rows(3 * @lengths, "state = 'dead'");
$mock->command('clear Produce');
is(query('SELECT count(*) FROM keys k, outbox.discard(key => k.key, until => now()) WHERE n = 3200'),
	3, 'some are discarded, by their key');
is(query('SELECT count(*) FROM keys k, outbox.requeue(key => k.key) WHERE n <> 3200'),
	3, 'the others are requeued, by their key');
wait_rows(0, 'true');
emit('t', 4);
ok(wait_published($node), 'published');
ok($consumer->drain, 'read');
is_deeply(arrived('t'),
	{ 5 => 'x', 3200 => '4', 900_000 => '1 2 3 4' }, 'they come in order, once');

note 'a replay';
my $job = query("SELECT outbox.replay(key => (SELECT key FROM keys WHERE n = 900000), topic => 't')");
$node->poll_query_until('postgres',
	"SELECT state = 'done' FROM outbox.stat_replay WHERE id = $job")
  or die 'no replay';
is(query("SELECT replayed FROM outbox.stat_replay WHERE id = $job"), 4, 'replayed');

is(relay_pid($node), $pid, 'it is the same relay');
is(log_lines($node, $log, qr/ERROR:/), 0, 'nothing has failed');

$node->stop;
done_testing();
