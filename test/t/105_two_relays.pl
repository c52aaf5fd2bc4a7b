# Two relays with patterns that overlap publish to two clusters: each gets exactly
# its own, in order, through outages and crashes; and one that begins with the
# oldest event gets all that are kept, while segments are emptied.
#
# Catches: an event that goes to the wrong cluster, or is lost because the other
# relay has it; a relay that takes a segment for read which another one has
# begun to fill again; events that are emptied away under a new relay; a status of
# an event at a relay that does not publish it.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use Test::More;

my %mock = map { $_ => OutboxTest::Mock->new(topics => { map { $_ => 2 } qw(shop.a shop.b bank.a bank.b) }) }
  qw(default audit late);
my %consumer =
  map { $_ => OutboxTest::Consumer->new(bootstrap => $mock{$_}->bootstrap) } keys %mock;
my $node = outbox_node('main',
	bootstrap => $mock{default}->bootstrap,
	extension => 1,
	conf => "outbox.retention = 2s\noutbox.segments = 3\n");
my $directory = $node->data_dir . '/outbox.d';

mkdir $directory, 0700 or die "$directory: $!";
for my $relay (qw(audit late))
{
	my $file = "$directory/$relay.properties";
	open(my $fh, '>', $file) or die "$file: $!";
	print $fh 'bootstrap.servers=' . $mock{$relay}->bootstrap . "\n";
	close $fh or die "$file: $!";
	chmod 0600, $file or die "$file: $!";
}

# What has been committed stays here, as segments are emptied.
query(<<~'END');
	CREATE TABLE emitted (event_id uuid, topic text, key text, payload text, n bigserial);
	SELECT outbox.alter_relay('default', excluding => '{bank.a}');
	SELECT outbox.create_relay('audit', topics => '{bank.*,*.b}');
	END
my $script = <<~'END';
	\set topic random(0, 3)
	\set k random(1, 5)
	WITH e (topic, key, payload) AS (
		SELECT ('{shop.a,shop.b,bank.a,bank.b}'::text[])[1 + :topic],
			   :client_id || ' ' || :k, clock_timestamp()::text)
	INSERT INTO emitted (event_id, topic, key, payload)
	SELECT outbox_emit(topic, key, payload), topic, key, payload FROM e;
	END

sub load { return pgbench($node, $script, clients => 3, rate => 200, duration => 600, background => 1); }

# Those of the topics have arrived; a key has one client, so n is their order.
sub check
{
	my ($relay, $where, $name) = @_;
	my @events = map { my %e; @e{qw(id event_id topic key payload)} = split /\|/; \%e }
	  split /\n/, query("SELECT n, event_id, topic, key, payload FROM emitted WHERE $where ORDER BY n");
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	ok($consumer{$relay}->drain, "$name: read");
	return check_delivery(\@events, [ $consumer{$relay}->records ], $name);
}

sub check_all
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	ok(wait_published($node), "$name: published");
	return check('default', q(topic <> 'bank.a'), "$name, default")
	  + check('audit', q(topic LIKE 'bank.%' OR topic LIKE '%.b'), "$name, audit");
}

sub count { return $consumer{ $_[0] }->count; }

sub more
{
	my ($relay, $by) = @_;
	my $count = count($relay) + $by;

	wait_until(undef, sub { count($relay) >= $count }, "nothing comes to $relay");
	return;
}

note 'segments are used in turn';
my $load = load();
more('audit', 100);
wait_until(undef, sub { query('SELECT min(id) > 500 FROM outbox.event') eq 't' }, 'emptied');
stop_load($node, $load);
is(check_all('in turn'), 0, 'nothing twice');

note 'one is away';
$load = load();
more('audit', 50);
$mock{audit}->command('down');
more('default', 200);
$mock{audit}->command('up');
more('audit', 200);
stop_load($node, $load);
is(check_all('an outage'), 0, 'nothing twice');

note 'kill -9 of the server, one is away again';
$load = load();
more('audit', 50);
$mock{default}->command('down');
more('audit', 100);
crash($node);
$load->wait(60);
$mock{default}->command('up');
$node->start;
# a commit that was not told may have been none; emitted has those that were
check_all('a crash');

note 'statuses';
$node->append_conf('postgresql.conf', "outbox.retention = '1h'");
$node->reload;
query("SELECT outbox_emit(t, 'k', 'x') FROM unnest('{shop.a,shop.b,bank.a}'::text[]) t");
ok(wait_published($node), 'published');
is( query(<<~'END'),
	SELECT topic, string_agg(relay || ' ' || status, ', ' ORDER BY relay)
	FROM outbox.event_status WHERE key = 'k' GROUP BY topic ORDER BY topic
	END
	"bank.a|audit published\nshop.a|default published\nshop.b|audit published, default published",
	'a row for each relay that publishes the topic');

note 'one that begins with the oldest';
my $kept = query('SELECT min(id) FROM outbox.event');
query("SELECT outbox.create_relay('late', topics => '{shop.*}', start => 'oldest')");
query("SELECT outbox.create_relay('now', topics => '{shop.*}')");
is(query("SELECT first_position FROM outbox.relay WHERE name = 'late'"), $kept - 1, 'from there');
wait_until(undef, sub { query(q{SELECT position >= (SELECT max(id) FROM outbox.event)
	FROM outbox.stat_relay WHERE relay = 'late'}) eq 't' }, 'late');
ok($consumer{late}->drain, 'read');
is( check_delivery([ events($node, undef, q(topic LIKE 'shop.%')) ],
		[ $consumer{late}->records ], 'the oldest'),
	0, 'nothing twice');
is(query("SELECT count(*) FROM outbox.event_status WHERE relay = 'now'"), 0,
	'one that begins now has none of them');

$node->stop;
done_testing();
