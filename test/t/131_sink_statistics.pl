# How long brokers take to answer, and how long they make the relay wait, in
# outbox.stat_relay.
#
# Catches figures that stand still, or are those of an answer long ago; one that
# a broker makes absurd, by saying that it throttles for weeks; and ones that
# keep an idle relay awake.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Hostile;
use OutboxTest::Server;
use Test::More;

my $rtt_ms = 50;

my $mock = OutboxTest::Mock->new;
my $node = outbox_node('main', bootstrap => $mock->bootstrap, extension => 1);

# Emits until the figures are as they should be.
sub told
{
	my ($condition, $name) = @_;

	wait_until(
		undef,
		sub {
			query("SELECT outbox_emit('t', 'key', 'x')");
			wait_published($node);
			return query("SELECT $condition FROM outbox.stat_relay") eq 't';
		},
		$name);
	return pass($name);
}

is(query('SELECT round_trip_ms IS NULL AND throttle_ms IS NULL FROM outbox.stat_relay'),
	't', 'none yet');
told('round_trip_ms > 0', 'a round trip');
told('throttle_ms = 0 AND throttle_max_ms = 0', 'nothing is throttled');

$mock->command("rtt $rtt_ms");
# an answer takes so long at least; the last one of before may be in there, too
told("round_trip_ms >= $rtt_ms AND round_trip_p99_ms >= $rtt_ms", 'brokers have become slow');
$mock->command('rtt 0');
told("round_trip_ms < $rtt_ms", 'and quick again');

# a broker that says so in each of its answers
my $hostile = OutboxTest::Hostile->new;
$hostile->mode('throttle');
$node->append_conf('postgresql.conf', "outbox.bootstrap_servers = '" . $hostile->bootstrap . "'");
conf_taken($node);
told('throttle_ms > 1e9 AND throttle_max_ms > 1e9', 'a broker that throttles for weeks');

$node->stop;
done_testing();
