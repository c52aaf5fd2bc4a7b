# New settings while an event has just failed, and others of the same sink have
# no answer yet.
#
# Catches: a relay that applies what the old sink said to the window of the new
# one: it "parks event 0", or another event that happens to have the number of
# the one that failed, and closes the new sink.

use strict;
use warnings;

use OutboxTest;
use Test::More;

my $mock = OutboxTest::Mock->new(brokers => 2, topics => { bad => 1, slow => 1 });
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1,
	conf => q{outbox.retry_base_delay = 100ms});

# Until the sink has all that is committed.
sub wait_handed_over
{
	return $node->poll_query_until('postgres',
		'SELECT horizon > last_value FROM outbox.stat_relay, outbox.event_id_seq')
	  || die 'not handed over';
}

$mock->command('leader bad 0 1');
$mock->command('leader slow 0 2');
query(q{SELECT outbox_emit('bad', 'k', 'first'), outbox_emit('slow', 'k', 'first')});
ok(wait_published($node), 'it works');
my $pid = relay_pid($node);
my $log = -s $node->logfile;

# The topic fails after 3 s, while the new settings wait for its answer, and for
# those of the second broker.
$mock->command('refuse missing UNKNOWN_TOPIC_OR_PART');
query(q{SELECT outbox_emit('missing', 'k', 'x')});
wait_handed_over();
$mock->command('rtt 4000 2');
query(q{SELECT outbox_emit('slow', 'k', 'x')});
wait_handed_over();
query(q{ALTER SYSTEM SET outbox.kafka_properties = 'client.rack=other'});
$node->reload;
query(q{SELECT outbox_emit('bad', 'k', 'next')});
wait_until(undef, sub { $node->log_contains('publishes to', $log) },
	'the new settings are used');
$mock->command('rtt 0');
ok(wait_published($node), 'published');
$mock->command('allow missing');
wait_until(undef, sub { query('SELECT count(*) FROM outbox.parked') == 0 },
	'nothing is parked');
ok($consumer->drain, 'read');
is(check_delivery([ events($node) ], [ $consumer->records ]),
	0, 'nothing twice');
unlike(PostgreSQL::Test::Utils::slurp_file($node->logfile, $log),
	qr/event 0 is/,
	'no other event is taken for the one that failed');
is(relay_pid($node), $pid, 'it is the same process');

$node->stop;
done_testing();
