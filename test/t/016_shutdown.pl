# A fast shutdown takes a moment, whatever the brokers do: serve, be down,
# accept connections and say nothing, or stop answering with requests under way.
# Afterwards publishing goes on where it stopped.
#
# Catches: a relay that waits for its broker, for the threads of the library or
# for somebody's lock, and one that does not write its position when it is told
# to end, whatever it does just then, or what has been published beyond it.

use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;
use OutboxTest;
use Test::More;
use Time::HiRes qw(time);

my $limit = 5;    # seconds

my $mock = OutboxTest::Mock->new;
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1);

sub emit
{
	my ($count, $payload) = @_;

	return query("SELECT count(outbox_emit('stop', i % 10, '$payload' || i))"
		  . " FROM generate_series(1, $count) i");
}

sub stop_in_time
{
	my ($name) = @_;
	my $start = time;

	$node->stop('fast');
	cmp_ok(time - $start, '<', $limit, "$name: fast shutdown");
	return;
}

# Everything is there after the start; returns how much was repeated.
sub goes_on
{
	my ($name) = @_;

	ok(wait_published($node) && $consumer->drain, "$name: all is published");
	return check_delivery([ events($node) ], [ $consumer->records ], $name);
}

note 'a broker that serves, under load';
my $load = pgbench($node, <<~'END',
	\set key random(1, 20)
	SELECT outbox_emit('stop', :key, 'load');
	END
	clients => 4,
	rate => 500,
	duration => 600,
	background => 1);
$consumer->wait_for(1000) or die 'no load';
stop_in_time('live');
$load->stop;
$node->start;
is(goes_on('live'), 0, 'live: nothing is repeated');

note 'told to end in a transaction that waits for a lock';
query(<<~'END');
	CREATE SEQUENCE writes;
	CREATE TABLE waits (number bigint);
	CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF nextval('public.writes') IN (SELECT number FROM public.waits) THEN
			PERFORM pg_advisory_xact_lock(1);
		END IF;
		RETURN NEW;
	END $$;
	CREATE TRIGGER wait BEFORE INSERT ON outbox.position_0 FOR EACH ROW EXECUTE FUNCTION wait();
	ALTER TABLE outbox.position_0 ENABLE ALWAYS TRIGGER wait;
	END
my $holder = $node->background_psql('postgres');
$holder->query_safe('SELECT pg_advisory_lock(1)');
my $repeated = 0;
for my $numbers ('1', '1, 2')
{
	query("SELECT setval('writes', 1, false); TRUNCATE waits;"
		  . " INSERT INTO waits SELECT unnest(ARRAY[$numbers])");
	emit(300, "waits at $numbers ");
	my $pid = relay_pid($node);
	$node->poll_query_until('postgres',
		"SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $pid")
	  or die 'the relay does not wait';
	is(query("SELECT pg_terminate_backend($pid, ${limit}000)"),
		't', "waits at $numbers: it ends");
	query("TRUNCATE waits");
	wait_next_relay($node, $pid);
	$repeated += 300 if $numbers ne '1';
	is(goes_on("waits at $numbers"), $repeated,
		"waits at $numbers: no more is repeated than it must");
}
$holder->quit;
query('DROP FUNCTION wait CASCADE; DROP TABLE waits; DROP SEQUENCE writes');

note 'an event without an answer, and later ones that have theirs';
$mock->command('topic leaderless 1');
$mock->command('leader leaderless 0 -1');
query(q{SELECT outbox_emit('leaderless', 'k', 'x')});
emit(100, 'beyond ');
wait_until(undef, sub { 100 == grep { $_->{payload} =~ /^beyond/ } $consumer->records },
	'the later ones are published');
replace_relay($node) for 1 .. 2;
is(query(q{SELECT count(*) FROM outbox.parked WHERE topic = 'leaderless'}), 0, 'beyond: it keeps the position back');
$mock->command('leader leaderless 0 1');
is(goes_on('beyond'), $repeated, 'beyond: nothing is repeated by the next processes');

note 'a broker that is down';
$mock->command('down');
is(emit(300, 'down '), 300, 'down: the application does not notice');
wait_state($node, 'unavailable');
stop_in_time('down');
$node->start;
is(query('SELECT pending_events FROM outbox.stat_relay'),
	300, 'down: events are kept');
stop_in_time('down, again');
$mock->command('up');
$node->start;
is(goes_on('down'), $repeated, 'down: nothing is repeated');

note 'a broker that accepts connections and says nothing';
my $silent = IO::Socket::INET->new(
	LocalAddr => '127.0.0.1',
	Proto => 'tcp',
	Listen => 50) or die "listen: $!";
$node->append_conf('postgresql.conf',
	"outbox.bootstrap_servers = '127.0.0.1:" . $silent->sockport . q('));
$node->reload;
ok(IO::Select->new($silent)->can_read(60), 'silent: the relay connects');
emit(300, 'silent ');
stop_in_time('silent');
$node->append_conf('postgresql.conf',
	"outbox.bootstrap_servers = '${\ $mock->bootstrap}'");
$node->start;
is(goes_on('silent'), $repeated, 'silent: nothing is repeated');

note 'a broker that stops answering';
$mock->command('rtt 1000000');
emit(300, 'no answer ');
wait_state($node, 'unavailable');
stop_in_time('no answer');
$mock->command('rtt 0');
$mock->command('drop');
$node->start;
cmp_ok(goes_on('no answer'), '<=', $repeated + 300,
	'no answer: at most what had no answer is repeated');

$node->stop;
done_testing();
