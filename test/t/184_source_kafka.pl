# What a subscription reads from a real Kafka: compressed batches, transactions,
# what cannot be read, what retention has passed.
#
# Catches: a message of a transaction that was aborted; a mark of a transaction
# that counts as lag; a batch with a wrong checksum that is jumped over in
# silence, or stops other partitions; an offset that is not there any more, and
# another one that is taken for it; offsets that tools for lag do not see.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Kafka;
use OutboxTest::Producer;
use OutboxTest::Server;
use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;

if (my $why = OutboxTest::Kafka->skip_reason) { plan skip_all => $why }

my $kafka = OutboxTest::Kafka->new;
$kafka->create_topic('any', 3);

sub producer { return OutboxTest::Producer->new(bootstrap => $kafka->bootstrap, properties => {@_}); }

for my $type (qw(none gzip snappy lz4 zstd))
{
	my $producer = producer('compression.type' => $type);

	$producer->send('any', 0, "$type$_", $type x 200) for 1 .. 3;
	$producer->flush;
}
my $transactions = producer('transactional.id' => 'tx');
for my $end (qw(C A C A))
{
	$transactions->command('B');
	$transactions->send('any', 1, "tx $end", $end);
	$transactions->flush;
	$transactions->command($end);
}
my $plain = producer();
$plain->send('any', 2, 'plain', "number $_"), $plain->flush for 0 .. 3;

# The second batch of partition 2 has a wrong checksum: Kafka hands it out as
# it is.
$kafka->stop;
my ($log) = glob "$kafka->{dir}/data/any-2/*.log";
my $bytes = slurp_file($log);
open(my $file, '+<:raw', $log) or die "$log: $!";
seek($file, index($bytes, 'number 1'), 0) or die "$log: $!";
print $file 'N';
close($file) or die "$log: $!";
$kafka->start;

my $node = outbox_node('main', bootstrap => $kafka->bootstrap, extension => 1);
query(<<~'END');
	CREATE TABLE got (n serial, m outbox.message);
	CREATE FUNCTION take(m outbox.message) RETURNS void
		LANGUAGE sql BEGIN ATOMIC INSERT INTO public.got (m) VALUES (m); END;
	SELECT outbox.subscribe('all', '{any}', 'take(outbox.message)', start => 'earliest', group_id => 'us');
	END

sub keys_of
{
	my ($partition) = @_;

	return query(qq{SELECT string_agg((m).key || ':' || (m)."offset", ' ' ORDER BY n) FROM got WHERE (m).partition = $partition});
}

wait_until(60, sub { query('SELECT count(*) FROM got') == 15 + 2 + 1 }, 'what can be read has come');
is(keys_of(0), join(' ', map { my $type = (qw(none gzip snappy lz4 zstd))[ $_ / 3 ]; "$type" . ($_ % 3 + 1) . ":$_" } 0 .. 14),
	'compressed batches');
is(keys_of(1), 'tx C:0 tx C:4', 'transactions that were committed');
is(keys_of(2), 'plain:0', 'nothing behind a batch that cannot be read');
wait_until(60,
	sub { query('SELECT last_error FROM outbox.stat_subscription') =~ /offset 1 .*failed CRC32C check/ },
	'why is told');

# Other partitions go on; and this one, when it is told to.
$plain->send('any', 0, 'meanwhile', 'x');
$plain->flush;
wait_until(60, sub { keys_of(0) =~ /meanwhile:15$/ }, 'other partitions go on');
query(q{SELECT outbox.seek('all', to_offset => 2, topic => 'any', partition => 2)});
wait_until(60, sub { keys_of(2) eq 'plain:0 plain:2 plain:3' }, 'seek() gets past it');
wait_until(60, sub { query('SELECT sum(lag_messages) FROM outbox.stat_subscription') == 0 },
	'marks of transactions are no lag');

# What tools for lag see
wait_until(60, sub {
	my $groups = $kafka->run('org.apache.kafka.tools.consumer.group.ConsumerGroupCommand',
		'--bootstrap-server', $kafka->bootstrap, '--describe', '--group', 'us');
	return $groups =~ /any\s+0\s+16\s+16\s+0/ && $groups =~ /any\s+2\s+4\s+4\s+0/;
}, 'offsets are told to Kafka');

$node->stop('fast');
done_testing();
