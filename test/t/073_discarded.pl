# Dead letters that have been discarded stay so: while their events are kept,
# across rotations, locks, restarts and crashes, and among publications that
# want to know of every table.
#
# Catches: events that come to life, because it is forgotten that they were
# discarded before they are gone, or that are never forgotten, because they are
# discarded after; a relay that dies because it may not delete.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use Test::More;

my $mock = OutboxTest::Mock->new(topics => { t => 1 });
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1,
	conf => <<~'END');
		outbox.retention = 2s
		outbox.retry_base_delay = 5s
		wal_level = logical
		END
my $log = log_end($node);

sub status
{
	return query("SELECT status FROM outbox.event_status WHERE key = '$_[0]'");
}

# An event that expires becomes a dead letter, which is discarded.
sub discard_one
{
	my ($key) = @_;

	query("SELECT outbox_emit('t', '$key', 'x', expires_at => now() - interval '1 s')");
	$node->poll_query_until('postgres',
		"SELECT count(*) = 1 FROM outbox.dead_letter WHERE key = '$key'")
	  or die 'not dead';
	query("SELECT outbox.discard(key => '$key')");
	return is(status($key), 'discarded', "$key is discarded");
}

sub emit { return query(q{SELECT outbox_emit('t', 'other', 'x')}); }

sub current_segment
{
	return query('SELECT segment FROM outbox.segment_status() WHERE is_current');
}

# Where an event is; by now another segment may be the current one.
sub segment_of
{
	return query("SELECT tableoid::regclass FROM outbox.event WHERE key = '$_[0]'") =~ s/\D+//r;
}

# Emits until so many segments have come into use.
sub rotate
{
	for (1 .. $_[0])
	{
		my $old = current_segment();
		wait_until(undef, sub { emit(); return current_segment() != $old },
			'another segment');
	}
	return;
}

query('CREATE ROLE someone; CREATE PUBLICATION everything FOR ALL TABLES');
my $session = $node->background_psql('postgres');

note 'an open GRANT keeps a segment from being emptied';
discard_one('granted');
my $segment = segment_of('granted');
$session->query_safe("BEGIN; GRANT SELECT ON outbox.event_$segment TO someone");
rotate(6);
is(status('granted'), 'discarded', 'it is kept, and still discarded');
my $job = query(q{SELECT outbox.replay(key => 'granted')});
$node->poll_query_until('postgres',
	"SELECT state = 'done' FROM outbox.stat_replay WHERE id = $job")
  or die 'no replay';
is(query("SELECT replayed FROM outbox.stat_replay WHERE id = $job"), 0, 'it is not replayed');
$session->query_safe('ROLLBACK');

note 'a reader keeps a segment while later ones are emptied';
discard_one('read');
$segment = segment_of('read');
$session->query_safe("BEGIN; SELECT count(*) FROM outbox.event_$segment");
rotate(1);
discard_one('later');
wait_until(undef, sub { emit(); return status('later') eq '' || current_segment() == $segment },
	'later segments are emptied');
is(status('read'), 'discarded', 'it is kept, and still discarded');
$session->query_safe('COMMIT');
wait_until(undef,
	sub { emit(); return query(q{SELECT count(*) FROM outbox.event WHERE key IN ('read', 'granted', 'later')}) == 0 },
	'they are emptied in the end');
$node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM outbox.discarded')
  or fail('what was discarded is forgotten');

note 'dead letters that outlive their events';
for my $key ('discarded', 'expiring')
{
	query("SELECT outbox_emit('t', '$key', 'x', expires_at => now() - interval '1 s')");
}
wait_until(undef,
	sub { emit(); return query(q{SELECT count(*) FROM outbox.event WHERE key = 'expiring'}) == 0 },
	'their events are gone');
discard_one('kept');
query(q{SELECT outbox.discard(key => 'discarded')});
conf_reload($node, <<~'END');
	outbox.retention = 1h
	outbox.dead_letter_retention = 1s
	END
my $old = relay_pid($node);
query("SELECT pg_terminate_backend($old)");
$node->poll_query_until('postgres', q{SELECT count(*) = 0 FROM outbox.dead_letter})
  or fail('an old dead letter is removed');
$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM outbox.discarded})
  or fail('those whose events are gone are forgotten');
is(status('kept'), 'discarded', 'one whose event is kept is not');
conf_reload($node, 'outbox.dead_letter_retention = 1d');

note 'the relay ends before the position has passed them';
conf_reload($node, 'outbox.retention = 1h');
$mock->command('down');
emit();
wait_state($node, 'unavailable');
discard_one('outage');
replace_relay($node, state => 'unavailable');
is(query('SELECT count(*) FROM outbox.dead_letter'), 0, 'it does not come back');
is(status('outage'), 'discarded', 'it is still discarded');
$mock->command('up');
ok(wait_published($node), 'published');

$mock->command('refuse forbidden UNKNOWN_TOPIC_OR_PART');
query(q{SELECT outbox_emit('forbidden', 'retrying', 'x')});
$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM outbox.parked}) or die 'not parked';
query(q{SELECT outbox.discard(topic => 'forbidden', retrying => true)});
crash($node);
$mock->command('allow forbidden');
$node->start;
ok(wait_published($node), 'published after a crash');
is(status('retrying'), 'discarded', 'it is still discarded');

ok($consumer->drain, 'read');
is_deeply([ grep { $_->{key} ne 'other' } $consumer->records ],
	[], 'nothing of all that was published');
is(log_lines($node, $log, qr/ERROR:/), 0, 'nothing has failed');

$node->stop;
done_testing();
