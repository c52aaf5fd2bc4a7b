# topic_prefix: in the cluster of a relay, topics have names that begin with it.
# Nothing that is stored or shown has it, so whatever is told of a topic has to
# be told of the other name: that it is missing, has no leader, has failed.
#
# Catches: an event under a name of before or after a change, twice or not at
# all; a topic that is not found when its name comes back; a name that has become
# too long, and is tried for ever; copies of dead letters under another name.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use Test::More;

my $mock = OutboxTest::Mock->new(
	topics => { map { $_ => 1 } qw(eu.silent eu.late eu.refused) });
my $consumer = OutboxTest::Consumer->new(
	bootstrap => $mock->bootstrap,
	topics => [ qw(orders eu.orders eu.late eu.refused eu.copies load eu.load us.load) ]);
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1,
	conf => <<~'END');
		outbox.retry_base_delay = 200ms
		outbox.retry_max_delay = 400ms
		outbox.dead_letter_topic = 'copies'
		END

sub set_prefix
{
	query("SELECT outbox.alter_relay('default', topic_prefix => '$_[0]')");
	return;
}

sub arrived
{
	my ($topic) = @_;

	$consumer->drain or die 'not read';
	return join ' ', map { $_->{payload} }
	  grep { $_->{topic} eq $topic } $consumer->records;
}

set_prefix('eu.');
query(q{SELECT outbox_emit('orders', 'k', n::text) FROM generate_series(1, 3) n});
ok(wait_published($node), 'published');
is(arrived('eu.orders'), '1 2 3', 'with the prefix');
is( query('SELECT DISTINCT topic, status FROM outbox.event_status'),
	'orders|published', 'which is not shown');

note 'a topic that is missing';
$mock->command('refuse eu.late UNKNOWN_TOPIC_OR_PART');
query(q{SELECT outbox_emit('late', 'k', n::text) FROM generate_series(1, 3) n});
wait_parked(3);
is(query('SELECT topic, class FROM outbox.blocked'), 'late|topic', 'is blocked');
$mock->command('allow eu.late');
wait_parked(0);
is(arrived('eu.late'), '1 2 3', 'and published when it is there');

SKIP:
{
	skip 'this mock crashes without a leader', 1 unless OutboxTest::Mock::can_lose_leader();
	note 'a topic without a leader';
	$mock->command('leader eu.silent 0 -1');
	query(q{SELECT outbox_emit('silent', 'k', 'x')});
	wait_until(undef, sub {
			query(q{SELECT outbox_emit('orders', 'k', '')});
			query(q{SELECT count(*) FROM outbox.blocked WHERE topic = 'silent'}) == 1;
		}, 'blocked');
	pass('is blocked, too: the brokers were asked about it');
	$mock->command('leader eu.silent 0 1');
	wait_parked(0);
}

note 'a name that is too long';
my $topic = 'x' x 247;
query("SELECT outbox_emit('$topic', 'k', 'long')");
query(q{SELECT outbox_emit('orders', 'k', 'beside')});
ok(wait_published($node), 'nobody waits');
is( query('SELECT topic, class, error FROM outbox.dead_letter'),
	"$topic|invalid|the topic's name has 250 bytes together with topic_prefix \"eu.\" of its relay; Kafka allows 249",
	'it is a dead letter');
wait_rows(0, 'announced_at IS NULL');
is(arrived('eu.copies'), 'long', 'of which a copy is published, with the prefix');

note 'another prefix under load';
my $load = pgbench($node, <<~'END', clients => 2, rate => 300, duration => 600, background => 1);
	SELECT outbox_emit('load', 'k' || :client_id, clock_timestamp()::text);
	END
sub count_of { my ($topic) = @_; return scalar grep { $_->{topic} eq $topic } $consumer->records; }
wait_until(undef, sub { count_of('eu.load') > 100 }, 'traffic');
set_prefix('us.');
wait_until(undef, sub { count_of('us.load') > 100 }, 'traffic');
query(q{SELECT outbox.alter_relay('default', reset => '{topic_prefix}')});
wait_until(undef, sub { count_of('load') > 100 }, 'traffic');
stop_load($node, $load);
ok(wait_published($node) && $consumer->drain, 'published');
my %records = map {
	my $name = $_;
	$name => [ grep { $_->{topic} eq $name } $consumer->records ]
} qw(eu.load us.load load);
# each has a partition of its own for a key, so they are as one
my @records = map { { %$_, topic => 'load', partition => 0 } }
  map { @{ $records{$_} } } qw(eu.load us.load load);
is(check_delivery([ events($node, undef, q(topic = 'load')) ], \@records, 'in turn'),
	0, 'nothing is repeated');

$node->stop;
done_testing();
