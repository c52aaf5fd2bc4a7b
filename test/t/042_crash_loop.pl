# An event that crashes the client library, and with it the server, each time it
# is sent (test/mock/abort.c): in the stream, and parked.  After a few crashes
# it is a dead letter, and the others are published in order.  A client library
# that crashes always: the server restarts less and less often, and between two
# crashes publishing can be turned off.
#
# Catches: a relay that meets the same event again at once, forever, and a
# launcher that starts it.
#
# And relays that are killed while they publish well: no event becomes a dead
# letter for that.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use PostgreSQL::Test::Utils;
use Test::More;

my $mock = OutboxTest::Mock->new(topics => { events => 2 });
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $switch = PostgreSQL::Test::Utils::tempdir('abort') . '/always';
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	start => 0,
	conf => <<~'END');
		restart_after_crash = on
		outbox.dead_letter_topic = 'copies'
		outbox.retry_base_delay = 50ms
		outbox.retry_max_delay = 100ms
		END

# A postmaster that has seen no crash yet
sub start
{
	local $ENV{LD_PRELOAD} = OutboxTest::Mock::program('abort.so');
	local $ENV{OUTBOX_TEST_ABORT} = $switch;

	$node->stop if -e $node->data_dir . '/postmaster.pid';
	$node->start;
	return;
}
start();
$node->safe_psql('postgres', 'CREATE EXTENSION outbox');

# Sessions are ended by each crash, so it may take more than one.
sub query_again
{
	my ($sql) = @_;

	return wait_until(
		undef,
		sub {
			my ($status, $out) = $node->psql('postgres', $sql, timeout => 10);
			defined $status && $status == 0 ? [$out] : undef;
		},
		$sql)->[0];
}

sub crashes
{
	my ($from) = @_;

	return
	  scalar log_lines($node, $from, qr/was terminated by signal 6/);
}

sub payloads
{
	my ($pattern) = @_;
	my %seen;

	$consumer->drain or die 'not read';
	return grep { !$seen{$_}++ }
	  map { $_->{payload} }
	  grep { $_->{topic} eq 'events' && $_->{payload} =~ $pattern }
	  $consumer->records;
}

note 'in the stream';
my $from = log_end($node);
query_again(<<~'END');
	SELECT count(outbox_emit('events', 'k',
		CASE n WHEN 250 THEN 'crash-the-sink' ELSE 'stream ' || n END))
	FROM generate_series(1, 500) n
	END
wait_until(undef,
	sub { query_again('SELECT count(*) FROM outbox.dead_letter') == 1 },
	'a dead letter');
is( query_again("SELECT class, convert_from(payload, 'UTF8'), error, whole FROM outbox.parked"),
	"invalid|crash-the-sink|the relay's process was ended by a signal each"
	  . ' time it published this event|t',
	'it is the one that crashes');
wait_until(undef,
	sub { query_again('SELECT pending_events FROM outbox.stat_relay') == 0 },
	'the others are published');
is_deeply(
	[ payloads(qr/^stream/) ],
	[ map { "stream $_" } grep { $_ != 250 } 1 .. 500 ],
	'all of them, in order');
my $crashes = crashes($from);
note "$crashes crashes";
cmp_ok($crashes, '<=', 4, 'a few crashes');
my @records = map { $_->{payload} } $consumer->records;
cmp_ok(scalar(@records), '<', 2500, 'a bounded number of repetitions');

note 'parked';
start();
$from = log_end($node);
query_again('SELECT count(*) FROM outbox.requeue()');
wait_until(undef, sub { crashes($from) > 0 }, 'it crashes again');
wait_until(
	undef,
	sub {
		query_again("SELECT count(*) FROM outbox.parked WHERE state = 'dead'") == 1;
	},
	'a dead letter again');
$crashes = crashes($from);
note "$crashes crashes";
cmp_ok($crashes, '<=', 4, 'a few crashes');
query_again("SELECT outbox_emit('events', 'k', 'after')");
wait_until(undef,
	sub { query_again('SELECT pending_events FROM outbox.stat_relay') == 0 },
	'published');
is(crashes($from), $crashes, 'and no more crashes');

note 'killed while it publishes well';
start();
query_again('SELECT count(*) FROM outbox.discard(until => now())');
$node->append_conf('postgresql.conf', 'outbox.enabled = off');
$node->reload;
wait_until(undef, sub { query_again('SELECT state FROM outbox.stat_relay') eq 'disabled' },
	'disabled');
query_again(<<~'END');
	SELECT count(outbox_emit('events', (n % 10)::text, 'killed ' || n))
	FROM generate_series(1, 20000) n
	END
$node->append_conf('postgresql.conf', 'outbox.enabled = on');
$node->reload;
my $killed = 0;
for (1 .. 3)
{
	# the one that has just been killed may still be shown
	my $pid = wait_until(
		undef,
		sub {
			query_again("SELECT pid FROM outbox.stat_relay WHERE pid <> $killed"
				  . ' AND published > 0 AND pending_events > 0')
			  || query_again('SELECT -1 FROM outbox.stat_relay WHERE pending_events = 0');
		},
		'it publishes');
	kill 'KILL', $killed = $pid if $pid > 0;
}
wait_until(undef,
	sub { query_again('SELECT pending_events FROM outbox.stat_relay') == 0 },
	'published');
is(query_again('SELECT count(*) FROM outbox.parked'), 0, 'nothing is parked');
is(scalar(payloads(qr/^killed/)), 20000, 'all is published');

note 'a library that crashes always';
start();
$from = log_end($node);
open(my $fh, '>', $switch) or die "$switch: $!";
close $fh;
query_again("SELECT outbox_emit('events', 'k', 'last')");
wait_until(undef, sub { crashes($from) >= 3 }, 'the server crashes');
like(query_again('SELECT last_error FROM outbox.stat_relay'),
	qr/crashed [34] times in a row: relays start at/, 'the view tells it');
query_again("ALTER SYSTEM SET outbox.enabled = off");
query_again('SELECT pg_reload_conf()');
wait_until(undef, sub { query_again('SELECT state FROM outbox.stat_relay') eq 'disabled' },
	'it can be turned off');
$crashes = crashes($from);
note "$crashes crashes";
cmp_ok($crashes, '<=', 5, 'not many crashes');
unlink $switch or die "$switch: $!";
query_again('ALTER SYSTEM RESET outbox.enabled');
query_again('SELECT pg_reload_conf()');
wait_until(undef,
	sub { query_again('SELECT pending_events FROM outbox.stat_relay') == 0 },
	'published when the library is well');
is(join(' ', payloads(qr/^last/)), 'last', 'once it is repaired');

$node->stop;
done_testing();
