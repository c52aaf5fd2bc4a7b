# outbox.log_events: a line of the log for each event that is acknowledged, with
# its trace, and how long it has waited and been on its way.
#
# Catches: lines while it is off; an event that is told twice, or not at all, or
# with another's trace; a setting that needs a restart; memory of the window that
# is not given back.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use Test::More;

my $mock = OutboxTest::Mock->new(topics => { t => 4 });
my $node = outbox_node('main', bootstrap => $mock->bootstrap, extension => 1,
	conf => "outbox.retry_base_delay = 100ms\n");
my $trace = '4bf92f3577b34da6a3ce929d0e0e4736';
my $relay = 'outbox relay for database "postgres"';
my $times = qr/(\d+\.\d{3}) ms queued, (\d+\.\d{3}) ms sent/;

sub acknowledged { return log_lines($node, $_[0] // 0, qr/is acknowledged/); }
sub emit { return query("SELECT outbox_emit('t', $_[0])"); }

# The one line about an event.
sub line_of
{
	my ($id) = @_;
	my @lines = grep { /event $id / } acknowledged();

	return @lines == 1 ? $lines[0] =~ s/.*LOG:  //r : scalar(@lines) . " lines of $id";
}

emit(q('off', 'x'));
ok(wait_published($node), 'published');

note 'turned on, while an event is on its way';
$mock->command('down');
my $before = emit(q('before', 'x'));
wait_state($node, 'unavailable');
conf_taken($node, 'outbox.log_events = on');
my $after = emit(q('after', 'x'));
wait_until(undef, sub { query(q{SELECT queue_events = 2 FROM outbox.stat_relay}) eq 't' }, 'both are on their way');
$mock->command('up');
ok(wait_published($node), 'published');
is(scalar(acknowledged()), 1, 'it is not told of those before');
my ($queued, $sent) = line_of($after) =~
  /^$relay: event $after \(id \d+, topic "t", key "after"\) is acknowledged: $times$/
  or diag line_of($after);
cmp_ok($queued, '<', 2000, "$queued ms queued");
cmp_ok($sent, '>', 0, "$sent ms sent");

note 'each event';
my @traced = split /\n/, query(<<~"END");
	BEGIN;
	SELECT outbox_emit('t', 'no key'::text, 'x');
	SET LOCAL outbox.traceparent = '00-$trace-00f067aa0ba902b7-01';
	SELECT outbox_emit('t', 'traced', 'x');
	SELECT outbox_emit('t', NULL, 'x', '{"h": "v"}');
	SELECT outbox_emit('t', 'own', 'x', '{"traceparent": "no trace"}');
	COMMIT
	END
ok(wait_published($node), 'published');
my $name = qr/\(id \d+, topic "t"/;
like(line_of($traced[0]), qr/^$relay: event $traced[0] $name, key "no key"\) is acknowledged: $times$/, 'no trace');
like(line_of($traced[1]), qr/^$relay: event $traced[1] $name, key "traced", trace $trace\) is acknowledged: $times$/,
	'a trace');
like(line_of($traced[2]), qr/^$relay: event $traced[2] $name, trace $trace\) is acknowledged: $times$/, 'without a key');
like(line_of($traced[3]), qr/^$relay: event $traced[3] $name, key "own"\) is acknowledged: $times$/,
	'what is no trace');
my $from = log_end($node);
query(q{SELECT count(outbox_emit('t', i::text, 'x')) FROM generate_series(1, 3000) i});
ok(wait_published($node), 'published');
wait_until(undef, sub { acknowledged($from) >= 3000 }, 'all are told');
my %told;
$told{ (/event (\S+)/)[0] }++ for acknowledged($from);
is(scalar(keys %told), 3000, 'each of many');
is(scalar(grep { $_ > 1 } values %told), 0, '... once');
is(query('SELECT queue_bytes FROM outbox.stat_relay'), 0, 'and the window is empty');

note 'one that fails, and is retried';
my @expired = split /\n/,
  query(q{SELECT outbox_emit('t', 'expired', 'x', expires_at => now() - interval '1 s') FROM generate_series(1, 30)});
$mock->command('fail Produce 1 INVALID_RECORD');
my $refused = emit(q('refused', 'x'));
ok(wait_published($node), 'published');
wait_until(undef, sub { query('SELECT dead_letters FROM outbox.stat_relay') == 31 }, 'they are dead letters');
is(scalar(log_lines($node, 0, qr/key "expired"\) is a dead letter: expired/)), 30, 'none is withheld');
is(scalar(log_lines($node, 0, qr/event $refused $name, key "refused"\) is a dead letter: /)), 1, 'one line');
query(q{SELECT count(*) FROM outbox.requeue(key => 'refused')});
wait_parked(0, 'requeued');
wait_until(undef, sub { line_of($refused) =~ /key "refused"\) is acknowledged: $times$/ }, 'told');
pass('what is requeued is told, too');

note 'turned off';
conf_taken($node, 'outbox.log_events = off');
$from = log_end($node);
emit(q('off again', 'x'));
ok(wait_published($node), 'published');
is(scalar(acknowledged($from)), 0, 'no lines any more');

$node->stop;
done_testing();
