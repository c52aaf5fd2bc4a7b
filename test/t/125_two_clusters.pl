# Two Kafka clusters: default publishes all to the first, audit some topics under
# other names to the second, which is away for a while; and the server crashes
# meanwhile.
#
# Catches: a relay that publishes what is not its own, or under a wrong name; one
# that loses or reorders events when its cluster is away, or when the server
# crashes; and one that has the other wait for its cluster.

use strict;
use warnings;

use File::Path qw(make_path);
use OutboxTest;
use OutboxTest::Server;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

if (my $why = OutboxTest::Kafka->skip_reason)
{
	plan skip_all => $why;
}

my $most = 15;    # seconds that default may need for an event, on a busy machine
my %cluster = map { $_ => OutboxTest::Kafka->new(start => 0) } qw(default audit);

OutboxTest::Kafka::start_all(values %cluster);
for my $topic (qw(orders.new orders.paid stock))
{
	$cluster{default}->create_topic($topic, 2);
	$cluster{audit}->create_topic("copy.$topic", 2);
}
my %consumer =
  map { $_ => OutboxTest::Consumer->new(bootstrap => $cluster{$_}->bootstrap) } keys %cluster;

my $node = outbox_node('main',
	bootstrap => $cluster{default}->bootstrap,
	extension => 1);
my $dir = $node->data_dir . '/outbox.d';
make_path($dir);
append_to_file("$dir/audit.properties", 'bootstrap.servers=' . $cluster{audit}->bootstrap . "\n");
chmod 0600, "$dir/audit.properties" or die;
query(q(SELECT outbox.create_relay('audit', topics => '{orders.*}', topic_prefix => 'copy.')));

sub stat_relay
{
	my ($relay, $columns) = @_;

	return query("SELECT $columns FROM outbox.stat_relay WHERE relay = '$relay'");
}

sub wait_relay
{
	my ($relay, $condition, $what) = @_;

	$node->poll_query_until('postgres',
		"SELECT $condition FROM outbox.stat_relay WHERE relay = '$relay'")
	  or die "$relay: $what";
	return;
}

# How long default takes for an event that is emitted now.
sub default_takes
{
	my $start = time;
	my $id = query(q(SELECT outbox_emit('stock', 'probe', 'x')));

	wait_until(undef, sub { $consumer{default}->has($id) }, 'an event of default');
	return time - $start;
}

my $load = sub {
	return pgbench($node, <<~'END', clients => 4, rate => 300, duration => 600, background => 1);
		\set key random(1, 10)
		SELECT outbox_emit('orders.new', :key, 'x'), outbox_emit('stock', :key, 'x'),
			outbox_emit('orders.paid', :key, 'x');
		END
};

# What a cluster has is what is its own, in order; returns how much came twice.
sub check
{
	my ($relay, $where, $prefix, $name) = @_;
	my @events = events($node, 'postgres', $where);

	$_->{topic} = "$prefix$_->{topic}" for @events;
	ok($consumer{$relay}->drain, "$name: read");
	return check_delivery(\@events, [ $consumer{$relay}->records ], $name);
}

my $running = $load->();
$_->wait_for_events(300) or die for values %consumer;
my $pid = stat_relay('default', 'pid');

note 'the second cluster is killed';
my @takes;
$cluster{audit}->kill9;
wait_relay('audit', q(state = 'unavailable'), 'it does not tell an outage');
push @takes, default_takes() for 1 .. 10;
is(stat_relay('default', 'state, pid'), "publishing|$pid", 'default goes on');

note 'the server crashes';
crash($node);
$running->stop;
$node->start;
$running = $load->();
wait_relay('audit', q(state = 'unavailable'), 'it does not tell an outage');
push @takes, default_takes() for 1 .. 10;
wait_relay('audit', 'pending_events > 1000', 'no backlog');
cmp_ok(stat_relay('default', 'pending_events'), '<', 1000, 'default has none');

note 'it is back';
$cluster{audit}->start;
wait_relay('audit', q(state = 'publishing' AND pending_events < 1000), 'it does not catch up');
push @takes, default_takes() for 1 .. 10;
stop_load($node, $running);
cmp_ok((sort { $a <=> $b } @takes)[-1], '<', $most, 'default never waited');
ok(wait_published($node), 'all is published');
check('default', 'true', '', 'default');
check('audit', "topic LIKE 'orders.%'", 'copy.', 'audit');

$node->stop;
$_->stop for values %cluster;
done_testing();
