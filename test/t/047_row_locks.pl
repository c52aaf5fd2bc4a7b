# Sessions that have locked rows of outbox.parked, for however long, while the
# relay could publish their events: a discard that is not committed, SELECT ..
# FOR UPDATE, and locks that come between an event's sending and its answer.
#
# Catches: an event, or the copy of a dead letter, that is published again and
# again, because its row cannot be changed; one that is published though
# somebody is about to discard it; later events that overtake it; others that
# wait for it; a relay that hammers, or does not go on when the lock is gone.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use Test::More;

my $mock = OutboxTest::Mock->new(
	topics => { lk => 1, keys => 2, many => 2, single => 1, copies => 1 });
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1,
	conf => <<~'END');
		outbox.retry_base_delay = 1s
		outbox.retry_max_delay = 1s
		outbox.retry_jitter = 0
		outbox.retry_max_attempts = 0
		END
my $session = $node->background_psql('postgres');
$session->set_query_timer_restart;

sub emit
{
	my ($topic, $key, @payloads) = @_;

	query(join ';', map { "SELECT outbox_emit('$topic', '$key', '$_')" } @payloads);
	return;
}

# What has arrived in a topic, as "key payload", in order
sub arrived
{
	my ($topic, $key) = @_;

	return join ', ', map { "$_->{key} $_->{payload}" }
	  grep { $_->{topic} eq $topic && (!defined $key || $_->{key} eq $key) } $consumer->records;
}

sub arrives
{
	my ($what, $name, @where) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	eval { wait_until(undef, sub { arrived(@where) eq $what }, $name) };
	return is(arrived(@where), $what, $name);
}

# Parks an event of each key, by a refusal of whatever is sent.
sub refuse_keys
{
	my ($topic, @keys) = @_;

	$mock->command('fail Produce 100000 POLICY_VIOLATION');
	emit($topic, $_, 1) for @keys;
	wait_rows(scalar @keys, "topic = '$topic' AND state = 'retrying'");
	return;
}

emit('single', 'first', 0);
$consumer->wait_for(1) or die 'it does not work';

note 'a discard that is rolled back';
$mock->command('refuse lk UNKNOWN_TOPIC_OR_PART');
emit('lk', $_, 1, 2) for qw(a b);
wait_rows(4, "topic = 'lk'");
# between two attempts, so that none is under way
my $attempts = 'SELECT sum(attempts) FROM outbox.parked';
my $before = query($attempts);
$node->poll_query_until('postgres', "SELECT ($attempts) > $before") or die 'no attempt';
$session->query_safe(q{BEGIN; SELECT * FROM outbox.discard(topic => 'lk', retrying => true, waiting => true)});
$mock->command('allow lk');
ok(stays(2, sub { arrived('lk') eq '' }), 'what may be discarded is not published');
replace_relay($node);
ok(stays(1, sub { arrived('lk') eq '' }), '... nor by another relay');
emit('keys', 'free', 1);
arrives('free 1', 'another topic goes on', 'keys');
$session->query_safe('ROLLBACK');
my $took = took(sub { wait_rows(0, 'true') });
cmp_ok($took, '<', 10, 'rolled back, they go on soon');
arrives('a 1, a 2, b 1, b 2', 'in order, once', 'lk');

note 'keys, by locks of each strength, and a discard that is committed';
my %strength = (u => 'UPDATE', n => 'NO KEY UPDATE', s => 'SHARE', k => 'KEY SHARE');
my @locked = sort keys %strength;
refuse_keys('keys', @locked, qw(d e));
for my $key (@locked)
{
	$session->query_safe(($key eq $locked[0] ? 'BEGIN;' : '')
		. "SELECT FROM outbox.parked WHERE key = '$key' FOR $strength{$key}");
}
$session->query_safe(q{SELECT * FROM outbox.discard(key => 'd', retrying => true)});
emit('keys', $_, 2) for @locked, qw(d e);
$mock->command('clear Produce');
arrives('e 1, e 2', 'another key goes on', 'keys', 'e');
ok(stays(1, sub { !grep { arrived('keys', $_) ne '' } @locked, 'd' }), 'locked ones wait, in order');
$session->query_safe('COMMIT');
# or it would wait for as long again
query('SELECT outbox.parked_changed()');
arrives("$_ 1, $_ 2", "then it goes on: $strength{$_}", 'keys', $_) for @locked;
arrives('d 2', 'what was discarded does not come', 'keys', 'd');
wait_rows(0, 'true');

note 'locks that come and go while events are under way';
$mock->command('refuse many UNKNOWN_TOPIC_OR_PART');
query(q{SELECT outbox_emit('many', (n % 50)::text, n::text) FROM generate_series(1, 600) n ORDER BY n});
wait_rows(600, "topic = 'many'");
$mock->command('rtt 40');
my $locks = pgbench($node, <<~'END', duration => 600, background => 1);
	BEGIN;
	SELECT count(*) FROM (SELECT FROM outbox.parked FOR UPDATE SKIP LOCKED) p;
	\sleep 20 ms
	COMMIT;
	\sleep 100 ms
	END
$mock->command('allow many');
wait_until(undef, sub { (() = arrived('many') =~ /,/g) > 300 }, 'half of them arrive');
stop_load($node, $locks);
$mock->command('rtt 0');
wait_rows(0, 'true');
ok($consumer->drain, 'read');
is(check_delivery([ events($node, 'postgres', "topic = 'many'") ],
		[ grep { $_->{topic} eq 'many' } $consumer->records ], 'under way'),
	0, 'nothing twice');

note 'copies of dead letters';
conf_reload($node, <<~'END');
	outbox.dead_letter_topic = 'copies'
	outbox.on_failure = 'skip'
	outbox.retry_max_attempts = 3
	END
$mock->command('fail Produce 3 POLICY_VIOLATION');
emit('single', 'locked', 1);
$node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM outbox.parked}) or die;
$session->query_safe('BEGIN; SELECT FROM outbox.parked FOR UPDATE');
emit('single', 'locked', 2);
arrives('locked 2', 'one that is skipped', 'single', 'locked');
query(q{SELECT outbox_emit('single', 'expired', 'x', expires_at => now() - interval '1 s')});
arrives('expired x', 'a copy comes', 'copies');
$session->query_safe('COMMIT');
wait_rows(0, "key = 'locked' AND state <> 'dead'");

$session->query_safe('BEGIN; SELECT FROM outbox.parked FOR UPDATE');
query(q{SELECT outbox_emit('single', 'more', 'x', expires_at => now() - interval '1 s')});
wait_rows(1, "state = 'dead' AND key = 'more'");
my $copies = () = arrived('copies') =~ /expired/g;
is($copies, 1, 'once');
$session->query_safe('COMMIT');
wait_rows(0, "state = 'dead' AND announced_at IS NULL");
ok($consumer->drain, 'read');
is(scalar(() = arrived('copies') =~ /$_ /g), 1, "one copy of $_") for qw(expired more);

$session->quit;
$node->stop;
done_testing();
