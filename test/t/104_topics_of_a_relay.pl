# Patterns say which topics a relay publishes: to it, events of others are not
# there. Its position moves on over them, also while it has no brokers.
#
# Catches: an event that is published though its topic is not chosen, or is lost
# though it is; a position that stands still, so that nothing is emptied and
# everybody waits; a row in outbox.position each second for nothing; an event
# that is parked, and forgotten with its topic; payloads that are read only to
# be passed over.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use Test::More;

my $mock = OutboxTest::Mock->new;
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1,
	conf => "outbox.retry_base_delay = 200ms\noutbox.retry_max_delay = 400ms\n");

# Sets the patterns, as arrays or NULL, as outbox.alter_relay() does.
sub set_patterns
{
	my ($topics, $excluding) = @_;
	my ($t, $e) = map { defined $_ ? "'$_'" : 'NULL' } $topics, $excluding;

	query(<<~"END");
		UPDATE outbox.relay SET topics = $t, excluding = $e WHERE name = 'default';
		SELECT outbox.relays_changed();
		END
	return;
}

sub emit
{
	my ($topic, $payload) = @_;

	return query("SELECT outbox_emit('$topic', 'k', '$payload')");
}

# What has arrived of a topic, as one text
sub arrived
{
	my ($topic) = @_;

	return join ' ', map { $_->{payload} }
	  grep { $_->{topic} eq $topic } $consumer->records;
}

sub position { return query('SELECT position FROM outbox.stat_relay'); }
sub last_id { return query('SELECT last_value FROM outbox.event_id_seq'); }

note 'some topics';
set_patterns('{shop.*,exact}', '{*.secret}');
query(<<~'END');
	SELECT outbox_emit(t, 'k' || n % 7, n::text)
	FROM generate_series(1, 300) n,
		 unnest('{shop.orders,shop.secret,exact,exactly,shop,bank.orders}'::text[]) t
	END
ok(wait_published($node), 'published');
ok($consumer->drain, 'read');
is( check_delivery(
		[ events($node, undef, q(topic IN ('shop.orders', 'exact'))) ],
		[ $consumer->records ], 'some topics'),
	0, 'nothing twice');
is(query('SELECT pending_events FROM outbox.stat_relay'), 0, 'nothing is pending');

note 'any number of topics';
set_patterns('{*7}', undef);
query(q{SELECT outbox_emit('t' || n, NULL, 'n' || n) FROM generate_series(1, 3000) n});
ok(wait_published($node) && $consumer->drain, 'published');
is(scalar(grep { $_->{payload} =~ /^n/ } $consumer->records), 300, 'each is decided');
is(scalar(grep { $_->{payload} =~ /^n.*[^7]$/ } $consumer->records), 0, 'and right');

note 'none of those that there are';
set_patterns('{}', undef);
emit('shop.orders', 'nobody');
ok(wait_published($node), 'nobody waits for what is not published');
$node->poll_query_until('postgres',
	'SELECT written_position = position FROM outbox.stat_relay', 't')
  or die 'the position is not written';
my $rows = query('SELECT count(*) FROM outbox.position');
stays(3, sub { emit('shop.orders', 'nobody'); });
ok(wait_published($node), 'passed over');
cmp_ok(query('SELECT count(*) FROM outbox.position') - $rows,
	'<=', 1, 'the position is not written each second for that');
is(position(), last_id(), 'but it is known');
ok($node->poll_query_until('postgres',
	'SELECT written_position = position FROM outbox.stat_relay', 't'),
	'and written in the end');

note 'a change counts for what comes after it';
set_patterns(undef, '{orders}');
emit('orders', 'before');
emit('payments', 'before');
ok(wait_published($node), 'passed over');
set_patterns(undef, undef);
emit('orders', 'after');
ok(wait_published($node) && $consumer->drain, 'published');
is(arrived('orders'), 'after', 'what has been passed over is not published');
is(arrived('payments'), 'before', 'others are');

note 'what is parked stays, whatever becomes of the patterns';
$mock->command('topic late 1');
$mock->command('refuse late UNKNOWN_TOPIC_OR_PART');
emit('late', $_) for 1 .. 3;
wait_parked(3);
set_patterns('{payments}', undef);
emit('late', 4);
emit('payments', 'beside');
ok(wait_published($node), 'passed over');
is(query('SELECT retrying + waiting FROM outbox.stat_relay'), 3, 'the fourth is not parked');
$mock->command('allow late');
wait_parked(0);
ok($consumer->drain, 'read');
is(arrived('late'), '1 2 3', 'those that were parked are published, the other one is not');
is(arrived('payments'), 'before beside', 'and those that are chosen');

note 'without brokers';
conf_taken($node, q(outbox.bootstrap_servers = ''));
wait_state($node, 'unconfigured');
emit('others', $_) for 1 .. 3;
ok(wait_published($node), 'the position moves on over others');
emit('payments', 'first');
my $first = last_id();
emit('others', 4);
$node->poll_query_until('postgres', 'SELECT position FROM outbox.stat_relay', $first - 1)
  or die position() . " is not $first - 1";
is(query(q{SELECT outbox.wait_published('1 s')}), 'f', 'and waits for the first that is chosen');
is(position(), $first - 1, 'just before it');
set_patterns('{others}', undef);
ok($node->poll_query_until('postgres', 'SELECT position FROM outbox.stat_relay', $first),
	'other patterns: it goes on to what is chosen now');
set_patterns('{payments,others}', undef);
conf_taken($node, "outbox.bootstrap_servers = '" . $mock->bootstrap . "'");
ok(wait_published($node) && $consumer->drain, 'published');
is(arrived('others'), '4', 'what has been passed over is not published');
is(arrived('payments'), 'before beside', 'nor this');

note 'after a crash';
set_patterns('{shop.*}', undef);
emit('shop.orders', 'c1');
ok(wait_published($node), 'published');
emit('bank.orders', $_) for 1 .. 3;
crash($node);
$node->start;
emit('shop.orders', 'c2');
ok(wait_published($node) && $consumer->drain, 'published');
like(arrived('shop.orders'), qr/ c1 (?:c1 )?c2$/, 'it goes on with the same patterns');
is(arrived('bank.orders'), '', 'and nothing else has come');

note 'payloads that cannot be read, and need not be';
conf_reload($node, "outbox.enabled = 'off'");
wait_state($node, 'disabled');
query(<<~'END');
	SELECT outbox_emit('bank.orders', 'k', (SELECT string_agg(md5(n::text), '') FROM generate_series(1, 500) n))
	END
damage_toast($node, 'event_0');
$node->start;
conf_reload($node, "outbox.enabled = 'on'");
emit('shop.orders', 'c3');
ok(wait_published($node) && $consumer->drain, 'published');
like(arrived('shop.orders'), qr/ c2 c3$/, 'what is chosen');
is(query('SELECT count(*) FROM outbox.parked'), 0, 'no dead letters');
is(query('SELECT last_error IS NULL FROM outbox.stat_relay'), 't', 'nor any error');

$node->stop;
done_testing();
