# Failures of a real Apache Kafka: events too large for a topic among thousands
# of good ones, a topic that does not exist, one that we may not write to,
# timestamps that are refused for now, and a partition count that changes.
#
# Catches: what the mock cannot show: a refused batch that takes good events
# along or lets them overtake each other, a producer that hears nothing of a
# topic it may not see, an event published twice because the producer began
# anew.

use strict;
use warnings;

use OutboxTest;
use Test::More;

if (my $why = OutboxTest::Kafka->skip_reason)
{
	plan skip_all => $why;
}

my $kafka = OutboxTest::Kafka->new(
	settings => {
		'auto.create.topics.enable' => 'false',
		'authorizer.class.name' =>
		  'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
		'allow.everyone.if.no.acl.found' => 'true',
	});
my @acl = ('org.apache.kafka.tools.AclCommand',
	'--bootstrap-server', $kafka->bootstrap, '--force');
my @allowed = qw(narrow free changing late stamped);
$kafka->create_topic('narrow', 2, 'max.message.bytes=20000');
$kafka->create_topic($_, 4) for qw(free secret);
$kafka->create_topic('changing', 1);

my $node = outbox_node('main',
	bootstrap => $kafka->bootstrap,
	extension => 1,
	conf => <<~'END');
		outbox.retry_base_delay = '200ms'
		outbox.retry_max_delay = '1s'
		outbox.retry_max_attempts = 0
		END

sub poll
{
	my ($sql, $what) = @_;

	ok($node->poll_query_until('postgres', "SELECT ($sql)"), $what);
	return;
}

note 'events too large for their topic, among thousands of good ones';
wait_state($node, 'publishing');
my $pid = relay_pid($node);
query(<<~'END');
	SELECT outbox_emit('narrow', n % 10,
		repeat('x', CASE WHEN n IN (1500, 3000) THEN 50000 ELSE 200 END))
	FROM generate_series(1, 4000) n;
	SELECT outbox_emit('free', n % 10, n::text) FROM generate_series(1, 2000) n;
	END
ok(wait_published($node), 'all is settled');
is( query(q{SELECT string_agg(DISTINCT topic || ' ' || length(payload) || ' '
		|| class || ' ' || attempts, ',') || ' ' || count(*) FROM outbox.dead_letter}),
	'narrow 50000 size 1 2',
	'the two large ones are dead letters, and no other');
like(query('SELECT max(error) FROM outbox.dead_letter'),
	qr/MSG_SIZE_TOO_LARGE/, 'with the broker\'s words');
is(query('SELECT retrying + waiting FROM outbox.stat_relay'), 0, 'nothing else is parked');

note 'requeued once the topic takes them';
$kafka->run('kafka.admin.ConfigCommand', '--bootstrap-server', $kafka->bootstrap,
	qw(--alter --entity-type topics --entity-name narrow --add-config),
	'max.message.bytes=1048588');
is(query('SELECT count(*) FROM outbox.requeue()'), 2, 'requeued');
poll('SELECT retrying + waiting + dead_letters = 0 FROM outbox.stat_relay', 'published');

note 'a topic that does not exist parks itself only';
query(q{SELECT outbox_emit('late', n % 5, n::text) FROM generate_series(1, 500) n});
query(q{SELECT outbox_emit('free', n % 10, n::text) FROM generate_series(1, 500) n});
poll('SELECT retrying + waiting = 500 FROM outbox.stat_relay', 'its events are parked');
is(query('SELECT scope, topic, class, waiting FROM outbox.blocked'),
	'topic|late|topic|499', 'outbox.blocked says why');
ok(wait_published($node), 'the others are published');
query(q{SELECT outbox_emit('late', n % 5, n::text) FROM generate_series(501, 600) n});
$kafka->create_topic('late', 4);
poll('SELECT retrying + waiting = 0 FROM outbox.stat_relay',
	'published by itself when it appears');

note 'a timestamp that the topic does not take, for now';
query(q{SELECT outbox_emit('stamped', 'k', n::text) FROM generate_series(1, 3) n});
poll(q{SELECT emitted_at < now() - interval '3 s' FROM outbox.parked LIMIT 1}, 'it waits');
$kafka->create_topic('stamped', 1, 'message.timestamp.before.max.ms=2000');
poll(q{SELECT class = 'event' AND state = 'retrying' FROM outbox.parked ORDER BY id LIMIT 1},
	'it is refused for now');
like(query('SELECT error FROM outbox.blocked'), qr/INVALID_TIMESTAMP/, 'because of it');
$kafka->run('kafka.admin.ConfigCommand', '--bootstrap-server', $kafka->bootstrap,
	qw(--alter --entity-type topics --entity-name stamped --add-config),
	'message.timestamp.before.max.ms=86400000');
poll('SELECT retrying + waiting + dead_letters = 0 FROM outbox.stat_relay',
	'published by itself when it does');

note 'a topic that we may not write to, and then may';
$kafka->run(@acl, qw(--add --deny-principal User:ANONYMOUS --operation All
	  --topic secret));
query(q{SELECT outbox_emit('secret', n % 5, n::text) FROM generate_series(1, 300) n});
poll('SELECT retrying + waiting = 300 FROM outbox.stat_relay', 'its events are parked');
like(query('SELECT error FROM outbox.blocked'),
	qr/TOPIC_AUTHORIZATION_FAILED/, 'because it is forbidden');
query(q{SELECT outbox_emit('free', n % 10, n::text) FROM generate_series(1, 500) n});
ok(wait_published($node), 'the others are published');
$kafka->run(@acl, qw(--remove --deny-principal User:ANONYMOUS --operation All
	  --topic secret));
poll('SELECT retrying + waiting = 0 FROM outbox.stat_relay', 'published once it is allowed');

note 'a topic gets more partitions';
query(q{SELECT outbox_emit('changing', n % 5, n::text) FROM generate_series(1, 500) n});
ok(wait_published($node), 'published');
$kafka->run('org.apache.kafka.tools.TopicCommand', '--bootstrap-server',
	$kafka->bootstrap, qw(--alter --topic changing --partitions 3));
query(q{SELECT outbox_emit('changing', n % 5, n::text) FROM generate_series(501, 1000) n});
ok(wait_published($node), 'and published');

my $consumer = OutboxTest::Consumer->new(bootstrap => $kafka->bootstrap);
my @events = events($node);
ok($consumer->wait_for_events(scalar @events), 'all events are read');
ok($consumer->drain, 'and nothing is left');

# requeued events come after what was published of their keys meanwhile, and
# more partitions mean other partitions for the keys
my @ordered = grep { $_->{topic} !~ /^(narrow|changing)$/ } @events;
is( check_delivery(
		\@ordered,
		[ grep { $_->{topic} !~ /^(narrow|changing)$/ } $consumer->records ]),
	0,
	'nothing twice');
my %seen;
$seen{ $_->{event_id} }++ for $consumer->records;
is(scalar(keys %seen), scalar(@events), 'nothing lost or invented');
is(scalar(grep { $_ > 1 } values %seen), 0, 'and nothing twice');
is(relay_pid($node), $pid, 'by one process');

$node->stop;
$kafka->stop;
done_testing();
