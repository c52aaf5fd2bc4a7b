# Two databases with outbox, one of which subscribes to all tables of the other.
#
# Catches: the publisher's events published once more by the subscriber; ids and
# positions that come from the publisher, so that the subscriber's own events
# fail at COMMIT, count as published or never are; segments of the subscriber
# that are emptied when the publisher frees its own; a subscription that stops;
# triggers of the subscriber that cannot emit any more.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use Test::More;

my $mock = OutboxTest::Mock->new;
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('subscriber',
	bootstrap => $mock->bootstrap,
	extension => 1,
	conf => "wal_retrieve_retry_interval = 100ms\noutbox.enabled = off");
my $publisher = outbox_node('publisher',
	bootstrap => $mock->bootstrap,
	extension => 1,
	allows_streaming => 'logical',
	conf => "outbox.retention = -1\noutbox.segments = 3");
my $ours = "srrelid IN (SELECT c.oid FROM pg_class c"
  . " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'outbox')";
my $sent = 0;

sub source { return $publisher->safe_psql('postgres', $_[0]); }

# Events of every kind, and an ordinary row, on the publisher.
sub send_events
{
	my $from = $sent + 1;

	$sent += 20;
	source(<<~END);
		SELECT outbox_emit('published', 'k' || n % 3, n::text) FROM generate_series($from, $sent) n;
		SELECT outbox_emit('published', 'due', n::text, deliver_after => '1 ms') FROM generate_series(1, 3) n;
		SELECT outbox_emit('published', 'expired', 'x', expires_at => now() - interval '1 s');
		SELECT outbox_emit('published', 'no', 'x', deliver_after => '1 day');
		SELECT outbox.cancel_delayed(event_id) FROM outbox.delayed WHERE key = 'no';
		INSERT INTO orders SELECT n FROM generate_series($from, $sent) n;
		END
	ok( $publisher->poll_query_until('postgres', <<~'END'), 'the publisher has published');
		SELECT pending_events + delayed + retrying + waiting = 0 AND outbox.wait_published() FROM outbox.stat_relay
		END
	return;
}

# The publisher's retention empties a segment, while new events keep coming; it
# empties none at other times.
sub empty_a_segment
{
	my $oldest = source("SELECT outbox_emit('published', 'k', 'old'); SELECT min(id) FROM outbox.event");
	$oldest =~ s/.*\n//;
	conf_reload($publisher, 'outbox.retention = 1s');
	wait_until(
		undef,
		sub {
			return source(<<~END) eq 't';
				SELECT FROM outbox_emit('published', 'k', 'new');
				SELECT min(id) > $oldest FROM outbox.event
				END
		},
		'a segment is emptied');
	conf_reload($publisher, 'outbox.retention = -1');
	return;
}

sub replicated
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$publisher->wait_for_catchup('sub');
	return is(query('SELECT count(*) FROM orders'), $sent, "$name: ordinary rows are replicated");
}

note 'all that the publisher has, copied and streamed';
source('CREATE TABLE orders (id int PRIMARY KEY)');
query(<<~'END');
	CREATE TABLE orders (id int PRIMARY KEY);
	CREATE FUNCTION emit_order() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM public.outbox_emit('triggered', NEW.id, 'x');
		-- not what replication brings: the subscriber's own
		PERFORM outbox.cancel_delayed(event_id) FROM outbox.delayed WHERE payload = 'cancel';
		RETURN NULL;
	END $$;
	CREATE TRIGGER emit_order AFTER INSERT ON orders
		FOR EACH ROW EXECUTE FUNCTION emit_order();
	ALTER TABLE orders ENABLE ALWAYS TRIGGER emit_order;
	SELECT outbox_emit('own', 'k' || n % 3, 'before ' || n) FROM generate_series(1, 20) n;
	SELECT outbox_emit('own', 'k', 'cancel', deliver_after => '1 day');
	END
send_events();
source('CREATE PUBLICATION pub FOR ALL TABLES');
my ($status, $out, $notice) = $node->psql('postgres',
	"CREATE SUBSCRIPTION sub CONNECTION '@{[$publisher->connstr]} dbname=postgres' PUBLICATION pub");
is($status, 0, 'CREATE SUBSCRIPTION');
like($notice, qr/tables of extension "outbox" are left out of subscription "sub"/, '... tells it');
is(query('SELECT srrelid::regclass FROM pg_subscription_rel'), 'orders', '... and leaves them out');
$node->wait_for_subscription_sync($publisher, 'sub');
send_events();
replicated('stream');
is(query("SELECT count(*) FROM outbox.event WHERE topic = 'published'"), 0, 'no event comes in');
is(query('SELECT count(*) FROM outbox.delayed'), 0, 'a trigger can change what is ours');
query("SELECT outbox_emit('own', 'k' || n % 3, 'after ' || n) FROM generate_series(1, 20) n");
empty_a_segment();
replicated('TRUNCATE');
is(query("SELECT count(*) FROM outbox.event WHERE topic = 'own'"), 40, 'nothing is emptied');
query('ALTER SUBSCRIPTION sub REFRESH PUBLICATION');
is(query('SELECT srrelid::regclass FROM pg_subscription_rel'), 'orders', 'REFRESH leaves them out, too');

is( query(<<~'END'), 0, 'all tables have the triggers');
	SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE n.nspname = 'outbox' AND c.relkind = 'r'
		AND 2 <> (SELECT count(*) FROM pg_trigger t WHERE t.tgrelid = c.oid
			AND t.tgname IN ('replicated', 'replicated_truncate') AND t.tgenabled = 'R')
	END

note 'a subscription that is older than outbox';
query(<<~'END');
	INSERT INTO pg_subscription_rel (srsubid, srrelid, srsubstate)
		SELECT s.oid, c.oid, 'r' FROM pg_subscription s, pg_class c
		JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = 'outbox' AND c.relkind = 'r';
	END
my $subscribed = query("SELECT count(*) FROM pg_subscription_rel WHERE $ours");
cmp_ok($subscribed, '>', 20, 'all tables of ours are subscribed to');
my $from = log_end($node);
send_events();
replicated('skipped');
is(query("SELECT count(*) FROM outbox.event WHERE topic = 'published'"), 0, 'no event comes in');
is(log_lines($node, $from, qr/WARNING:  replicated rows of table "outbox\.\w+", and of others/),
	1, 'a line in the log');
empty_a_segment();
send_events();
wait_until(undef,
	sub { log_lines($node, $from, qr/ERROR:  table "outbox\.\w+" cannot be truncated by replication/) },
	'TRUNCATE is refused');
is(query("SELECT count(*) FROM outbox.event WHERE topic = 'own'"), 40, 'nothing is emptied');

note 'the relay mends the subscription when it starts';
conf_reload($node, 'outbox.enabled = on');
$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_subscription_rel WHERE $ours")
  or die;
replicated('mended');
query("SELECT outbox_emit('own', 'k' || n % 3, 'mended ' || n) FROM generate_series(1, 20) n");

note 'what arrived';
ok(wait_published($node), 'all is published');
ok($consumer->drain, 'drained');
my @records = $consumer->records;
my @own = grep { $_->{topic} ne 'published' } @records;
is(check_delivery([ events($node) ], \@own, 'subscriber'), 0, '... once');
is(@own, 60 + $sent, 'its own events, and those of its triggers');
is($consumer->count, $consumer->events, 'nothing is published twice');
clean_log($node, 'nothing unclean in the log', also => qr/duplicate key/);
query('DROP SUBSCRIPTION sub');
$_->stop for $node, $publisher;
done_testing();
