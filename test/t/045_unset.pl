# outbox.bootstrap_servers is cleared by a reload while events are published:
# publishing stops, as in a copy of a database that must not publish. Set again,
# it goes on: nothing lost, nothing repeated, in order; also at other brokers.
#
# Catches: a relay that takes "unset" for a mistake and goes on with the old
# brokers; and one that forgets, or sends again, what was on its way.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use Test::More;

my ($mock_a, $mock_b) = map { OutboxTest::Mock->new } 1 .. 2;
my @consumers =
  map { OutboxTest::Consumer->new(bootstrap => $_->bootstrap) } $mock_a, $mock_b;
my $node = outbox_node('main', bootstrap => $mock_a->bootstrap, extension => 1);
my $load = pgbench($node, <<~'END', clients => 3, rate => 400, duration => 600, background => 1);
	\set k random(1, 20)
	SELECT outbox_emit('t', 'k' || :k, :client_id || ' ' || clock_timestamp());
	END

sub wait_unset
{
	wait_state($node, 'unconfigured');
	return;
}

sub count { my $n = 0; $n += $_->count for @consumers; return $n; }
wait_until(undef, sub { count() > 100 }, 'traffic');
my $relay = relay_pid($node);

for my $value ('', ' , ')
{
	my $from = log_end($node);

	conf_reload($node, "outbox.bootstrap_servers = '$value'") for 1 .. 2;
	wait_unset();
	is(log_lines($node, $from, qr/unconfigured/), 1, "'$value': told once");
	ok($_->drain, 'drained') for @consumers;
	my $count = count();
	my $position = $node->safe_psql('postgres', 'SELECT position FROM outbox.stat_relay');
	$node->poll_query_until('postgres',
		'SELECT pending_events > 200 FROM outbox.stat_relay')
	  or die 'events are lost';
	ok($_->drain, 'drained') for @consumers;
	is(count(), $count, "'$value': nothing is published");
	is($node->safe_psql('postgres', 'SELECT position FROM outbox.stat_relay'),
		$position, 'the position stays');

	my $mock = $value eq '' ? $mock_a : $mock_b;
	conf_reload($node, "outbox.bootstrap_servers = '" . $mock->bootstrap . "'");
	wait_until(undef, sub { count() > $count + 300 }, 'traffic again');
}
stop_load($node, $load);
ok(wait_published($node), 'published');
ok($_->drain, 'read') for @consumers;

# cleared while nothing answers: what has no answer is not forgotten
$mock_b->command('down');
$node->safe_psql('postgres', q{SELECT outbox_emit('t', 'k1', 'late')});
wait_state($node, 'unavailable');
conf_reload($node, "outbox.bootstrap_servers = ''");
wait_unset();
conf_reload($node, "outbox.bootstrap_servers = '" . $mock_a->bootstrap . "'");

ok(wait_published($node), 'published');
ok($consumers[0]->drain, 'read again');
my ($first, $second) = map { [ $_->records ] } @consumers;
my @last = grep { $_->{payload} eq 'late' } @$first;
my @records = ((grep { $_->{payload} ne 'late' } @$first), @$second, @last);
is(check_delivery([ events($node) ], \@records, 'in all'), 0, 'nothing repeated');
is(relay_pid($node), $relay, 'by one relay');
is(relay_state($node), 'publishing', 'state');

$node->stop;
done_testing();
