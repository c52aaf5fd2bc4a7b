# What is to be done once for all relays of a database is done by one of them,
# and within about a second by another one if that one ends, cannot publish, is
# dropped, or hangs. A hanging one may go on at any time, in the middle of
# anything.
#
# Catches: delayed events, replays or segments that wait for a relay that does
# not look after them; any of them done twice, or events lost, because two
# relays were at it; a segment that is written to again, and that another
# relay does not read any more; a position that is emptied with a segment
# because its relay has not written it anew; a chore that nobody takes over
# when there is nothing else to do.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use Test::More;
use Time::HiRes qw(time usleep);

# on a busy machine; without a take-over, a minute or for ever
my $prompt = 20;

my @relays = qw(default audit);
my %mock = map { $_ => OutboxTest::Mock->new(topics => { t => 1, load => 2, r => 1 }) } @relays;
my %consumer =
  map { $_ => OutboxTest::Consumer->new(bootstrap => $mock{$_}->bootstrap) } @relays;
my $node = outbox_node('main',
	bootstrap => $mock{default}->bootstrap,
	extension => 1);
my $directory = $node->data_dir . '/outbox.d';
my $sent = 0;
my %stopped;

mkdir $directory, 0700 or die "$directory: $!";

sub configure
{
	my ($relay) = @_;
	my $file = "$directory/$relay.properties";

	open(my $fh, '>', $file) or die "$file: $!";
	print $fh 'bootstrap.servers=' . $mock{$relay}->bootstrap . "\n";
	close $fh or die "$file: $!";
	chmod 0600, $file or die $!;
	return;
}

sub column
{
	my ($relay, $column) = @_;

	return query("SELECT $column FROM outbox.stat_relay WHERE relay = '$relay'");
}

sub wait_relay
{
	my ($relay, $state) = @_;

	wait_until(undef, sub { column($relay, 'state') eq $state }, "$relay is not $state");
	return;
}

# Stops a relay's process; the end of the test lets it go on, too.
sub stop
{
	my ($relay) = @_;

	$stopped{$relay} = column($relay, 'pid');
	kill('STOP', $stopped{$relay}) or die "kill: $!";
	return;
}

sub go_on
{
	my ($relay) = @_;
	my $pid = delete $stopped{$relay};

	kill 'CONT', $pid if defined $pid;
	return;
}

END { my $status = $?; go_on($_) for keys %stopped; $? = $status; }

# A delayed event arrives at a relay's cluster.
sub delayed_arrives
{
	my ($relay, $name) = @_;
	my $id = query("SELECT outbox_emit('t', 'k', '" . ++$sent . "', deliver_after => '100 ms')");
	my $start = time;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	ok(eval { wait_until($prompt, sub { $consumer{$relay}->has($id) }) },
		sprintf '%s (%.1f s)', $name, time - $start);
	return;
}

# The payloads of a topic, as often as they have come
sub arrived
{
	my ($relay, $topic) = @_;

	return map { $_->{payload} } grep { $_->{topic} eq $topic } $consumer{$relay}->records;
}

wait_relay('default', 'publishing');
configure('audit');
query("SELECT outbox.create_relay('audit')");
wait_relay('audit', 'publishing');
delayed_arrives($_, "both run: $_") for @relays;

note 'a process ends';
for my $relay (@relays)
{
	my $pid = column($relay, 'pid');

	query("SELECT pg_terminate_backend($pid)");
	delayed_arrives($relay eq 'audit' ? 'default' : 'audit', "$relay ends");
}
wait_relay($_, 'publishing') for @relays;

note 'one has no brokers any more';
conf_reload($node, "outbox.bootstrap_servers = ''");
wait_relay('default', 'unconfigured');
delayed_arrives('audit', 'default is unconfigured');
conf_reload($node, "outbox.bootstrap_servers = '" . $mock{default}->bootstrap . "'");
wait_relay('default', 'publishing');
rename "$directory/audit.properties", "$directory/audit.off" or die $!;
conf_reload($node);
wait_relay('audit', 'unconfigured');
delayed_arrives('default', 'audit is unconfigured');
configure('audit');
conf_reload($node);
wait_relay('audit', 'publishing');

note 'one is paused';
for my $relay (@relays)
{
	query("SELECT outbox.pause('$relay', 'a test')");
	wait_relay($relay, 'paused');
	delayed_arrives($relay eq 'audit' ? 'default' : 'audit', "$relay is paused");
	query("SELECT outbox.resume('$relay')");
	wait_relay($relay, 'publishing');
}

note 'the brokers of one are away';
for my $relay (@relays)
{
	my $other = $relay eq 'audit' ? 'default' : 'audit';

	$mock{$relay}->command('down');
	query("SELECT outbox_emit('t', 'k', '" . ++$sent . "')");
	wait_relay($relay, 'unavailable');
	delayed_arrives($other, "$relay is unavailable");
	$mock{$relay}->command('up');
	wait_relay($relay, 'publishing');
}

note 'one hangs';
for my $relay (@relays)
{
	my $other = $relay eq 'audit' ? 'default' : 'audit';

	stop($relay);
	delayed_arrives($other, "$relay hangs");
	query("SELECT outbox_emit('r', '$relay', 'x')");
	is(query("SELECT outbox.wait_published('1 min', relay => '$other')"), 't', '... event');
	go_on($relay);
	is(query('SELECT outbox.wait_published()'), 't', '... published by both in the end');
	stop($relay);
	my $job = query("SELECT outbox.replay(topic => 'r', key => '$relay')");
	ok(eval { wait_until($prompt,
		sub { query("SELECT state FROM outbox.stat_replay WHERE id = $job") eq 'done' }) },
		"replay while $relay hangs");
	go_on($relay);
}
is(query('SELECT outbox.wait_published()'), 't', 'all is published');
$_->drain for values %consumer;
is(join(' ', sort { $a <=> $b } arrived($_, 't')), join(' ', 1 .. $sent), "once each at $_")
  for @relays;
is(scalar(arrived($_, 'r')), 4, "... and copies at $_") for @relays;

note 'two at once, again and again, while segments are switched and emptied';
conf_taken($node, "outbox.retention = 1s\noutbox.segments = 3");
query('CREATE SEQUENCE n');
my $load = pgbench($node, <<~'END', clients => 2, rate => 300, background => 1, transactions => 100_000);
	SELECT outbox_emit('load', 'k' || :client_id, nextval('n')::text);
	SELECT outbox_emit('load', NULL, nextval('n')::text, deliver_after => '300 ms');
	END
my $switches = 0;
my $current = '';
my $until = time + 12;
while (time < $until)
{
	my $relay = $relays[ rand @relays ];
	my $now = query('SELECT segment FROM outbox.segment_status() WHERE is_current');

	$switches++ if $now ne $current;
	$current = $now;
	stop($relay);
	usleep(rand 1_800_000);
	go_on($relay);
	usleep(rand 300_000);
}
stop_load($node, $load);
cmp_ok($switches, '>', 3, "segments are switched ($switches times)");
wait_until(undef, sub { query('SELECT count(*) FROM outbox.delayed') == 0 }, 'delayed events');
is(query('SELECT outbox.wait_published()'), 't', 'all is published');
my $last = query('SELECT last_value FROM n');
for my $relay (@relays)
{
	my %seen;
	my $missing;

	$consumer{$relay}->drain;
	$seen{$_}++ for arrived($relay, 'load');
	$missing = grep { !$seen{$_} } 1 .. $last;
	is($missing, 0, "none of $last is missing at $relay");
	is((grep { $_ > 1 } values %seen) + 0, 0, '... and none has come twice');
}

note 'the position of a relay that hangs outlives its segment';
sub position_table
{
	return query(q{SELECT 'outbox.position_' || segment FROM outbox.segment_status() WHERE is_current});
}

stop('audit');
my $table = position_table();
wait_until(undef, sub {
	my $now = position_table();

	query("SELECT outbox_emit('t', 'k', 'x')");
	return $now ne $table && query("SELECT count(*) > 0 FROM $now WHERE relay = 'audit'") eq 't';
}, 'its position is kept with those of a later segment');
go_on('audit');
is(query('SELECT outbox.wait_published()'), 't', 'it goes on');

note 'one is dropped';
stop('default');
delayed_arrives('audit', 'default hangs');
query("SELECT outbox.drop_relay('audit', discard => true)");
go_on('default');
delayed_arrives('default', 'audit is dropped');

clean_log($node, 'no crash');
done_testing();
