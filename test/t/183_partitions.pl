# Which partitions a subscription reads, and from where: where it begins, topics
# and partitions that come later, outages, offsets that are gone, outbox.seek(),
# several workers.
#
# Catches: a subscription that jumps over messages that retention has removed, or
# that misses those of a topic or a partition that is made later; that begins
# elsewhere than asked for; that goes on with an offset from before a seek, or
# repeats what was not to be repeated; workers that share a partition, or leave
# one out; lag that stays where nothing is left to do; a wrong state in an
# outage; a server that is crashed by a row written by hand.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use Test::More;

my $mock = OutboxTest::Mock->new(
	topics => { old => 2, late => 1, wide => 4, keep => 1, refused => 1, made_later => 2 });
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1,
	conf => "wal_level = minimal\nmax_wal_senders = 0\n"
	  . "outbox.max_subscribers = 16\nmax_worker_processes = 24");

# Publishes payloads to a partition.
sub produce
{
	my ($topic, $partition, @payloads) = @_;

	kcat($mock->bootstrap, join('', map { "$_\n" } @payloads),
		'-P', '-t', $topic, '-p', $partition);
	return;
}

sub subscribe
{
	my ($name, $topics, @more) = @_;

	query("SELECT outbox.subscribe('$name', '{$topics}', 'public.take(outbox.message)'"
		  . join('', map { ", $_" } @more) . ')');
	return;
}

# What a subscription has been given, in order: "topic/partition:payload"
sub taken
{
	my ($name, $topic) = @_;

	return query(qq{SELECT string_agg(topic || '/' || "partition" || ':' || payload, ' ' ORDER BY n)
		FROM taken WHERE subscription = '$name' AND topic LIKE '} . ($topic // '%') . q{'});
}

sub wait_taken
{
	my ($name, $expected, $what, $topic) = @_;

	wait_until(undef, sub { (taken($name, $topic) // '') eq $expected }, $what)
	  and pass($what)
	  or is(taken($name, $topic), $expected, $what);
	return;
}

# Waits until all workers of a subscription are like that.
sub wait_subscription
{
	my ($name, $condition, $what) = @_;

	ok( wait_until(
			undef,
			sub {
				query("SELECT bool_and($condition) FROM outbox.stat_subscription
					WHERE subscription = '$name'") eq 't';
			},
			$what),
		$what);
	return;
}

$node->safe_psql('postgres', <<~'END');
	CREATE TABLE taken (n bigserial, subscription text, topic text, "partition" int,
		"offset" bigint, payload text, pid int DEFAULT pg_backend_pid());
	CREATE FUNCTION take(m outbox.message) RETURNS void LANGUAGE sql
		AS $$ INSERT INTO public.taken (subscription, topic, "partition", "offset", payload)
			VALUES (m.subscription, m.topic, m."partition", m."offset", outbox.payload_text(m)) $$;
	END

note 'where it begins';
produce('old', 0, 'a', 'b');
produce('old', 1, 'c');
produce('late', 0, 'before');
subscribe('early', 'old', "start => 'earliest'");
subscribe('late', 'late', "start => 'latest'");
wait_until(undef, sub { query(q{SELECT count(*) FROM taken WHERE subscription = 'early'}) == 3 },
	'all that there was');
is(query(q{SELECT string_agg(payload, ' ' ORDER BY n) FROM taken WHERE "partition" = 0}),
	'a b', 'each partition in its order');
wait_rows(1, "subscription = 'late'", 'outbox.subscription_offset');
produce('late', 0, 'after');
wait_taken('late', 'late/0:after', 'latest: only what comes later');
wait_subscription('early', 'lag_messages = 0', 'nothing is left to do');

note 'a topic that is made later is read from its beginning';
$mock->command('refuse made_later UNKNOWN_TOPIC_OR_PART');
subscribe('waiting', 'made_later', "start => 'latest'");
wait_rows(1, "topic = 'made_later' AND next_offset = 0", 'outbox.subscription_offset');
wait_subscription('waiting', q{state = 'consuming' AND last_error = 'It waits for topic "made_later", which is not there'},
	'it waits for its topic, and says so');
wait_subscription('waiting', 'lag_messages IS NULL', '... and how much is behind is not known');
is(query(q{SELECT lag FROM outbox.subscription_partition WHERE topic = 'made_later'}), '', '... nor of the partition');
$mock->command('allow made_later');
produce('made_later', 1, 'one');
wait_taken('waiting', 'made_later/1:one', 'all of it is read');

note 'several workers';
subscribe('wide', 'wide', "start => 'earliest'", 'workers => 2');
produce('wide', $_, "w$_") for 0 .. 3;
wait_until(undef, sub { query(q{SELECT count(*) FROM taken WHERE subscription = 'wide'}) == 4 },
	'all partitions are read');
is(query(q{SELECT count(DISTINCT pid), count(DISTINCT (pid, "partition" % 2)), count(*)
	FROM taken WHERE subscription = 'wide'}),
	'2|2|4', 'each by its own worker, once');

note 'seek';
query(q{SELECT outbox.seek('early', to_offset => 1, topic => 'old', partition => 0)});
wait_until(undef, sub { query(q{SELECT count(*) FROM taken WHERE subscription = 'early'}) == 4 },
	'by offset');
is(query(q{SELECT payload FROM taken WHERE subscription = 'early' ORDER BY n DESC LIMIT 1}),
	'b', 'from there on, once more');
query(q{SELECT outbox.seek('early', place => 'earliest')});
wait_until(undef, sub { query(q{SELECT count(*) FROM taken WHERE subscription = 'early'}) == 7 },
	'to the beginning');
query(q{SELECT outbox.pause_subscription('early', 'a test')});
wait_subscription('early', "state = 'paused' AND lag_messages IS NULL", 'it is paused, and does not know what waits');
produce('old', 0, 'skipped');
query(q{SELECT outbox.seek('early', place => 'latest')});
query(q{SELECT outbox.resume_subscription('early')});
wait_rows(2, "subscription = 'early' AND seek IS NULL", 'outbox.subscription_offset');
produce('old', 0, 'goes on');
wait_until(undef,
	sub { (query(q{SELECT payload FROM taken WHERE subscription = 'early' ORDER BY n DESC LIMIT 1})) eq 'goes on' },
	'to the end');
is(query(q{SELECT count(*) FROM taken WHERE payload = 'skipped'}), '0', 'what is before it is not read');

note 'an outage';
my $offset = -s $node->logfile;
$mock->command('down');
wait_subscription('early', "state = 'unavailable'", 'an outage is shown');
subscribe('unknown', 'old');
wait_subscription('unknown', "state = 'unavailable' AND lag_messages IS NULL", 'one that begins in it does not know what waits');
query(q{SELECT outbox.unsubscribe('unknown')});
$mock->command('up');
wait_subscription('early', "state = 'consuming'", 'and that it is over');
produce('old', 1, 'back');
wait_until(undef, sub { query(q{SELECT count(*) FROM taken WHERE payload = 'back'}) == 1 }, 'it goes on');
my $log = PostgreSQL::Test::Utils::slurp_file($node->logfile, $offset);
my @begun = $log =~ /"early"[^\n]*consuming -> unavailable/g;
is(scalar @begun, 1, 'told once');

note 'retention has passed the offset';
subscribe('gap', 'keep', "start => 'earliest'");
subscribe('skip', 'keep', "start => 'earliest'", "on_gap => 'skip'");
produce('keep', 0, 'first');
wait_taken('gap', 'keep/0:first', 'it reads');
wait_taken('skip', 'keep/0:first', 'both do');
query(qq{SELECT outbox.pause_subscription('$_')}) for qw(gap skip);
wait_subscription($_, "state = 'paused'", "$_ is paused") for qw(gap skip);
# of a partition, the mock keeps 5 MB
for (1 .. 8)
{
	kcat($mock->bootstrap, 'x' x 900_000, qw(-P -t keep -p 0 -D), "\x01");
}
produce('keep', 0, 'last');
query(qq{SELECT outbox.resume_subscription('$_')}) for qw(gap skip);
wait_subscription('gap', "state = 'gap'", 'a gap is shown');
like(query(q{SELECT gap FROM outbox.subscription_offset WHERE subscription = 'gap'}),
	qr/^offsets from 1 to \d+ are not kept any more$/, 'and what is missing');
wait_until(undef,
	sub { query(q{SELECT count(*) FROM taken WHERE subscription = 'skip' AND payload = 'last'}) == 1 },
	'or it goes on behind it');
is(query(q{SELECT count(*) FROM taken WHERE subscription = 'gap'}), '1', 'the other one does not');
query(q{SELECT outbox.seek('gap', place => 'earliest')});
wait_until(undef,
	sub { query(q{SELECT count(*) FROM taken WHERE subscription = 'gap' AND payload = 'last'}) == 1 },
	'until it is told where to');
wait_subscription('gap', "state = 'consuming'", 'then it is over');
is(query(q{SELECT count(*) FROM taken WHERE subscription = 'gap'}),
	query(q{SELECT count(*) FROM taken WHERE subscription = 'skip'}), 'both have the same');

note 'a topic that is gone, and is there again';
subscribe('gone', 'refused', "start => 'earliest'");
produce('refused', 0, 'one');
wait_taken('gone', 'refused/0:one', 'it reads');
$mock->command('refuse refused UNKNOWN_TOPIC_OR_PART');
wait_subscription('gone', "state = 'gap'", 'that is a gap');
$mock->command('allow refused');
produce('refused', 0, 'two');
like(query(q{SELECT gap FROM outbox.subscription_offset WHERE subscription = 'gone'}),
	qr/^the topic has been deleted/, 'which stays');
query(q{SELECT outbox.seek('gone', place => 'earliest')});
wait_taken('gone', 'refused/0:one refused/0:one refused/0:two', 'until it is told where to go on');

is(query(q{SELECT count(*) FROM outbox.subscription_offset WHERE gap IS NOT NULL OR seek IS NOT NULL}),
	'0', 'nothing waits any more');

note 'rows that somebody has written by hand';
query(q{SELECT outbox.pause_subscription('gone')});
wait_subscription('gone', "state = 'paused'", 'it is paused');
query(q{INSERT INTO outbox.subscription_offset (subscription, topic, partition, next_offset, updated_at)
	VALUES ('gone', 'refused', 2147483647, 0, clock_timestamp())});
query(q{SELECT outbox.resume_subscription('gone')});
wait_subscription('gone', "state = 'failing' AND last_error ~ 'more than there can be'",
	'a partition that cannot be is told');
query(q{DELETE FROM outbox.subscription_offset WHERE partition = 2147483647});
wait_subscription('gone', "state = 'consuming'", 'and that is over without it');
fails_with($node, 'postgres', 'UPDATE outbox.subscription_offset SET next_offset = -1', '23514',
	qr/violates check constraint/, 'no offset is before the first one');

$node->stop;
$mock->stop;
done_testing();
