# Segments are used in turn and emptied while a transaction commits slowly, across
# crashes, and while the extension is dropped.
#
# Catches: an event that is emptied away while its transaction still commits; a
# position that is lost with the segment it was written to; a DROP EXTENSION
# that waits for a relay that waits for it.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Counter;
use OutboxTest::Server;
use Test::More;

my ($mock, $consumer, $node) = counter_node(<<~'END');
	log_lock_waits = on
	deadlock_timeout = 200ms
	END
my ($load, $from);
my $log = log_end($node);
my $session = $node->background_psql('postgres');

note 'a commit that takes its time';
ok( $node->poll_query_until('postgres',
		'SELECT count(last_id) = 0 FROM outbox.segment_status()'),
	'all is emptied');
$from = log_end($node);
my $current = query('SELECT segment FROM outbox.segment_status() WHERE is_current');
query('INSERT INTO counter VALUES (5, 0)');

# whoever takes this id waits in its commit for the one who has it
$session->query_safe(<<~END);
	SET session_replication_role = replica;
	BEGIN;
	INSERT INTO outbox.event_$current (id, event_id, emitted_at, topic)
		SELECT last_value + is_called::int, gen_random_uuid(), now(), 't' FROM outbox.event_id_seq
	END
my $slow = pgbench($node, <<~'END', background => 1);
	BEGIN;
	UPDATE counter SET n = n + 1 WHERE key = 5;
	SELECT outbox_emit('count', 5, '1');
	COMMIT;
	END
$node->poll_query_until('postgres', <<~'END') or die 'no commit';
	SELECT EXISTS (SELECT FROM pg_stat_activity
		WHERE query = 'COMMIT;' AND wait_event_type = 'Lock')
	END
my @kept = segment_files($node);
$load = counter_load($node);
ok( $node->poll_query_until('postgres',
		"SELECT bool_or(is_current AND segment <> $current AND last_id IS NOT NULL)"
		  . ' FROM outbox.segment_status()'),
	'others write to the next segment meanwhile');
counter_goes_on($node, "emits, $_", not_published => 1) for 1 .. 5;
is(join(' ', segment_files($node)), "@kept", 'nothing is emptied');
$session->query_safe('ROLLBACK');
is($slow->wait, 0, 'it has committed');
wait_emptied($node, 1, 0 .. 2);
nobody_waited($node, $from, 'nobody has waited');
stop_load($node, $load);
counter_check($node, $consumer, 'slow commit');
$session->quit;

note 'crashes';
for my $how (qw(crash restart immediate))
{
	$load = counter_load($node);
	wait_emptied($node, 1, 0 .. 2);
	if ($how eq 'crash') { crash($node); }
	else { $node->stop($how eq 'immediate' ? $how : 'fast'); }
	$load->stop;
	$node->start;
}
counter_check($node, $consumer, 'crashes');

note 'DROP EXTENSION';
$from = log_end($node);
for my $n (1 .. 2)
{
	$load = counter_load($node, rate => 1000);
	wait_emptied($node, 1, 0 .. 2);
	query("SET lock_timeout = '20 s'; DROP EXTENSION outbox");
	$load->stop;
	query('CREATE EXTENSION outbox');
}
clean_log($node, 'without a deadlock', from => $from, also => qr/deadlock/);
$load = counter_load($node);
wait_emptied($node, 1, 0 .. 2);
stop_load($node, $load);
ok(wait_published($node), 'it works again');

is(log_lines($node, $log, qr/could not run/), 0, 'nothing has failed');
$node->stop;
done_testing();
