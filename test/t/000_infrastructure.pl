# The test infrastructure by itself: if this fails, the other tests prove
# nothing.  The extension is not needed.
#
# Catches: a check of what arrived that would not find what it is for; faults
# that do not happen when they are ordered.

use strict;
use warnings;

use OutboxTest;
use PostgreSQL::Test::Utils;
use Test::More;

sub values_of
{
	return sort map { $_->{payload} } @_;
}

# What a consumer must not confuse.
my $mock = OutboxTest::Mock->new(brokers => 2, topics => { single => 1 });
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);

# A broker that is down must find its port free when it comes back.
my ($outgoing) = slurp_file('/proc/sys/net/ipv4/ip_local_port_range') =~ /(\d+)/;
is(scalar(grep { $_ >= $outgoing } $mock->bootstrap =~ /:(\d+)/g),
	0, 'brokers have ports that outgoing connections do not get');

kcat($mock->bootstrap, "key\\with\ttab:va\\N:lue\ttab\n",
	qw(-P -t single -K :),
	'-H', 'b=1,c=2', '-H', 'a=', '-H', 'a', '-H', 'a=x', '-H', 'event_id=e1');
kcat($mock->bootstrap, ":\n", qw(-P -t single -K : -Z));
kcat($mock->bootstrap, "a\r\nb", qw(-P -t single -D x -H event_id=e1));
ok($consumer->wait_for(3, 60), 'three records');

my ($first, $second, $third) = $consumer->records;
is($first->{key}, "key\\with\ttab", 'key with backslash and tab');
is($first->{payload}, "va\\N:lue\ttab", 'payload likewise');
is_deeply(
	$first->{headers},
	[ [ b => '1,c=2' ], [ a => '' ], [ a => undef ], [ a => 'x' ], [ event_id => 'e1' ] ],
	'headers in order, repeated, empty and NULL');
is($first->{event_id}, 'e1', 'event_id');
cmp_ok(abs($first->{timestamp} / 1000 - time), '<', 300, 'timestamp');
is($second->{payload}, undef, 'NULL payload');
is_deeply($second->{headers}, [], 'no headers');
is($second->{event_id}, undef, 'no event_id');
is($third->{payload}, "a\r\nb", 'payload with line ends');
is($third->{key}, undef, 'NULL key');
is_deeply([ map { $_->{offset} } $consumer->records ], [ 0, 1, 2 ], 'offsets');
is($consumer->events, 1, 'different events');
ok($consumer->drain, 'drained');
is($consumer->count, 3, 'and nothing more');
is_deeply([ $consumer->gaps ], [], 'no gaps');

# A topic that came later, and a consumer of some topics only.
my $other = OutboxTest::Consumer->new(
	bootstrap => $mock->bootstrap,
	topics => ['later']);
kcat($mock->bootstrap, "1\n2\n3\n", qw(-P -t later));
ok($consumer->wait_for(6, 60), 'new topic is found');
ok($other->wait_for(3, 60), 'new topic of that name is found');
ok($other->drain, 'drained');
is_deeply([ values_of($other->records) ], [ 1, 2, 3 ], 'only that topic');
$other->stop;
ok(!eval { $other->wait_for(4, 60); 1 }, 'a stopped consumer is noticed');

# Faults.
my @impatient = qw(-P -t later -X message.timeout.ms=700);
$mock->command('down');
ok(!eval { kcat($mock->bootstrap, "4\n", @impatient); 1 }, 'down');
$mock->command('up');
kcat($mock->bootstrap, "4\n", qw(-P -t later));
ok($consumer->wait_for(7, 60), 'consumer survives');

$mock->command('drop');
kcat($mock->bootstrap, "5\n", qw(-P -t later));
ok($consumer->wait_for(8, 60), 'consumer survives a lost connection');

$mock->command('fail Produce 1 MSG_SIZE_TOO_LARGE');
ok(!eval { kcat($mock->bootstrap, "6\n", qw(-P -t later)); 1 },
	'fail by name');
like($@, qr/too large/i, 'with that error');
$mock->command('fail Produce 1000 NOT_ENOUGH_REPLICAS');
ok(!eval { kcat($mock->bootstrap, "6\n", @impatient); 1 },
	'fail again and again');
$mock->command('clear Produce');
kcat($mock->bootstrap, "6\n", qw(-P -t later));

$mock->command('topic refused 1');
$mock->command('refuse refused TOPIC_EXCEPTION');
ok(!eval { kcat($mock->bootstrap, "7\n", qw(-P -t refused)); 1 }, 'refuse');
$mock->command('allow refused');
kcat($mock->bootstrap, "7\n", qw(-P -t refused));

$mock->command('leader single 0 1');
$mock->command('leader single 0 2');
kcat($mock->bootstrap, "8\n", qw(-P -t single));
$mock->command('rtt 1000');
ok(!eval { kcat($mock->bootstrap, "9\n", @impatient); 1 }, 'rtt');
$mock->command('rtt 0');
ok($consumer->drain, 'drained');
is((grep { ($_->{payload} // '') =~ /^[6-8]$/ } $consumer->records),
	3, 'each of these once');

for my $wrong ('', 'nonsense', 'down 3', 'rtt', 'fail Produce 0 1',
	'fail Produce 1 NONSENSE', 'topic single 1')
{
	ok(!eval { $mock->command($wrong); 1 }, "refused: \"$wrong\"");
}

# Speed, as far as tests depend on it.
my $bulk = OutboxTest::Consumer->new(
	bootstrap => $mock->bootstrap,
	topics => ['bulk']);
kcat($mock->bootstrap, join('', map { "$_\n" } 1 .. 50_000), qw(-P -t bulk));
ok($bulk->wait_for(50_000, 60), '50000 records');
is_deeply(
	[ sort { $a <=> $b } map { $_->{payload} } $bulk->records ],
	[ 1 .. 50_000 ],
	'none lost');

# The check itself must find what it is for.
my @events = map {
	{ id => $_, event_id => "e$_", topic => 't', key => 'k', payload => "p$_" }
} 1 .. 4;
my @good = map { { %$_, partition => 0, offset => $_->{id} } } @events;
is(check_delivery(\@events, [ @good, $good[3] ], 'good'), 1, 'one duplicate');
is(check_delivery(\@events, [ @good[ 0, 1, 0, 1, 2, 3 ] ], 'again'),
	2, 'a repeated stretch is in order');

sub problems
{
	my $found = OutboxTest::Delivery::compare(\@events, [@_]);

	return join ' ',
	  map { scalar @{ $found->{$_} } } qw(lost invented misplaced);
}
is(problems(@good[ 0, 1, 3 ]), '1 0 0', 'lost');
is(problems(@good, { %{ $good[0] }, event_id => 'e9' }),
	'0 1 0', 'invented');
is(problems(@good, { %{ $good[0] }, event_id => undef }),
	'0 1 0', 'without event_id');
is(problems(@good[ 1 .. 3 ], { %{ $good[0] }, payload => undef }),
	'1 1 0', 'with another payload');
is(problems(@good[ 0, 2, 1, 3 ]), '0 0 1', 'out of order');
is(problems(@good[ 0 .. 2 ], { %{ $good[3] }, partition => 1 }),
	'0 0 1', 'in another partition');

# A server, load on it, and processes that end as told.
my $node = outbox_node('plain', preload => 0);
$node->safe_psql('postgres', 'CREATE TABLE t (n int)');
pgbench($node, 'INSERT INTO t VALUES (1)', clients => 4, transactions => 25);
is($node->safe_psql('postgres', 'SELECT count(*) FROM t'), 100, 'pgbench');
ok(!eval { pgbench($node, 'SELECT nonsense'); 1 }, 'pgbench that fails');
my $load = pgbench($node, 'INSERT INTO t VALUES (2)',
	duration => 600, background => 1);
ok( wait_until(
		60,
		sub {
			$node->safe_psql('postgres', 'SELECT count(*) FROM t') > 100;
		},
		'load'),
	'pgbench in the background');
$load->stop;
ok(!$load->is_running, 'is stopped');
ok(!eval { wait_until(0, sub { 0 }, 'never'); 1 }, 'wait_until gives up');

my $pid = $mock->pid;
undef $mock;
ok(!kill(0, $pid), 'a forgotten mock is gone');

done_testing();
