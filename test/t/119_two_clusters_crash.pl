# Two relays to two clusters, with segments that are used in turn and emptied
# under load, while one cluster is away, a relay is killed, the server crashes,
# and one relay is dropped and made again.
#
# Catches: a segment that is emptied before the slower relay has published it;
# an event that one relay loses, or publishes out of order, because of what
# happens to the other; a relay of the same name that goes on where the dropped
# one was; one that does not come back after a crash.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Counter;
use OutboxTest::Server;
use PostgreSQL::Test::Utils;
use Test::More;

my ($mock, $consumer, $node) = counter_node("max_worker_processes = 12\nrestart_after_crash = on\n");
my $theirs = OutboxTest::Mock->new(topics => { count => 2 });
my $audit = OutboxTest::Consumer->new(bootstrap => $theirs->bootstrap, topics => ['count']);
my $dir = $node->data_dir . '/outbox.d';

mkdir $dir;
append_to_file("$dir/audit.properties", 'bootstrap.servers=' . $theirs->bootstrap . "\n");
chmod 0600, "$dir/audit.properties";

# key => what it has counted to
sub counters { return map { split /\|/ } split /\n/, query('TABLE counter'); }

sub of
{
	my ($relay, $column) = @_;

	return query("SELECT $column FROM outbox.stat_relay WHERE relay = '$relay'");
}

# Both clusters go on from where they are now.
sub both_go_on
{
	my ($name) = @_;
	my $goal = counter_sum($node) + 100;
	my $last;

	wait_until(undef, sub { counter_sum($node) > $goal }, "$name: commits");
	$last = query('SELECT last_value FROM outbox.event_id_seq');
	wait_until(undef,
		sub { query("SELECT count(*) FROM outbox.stat_relay WHERE position >= $last AND pid IS NOT NULL") == 2 },
		$name);
	return pass($name);
}

# What the second cluster has of each key counts from $from on without a gap.
sub audit_check
{
	my ($from, $name) = @_;
	my (%seen, @wrong);

	ok($audit->drain, "$name: read");
	for my $record ($audit->take)
	{
		my ($key, $n) = @{$record}{qw(key payload)};

		next if $n <= ($from->{$key} // 0);
		$seen{$key} //= $from->{$key} // 0;
		push @wrong, "key $key: $n after $seen{$key}" if $n > $seen{$key} + 1;
		$seen{$key} = $n if $n > $seen{$key};
	}
	is_deeply([ @wrong[ 0 .. ($#wrong < 5 ? $#wrong : 5) ] ], [], "$name: no gap, in order");
	is_deeply(\%seen, {counters()}, "$name: up to the last one");
	return;
}

query(q(SELECT outbox.create_relay('audit', topics => '{coun*}')));
my $load = counter_load($node, rate => 400);
both_go_on('both publish');

note 'one cluster is away, for several turns of the ring';
$theirs->command('down');
my $behind = of('audit', 'position');
for my $round (1 .. 3)
{
	counter_goes_on($node, "the other goes on, $round", not_published => 1);
}
ok(stays(3, sub { query("SELECT min(id) FROM outbox.event") <= $behind + 1 }),
	'what the slower one has not published stays');
is(of('default', "state || ' ' || (position > $behind + 500)"), 'publishing true',
	'the other is not concerned');
$theirs->command('up');
both_go_on('it is back');
wait_emptied($node, 1, 0 .. 2);

note 'a relay is killed, and all sessions of the server with it';
kill 'KILL', of('audit', 'pid');
$load->wait;
wait_until(undef,
	sub {
		my ($status, $out) = $node->psql('postgres', 'SELECT count(pid) FROM outbox.stat_relay');
		return $status == 0 && $out eq '2';
	},
	'both are back');
$load = counter_load($node, rate => 400);
both_go_on('it was killed');

note 'a crash, while one cluster is away';
$theirs->command('down');
counter_goes_on($node, 'the other goes on', not_published => 1);
crash($node);
$load->wait;
$node->start;
$load = counter_load($node, rate => 400);
my $goal = counter_sum($node) + 200;
wait_until(undef, sub { counter_sum($node) > $goal }, 'commits go on');
$theirs->command('up');
both_go_on('after the crash');
stop_load($node, $load);
wait_until(undef, sub { query('SELECT sum(pending_events) FROM outbox.stat_relay') == 0 }, 'published');
counter_check($node, $consumer, 'default');
audit_check({}, 'audit');

note 'dropped, and made again';
query(q(SELECT outbox.drop_relay('audit', discard => true)));
$load = counter_load($node, rate => 400);
counter_goes_on($node, 'without it', not_published => 1);
stop_load($node, $load);
my %made = counters();
query(q(SELECT outbox.create_relay('audit')));
$load = counter_load($node, rate => 400);
both_go_on('made again');
stop_load($node, $load);
wait_until(undef, sub { query('SELECT sum(pending_events) FROM outbox.stat_relay') == 0 }, 'published');
counter_check($node, $consumer, 'default');
audit_check(\%made, 'audit, from now on');

$node->stop;
done_testing();
