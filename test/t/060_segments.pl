# Segments are used in turn and emptied, under load, while others read, dump,
# lock and drop them, and across crashes.
#
# Catches: an event that is emptied away before it is published or while its
# transaction still commits; an order that a rotation breaks; a relay that
# waits for a lock, or makes others wait for it; space that is not freed, or
# kept without anybody being told why; emits that cost several times as much
# after a segment has been emptied.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Counter;
use OutboxTest::Server;
use Test::More;

my ($mock, $consumer, $node) = counter_node();

sub eventually
{
	my ($sql, $name) = @_;

	return ok($node->poll_query_until('postgres', "SELECT $sql"), $name)
	  || diag query('TABLE outbox.stat_storage') . "\n"
	  . query('TABLE outbox.stat_relay');
}

note 'rotation under load';
my $log = log_end($node);
my $load = counter_load($node);
wait_emptied($node, 2, 0 .. 2);
is(query("SELECT count(*) FROM outbox.segment_status() WHERE segment > 2 AND last_id IS NOT NULL"),
	0, 'others than outbox.segments are not used');
stop_load($node, $load);
counter_check($node, $consumer, 'rotation');
eventually('(SELECT bool_and(last_id IS NULL OR is_current) FROM outbox.segment_status())',
	'afterwards all are emptied');
eventually("(SELECT sum(bytes) < 1024 * 1024 FROM outbox.stat_storage)",
	'and small');

note 'outbox.segments';
conf_reload($node, 'outbox.segments = 8');
$load = counter_load($node, rate => 50);
eventually('(SELECT segment > 2 FROM outbox.segment_status() WHERE is_current)',
	'more segments are used at once');
conf_reload($node, 'outbox.segments = 3');
eventually('(SELECT bool_and(last_id IS NULL AND NOT is_current) FROM outbox.segment_status()'
	  . ' WHERE segment > 2)', 'fewer again: the others are emptied');

note 'outbox.retention = -1';
conf_reload($node, 'outbox.retention = -1');
my @kept = segment_files($node);
ok(stays(4, sub { "@kept" eq join ' ', segment_files($node) }),
	'nothing is emptied');
eventually("(SELECT bool_or(kept_for = 'outbox.retention') OR count(*) FILTER (WHERE last_id IS NOT NULL) = 1"
	  . ' FROM outbox.stat_storage)', 'and kept_for tells why');
note 'outbox.retention = 1s again';
conf_reload($node, 'outbox.retention = 1s');
wait_emptied($node, 1, 0 .. 2);
stop_load($node, $load);
counter_check($node, $consumer, 'settings');

note 'a relay that lags';
eventually('(SELECT bool_and(last_id IS NULL OR is_current) FROM outbox.segment_status())',
	'nothing is left that may be emptied');
$log = log_end($node);
$mock->command('down');
$load = counter_load($node, rate => 200);
wait_until(undef, sub { log_lines($node, $log, qr/outbox keeps events for longer/) },
	'no WARNING');
is(log_lines($node, $log, qr/WARNING:  outbox keeps events for longer than outbox.retention/),
	1, 'told once that events are kept');
my $first = query('SELECT min(first_id) FROM outbox.segment_status()');
my $count = query('SELECT count(*) FROM outbox.event');
eventually("(SELECT count(*) > $count + 500 FROM outbox.event)", 'emits go on');
is(query('SELECT min(first_id) FROM outbox.segment_status()'), $first, 'nothing is emptied');
eventually("(SELECT count(*) = 3 AND bool_and(kept_for = 'relay default (unavailable)')"
	  . ' FROM outbox.stat_storage WHERE last_id IS NOT NULL)', 'kept_for tells why');
ok($load->is_running, 'nobody has failed');
$mock->command('up');
stop_load($node, $load);
counter_check($node, $consumer, 'after an outage');
wait_emptied($node, 1, 0 .. 2);

note 'events that are published late are kept as long as others';
eventually('(SELECT count(last_id) = 0 FROM outbox.segment_status())', 'all are emptied');
conf_reload($node, 'outbox.retention = 6s');
$mock->command('down');
query("SELECT outbox_emit('late', NULL, 'x')");
eventually('(SELECT last_id IS NULL FROM outbox.segment_status() WHERE is_current)',
	'its segment is not written to any more');
is(query("SELECT brin_summarize_range(format('outbox.event_%s_look', segment)::regclass, 0)"
	  . ' FROM outbox.segment_status() WHERE last_id IS NOT NULL'),
	1, 'emptying has left no summary, which each row would make anew');
eventually("(SELECT now() > max(emitted_at) + interval '7 s' FROM outbox.event)",
	'outbox.retention has passed since it was emitted');
$mock->command('up');
is(query("SELECT outbox.wait_published()"), 't', 'it is published');
ok(stays(4, sub { query("SELECT count(*) FROM outbox.event WHERE topic = 'late'") == 1 }),
	'it stays');
is(query("SELECT kept_for FROM outbox.stat_storage WHERE last_id IS NOT NULL"),
	'outbox.retention', 'kept_for tells why');
eventually('(SELECT count(last_id) = 0 FROM outbox.segment_status())', '... for so long, and no longer');
conf_reload($node, 'outbox.retention = 1s');

note 'publishing turned off';
$load = counter_load($node, rate => 200);
$log = log_end($node);
conf_reload($node, 'outbox.enabled = off');
eventually("(SELECT state = 'disabled' FROM outbox.stat_relay)", 'it is off');
is(log_lines($node, $log, qr/outbox relay .*: publishing -> disabled/), 1, 'the log says so');
is(log_lines($node, $log, qr/DETAIL:  outbox.enabled is off: .* no space is freed/), 1, '... and what follows');
$first = query('SELECT min(first_id) FROM outbox.segment_status()');
$count = query('SELECT count(*) FROM outbox.event');
eventually("(SELECT count(*) > $count + 500 FROM outbox.event)", 'emits go on');
is(query('SELECT min(first_id) FROM outbox.segment_status()'), $first, 'nothing is emptied');
is(query("SELECT DISTINCT kept_for FROM outbox.stat_storage WHERE last_id IS NOT NULL"),
	'relay default (disabled)', 'kept_for tells why');
stop_load($node, $load);
$log = log_end($node);
$node->restart;
wait_until(undef, sub { log_lines($node, $log, qr/WARNING:  outbox publishes nothing: outbox.enabled is off/) },
	'no WARNING at start');
conf_reload($node, 'outbox.enabled = on');
counter_check($node, $consumer, 'turned on');
eventually('(SELECT bool_and(last_id IS NULL OR is_current) FROM outbox.segment_status())',
	'all are emptied');

$node->stop;
done_testing();
