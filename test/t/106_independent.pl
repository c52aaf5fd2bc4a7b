# Two relays publish to two clusters, each for itself: what happens at one costs
# the other nothing, and what an operator does for one is done for that one.
#
# Catches: an outage, a refused topic or a halt of one relay that holds up the
# other; an event that is taken for published because one of them has; a requeue
# or discard of another relay's dead letters; copies of a replay to one relay
# that another publishes, also after a crash or a failure, or that carry what
# is internal; a relay that is behind and not named; a limit for which nobody
# waits; a misspelt name that is taken for a relay without events.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use Test::More;

my %mock = map {
	$_ => OutboxTest::Mock->new(topics => { map { $_ => 1 } qw(t u v r q w) })
} qw(default audit);
my %consumer =
  map { $_ => OutboxTest::Consumer->new(bootstrap => $mock{$_}->bootstrap) } keys %mock;
my $node = outbox_node('main',
	bootstrap => $mock{default}->bootstrap,
	extension => 1,
	conf => <<~'END');
		outbox.retry_base_delay = 100ms
		outbox.retry_multiplier = 1
		outbox.retry_max_attempts = 2
		END
my $directory = $node->data_dir . '/outbox.d';

mkdir $directory, 0700 or die "$directory: $!";
$node->append_conf('../pgdata/outbox.d/audit.properties',
	'bootstrap.servers=' . $mock{audit}->bootstrap);
chmod 0600, "$directory/audit.properties" or die $!;

sub state
{
	my ($relay) = @_;

	return query("SELECT state FROM outbox.stat_relay WHERE relay = '$relay'");
}

sub wait_relay
{
	my ($relay, $state) = @_;

	wait_until(undef, sub { state($relay) eq $state }, "$relay is not $state");
	return;
}

# Has a relay, or have all of them, published everything?
sub all_published
{
	my ($relay, $timeout) = @_;

	return query(sprintf 'SELECT outbox.wait_published(timeout => %s%s)',
		defined $timeout ? "'$timeout'" : "'2 min'",
		defined $relay ? ", relay => '$relay'" : '') eq 't';
}

# What has arrived of a topic at a relay's cluster
sub arrived
{
	my ($relay, $topic) = @_;

	return join ' ', map { $_->{payload} }
	  grep { $_->{topic} eq $topic } $consumer{$relay}->records;
}

sub arrives
{
	my ($relay, $topic, $payloads, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	eval { wait_until(undef, sub { length arrived($relay, $topic) >= length $payloads }) };
	return is(arrived($relay, $topic), $payloads, $name);
}

sub dead_letters
{
	return query(q{SELECT coalesce(string_agg(relay || ' ' || convert_from(payload, 'UTF8'), ', '
		ORDER BY relay, id), '') FROM outbox.dead_letter});
}

wait_relay('default', 'publishing');
query("SELECT outbox.create_relay('audit')");
wait_relay('audit', 'publishing');

note 'both publish';
query("SELECT outbox_emit('t', 'k', n::text) FROM generate_series(1, 3) n");
ok(all_published(), 'wait_published()');
arrives($_, 't', '1 2 3', "all at $_") for keys %mock;

note 'a name that is none';
fails_with($node, 'postgres', $_, '42704', qr/relay "adit" does not exist.*stat_relay/s, $_)
  for (q{SELECT outbox.wait_published(relay => 'adit')},
	q{SELECT outbox.requeue(relay => 'adit')},
	q{SELECT outbox.discard(until => now(), relay => 'adit')},
	q{SELECT outbox.replay(topic => 't', relay => 'adit')});
is(query('SELECT outbox.wait_published(NULL) IS NULL'), 't', 'no time at all');

note 'the cluster of one is away';
$mock{audit}->command('down');
query("SELECT outbox_emit('t', 'k', '4')");
wait_relay('audit', 'unavailable');
my $slowest = 0;
for my $n (5 .. 24)
{
	my $seconds = took(sub {
		query("SELECT outbox_emit('t', 'k', '$n')");
		all_published('default') or die 'default does not publish';
	});
	$slowest = $seconds if $seconds > $slowest;
}
cmp_ok($slowest, '<', 15, 'the other one goes on at once');
ok(!all_published('audit', '100 ms'), 'nothing is published for it');
ok(!all_published(undef, '100 ms'), '... nor for all');
is(query('SELECT DISTINCT kept_for FROM outbox.stat_storage WHERE is_current'),
	'new events', 'the segment is written to');

note 'a limit counts for the slowest, and names it';
conf_taken($node, 'outbox.max_pending = 10');
wait_until(undef, sub { ($node->psql('postgres', "SELECT outbox_emit('t', 'k', 'x')"))[0] },
	'no limit');
fails_with($node, 'postgres', "SELECT outbox_emit('t', 'k', 'x')", '53400',
	qr/Relay "audit" is the furthest behind/, 'refused');
conf_taken($node, 'outbox.max_pending = 0');
$mock{audit}->command('up');
ok(all_published(), 'all is published when it is back');
my $before = arrived('default', 't');
arrives('audit', 't', $before, 'in the same order');

note 'a topic is refused by one cluster';
$mock{audit}->command('refuse u UNKNOWN_TOPIC_OR_PART');
query("SELECT outbox_emit('u', 'k' || n, n::text) FROM generate_series(1, 4) n");
arrives('default', 'u', '1 2 3 4', 'the other one publishes');
wait_until(undef, sub { dead_letters() eq 'audit 1, audit 2, audit 3, audit 4' },
	'dead letters');
is(query("SELECT count(*) FROM outbox.event_status WHERE topic = 'u' AND status = 'published'"
	  . " AND relay = 'default'"), 4, 'published by one');
is(query("SELECT count(*) FROM outbox.event_status WHERE topic = 'u' AND status = 'dead'"
	  . " AND relay = 'audit'"), 4, 'dead letters of the other');
is(query("SELECT count(*) FROM outbox.requeue(topic => 'u', relay => 'default')"),
	0, 'there is nothing to requeue of the one');
is(query("SELECT count(*) FROM outbox.discard(key => 'k1', relay => 'default')"), 0, '... or discard');
$mock{audit}->command('allow u');
is(query("SELECT relay || convert_from(payload, 'UTF8') FROM outbox.discard(key => 'k1', relay => 'audit')"),
	'audit1', 'one is discarded');
is(query("SELECT count(*) FROM outbox.requeue(relay => 'audit')"), 3, 'the others are requeued');
arrives('audit', 'u', '2 3 4', 'and published by their relay');
is(arrived('default', 'u'), '1 2 3 4', '... alone');

note 'one is halted';
query("SELECT outbox.alter_relay('audit', on_failure => 'halt', retry_max_attempts => 0)");
$mock{audit}->command('refuse v UNKNOWN_TOPIC_OR_PART');
query("SELECT outbox_emit('v', 'h', 'halt')");
wait_relay('audit', 'halted');
query("SELECT outbox_emit('t', 'k', 'beside')");
ok(all_published('default'), 'the other one goes on');
ok(eval { wait_until(undef, sub { arrived('default', 't') =~ / beside$/ }) }, '... and publishes');
unlike(arrived('audit', 't'), qr/ beside$/, 'it does not');
$mock{audit}->command('allow v');
query("SELECT outbox.alter_relay('audit', reset => '{on_failure,retry_max_attempts}')");
ok(all_published(), 'it goes on');
wait_until(undef, sub { arrived('audit', 'v') eq 'halt' }, 'what has halted it');

note 'a replay to one relay';
query("SELECT outbox_emit('r', 'k', n::text) FROM generate_series(1, 300) n");
ok(all_published(), 'events');
my $originals = join ' ', 1 .. 300;

arrives('default', 'r', $originals, 'which have arrived');
my $job = query("SELECT outbox.replay(topic => 'r', rate => 150, relay => 'audit')");
wait_until(undef, sub { query("SELECT replayed > 20 FROM outbox.stat_replay") eq 't' }, 'copies');
crash($node);
$node->start;
wait_until(undef, sub { query("SELECT state FROM outbox.stat_replay") eq 'done' }, 'a replay');
is(query("SELECT relay || replayed FROM outbox.stat_replay"), 'audit300', 'to that relay');
ok(all_published(), 'published');
$_->drain for values %consumer;
my @copies = grep { grep { $_->[0] eq 'outbox_replay' } @{ $_->{headers} } }
  $consumer{audit}->records;
my %seen;
is(join(' ', map { $_->{payload} } grep { !$seen{ $_->{payload} }++ } @copies),
	$originals, 'all copies have arrived there, in order');
is(scalar(grep { grep { $_->[0] eq 'outbox_replay' } @{ $_->{headers} } }
		$consumer{default}->records), 0, '... and none elsewhere');
is(scalar(grep { grep { $_->[0] eq 'outbox_relay' } @{ $_->{headers} } } @copies),
	0, 'what is internal is not sent');
is(query(q{SELECT count(*), count(DISTINCT relay) FROM outbox.event_status
		WHERE id IN (SELECT id FROM outbox.event WHERE headers ? 'outbox_replay')}),
	'300|1', 'nor are they events of the other');

note 'copies that fail stay copies of that relay';
query("SELECT outbox_emit('q', 'k', n::text) FROM generate_series(1, 3) n");
ok(all_published(), 'events');
$mock{audit}->command('refuse w UNKNOWN_TOPIC_OR_PART');
query("SELECT outbox.replay(topic => 'q', to_topic => 'w', relay => 'audit')");
wait_until(undef, sub { dead_letters() eq 'audit 1, audit 2, audit 3' }, 'dead letters');
is(query(q{SELECT count(*) FROM outbox.dead_letter WHERE headers ? 'outbox_relay'}), 0,
	'what is internal is not shown');
$node->restart;
wait_relay($_, 'publishing') for keys %mock;
$mock{audit}->command('allow w');
is(query("SELECT count(*) FROM outbox.requeue(topic => 'w')"), 3, 'they are requeued');
arrives('audit', 'w', '1 2 3', 'and published by that relay');
ok(all_published(), 'nothing is left');
$consumer{default}->drain;
is(arrived('default', 'w'), '', '... alone');

note 'what one has not published need not keep the other from a replay';
$mock{audit}->command('down');
query("SELECT outbox_emit('q', 'k', '4')");
ok(all_published('default'), 'one has published it');
query("SELECT outbox.replay(topic => 'q', key => 'k', relay => 'default')");
arrives('default', 'q', '1 2 3 4 1 2 3 4', 'and can replay it');
conf_taken($node, 'outbox.retention = 1s');
wait_until(undef, sub {
	query("SELECT outbox_emit('t', 'k', 'more')");
	return query("SELECT bool_or(kept_for = 'relay audit (unavailable)') FROM outbox.stat_storage") eq 't';
}, 'the relay that is behind is named');
wait_until(undef, sub { log_lines($node, 0, qr/DETAIL:  Relay "audit" \(\w+\) has not published/) },
	'no WARNING');
pass('the log names it, too');
$mock{audit}->command('up');
ok(all_published(), 'all is published in the end');
$consumer{audit}->drain;
is(arrived('audit', 'q'), '1 2 3 4', 'no copy has gone astray');

clean_log($node, 'no crash but ours', also => qr/failed Assert/);
done_testing();
