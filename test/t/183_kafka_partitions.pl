# What only a real Kafka does to the partitions of a subscription: adds some,
# deletes records, deletes a topic that is made again, keeps marks of
# transactions, finds offsets by time.
#
# Catches: a partition that is found only after minutes, or from its end; a gap
# that nobody is told of, or that is jumped over though it should wait; a
# subscription that goes on in a topic made anew as if it was the old one; lag
# that never becomes 0 behind an aborted transaction; a time that is an hour off.

use strict;
use warnings;

use IPC::Run;
use OutboxTest;
use PostgreSQL::Test::Utils;
use Test::More;

if (my $why = OutboxTest::Kafka->skip_reason)
{
	plan skip_all => $why;
}

my $kafka = OutboxTest::Kafka->new;
$kafka->create_topic($_, 1) for qw(grow keep again marks);
my $node = outbox_node('main',
	bootstrap => $kafka->bootstrap,
	extension => 1,
	conf => "outbox.max_subscribers = 16\nmax_worker_processes = 24\nTimeZone = 'Asia/Tokyo'");

sub produce
{
	my ($topic, $partition, @payloads) = @_;

	kcat($kafka->bootstrap, join('', map { "$_\n" } @payloads),
		'-P', '-t', $topic, '-p', $partition);
	return;
}

sub subscribe
{
	my ($name, $topic, @more) = @_;

	query("SELECT outbox.subscribe('$name', '{$topic}', 'public.take(outbox.message)'"
		  . join('', map { ", $_" } @more) . ')');
	return;
}

sub wait_taken
{
	my ($name, $expected, $what) = @_;
	my $sql = qq{SELECT coalesce(string_agg(payload, ' ' ORDER BY n), '') FROM taken
		WHERE subscription = '$name'};

	eval { wait_until(undef, sub { query($sql) eq $expected }, $what) };
	is(query($sql), $expected, $what);
	return;
}

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

sub topic_command
{
	my (@args) = @_;

	$kafka->run('org.apache.kafka.tools.TopicCommand', '--bootstrap-server',
		$kafka->bootstrap, @args);
	return;
}

$node->safe_psql('postgres', <<~'END');
	CREATE TABLE taken (n bigserial, subscription text, topic text, "partition" int,
		"offset" bigint, payload text);
	CREATE FUNCTION take(m outbox.message) RETURNS void LANGUAGE sql
		AS $$ INSERT INTO public.taken (subscription, topic, "partition", "offset", payload)
			VALUES (m.subscription, m.topic, m."partition", m."offset", outbox.payload_text(m)) $$;
	END

note 'a partition is added';
subscribe('grow', 'grow', "start => 'latest'");
wait_rows(1, "subscription = 'grow'", 'outbox.subscription_offset');
topic_command(qw(--alter --topic grow --partitions 2));
produce('grow', 1, 'a');
my $since = time;
wait_taken('grow', 'a', 'it is read from its beginning');
cmp_ok(time - $since, '<', 15, 'and found in seconds');

note 'places in time';
produce('keep', 0, 'b');
my $between = query(q{SELECT pg_sleep(0.02); SELECT clock_timestamp()}) =~ s/^\s+//r;
$node->safe_psql('postgres', 'SELECT pg_sleep(0.02)');
produce('keep', 0, 'c');
subscribe('later', 'keep', "start => '$between'");
wait_taken('later', 'c', 'it begins at a time');
subscribe('keep', 'keep', "start => 'earliest'");
wait_taken('keep', 'b c', 'or at the beginning');
query(qq{SELECT outbox.seek('keep', to_time => '$between')});
wait_taken('keep', 'b c c', 'and goes on at a time');

note 'records are deleted';
subscribe('skip', 'keep', "start => 'earliest'", "on_gap => 'skip'");
wait_taken('skip', 'b c', 'another one');
query(qq{SELECT outbox.pause_subscription('$_')}) for qw(keep skip);
wait_subscription($_, "state = 'paused'", "$_ is paused") for qw(keep skip);
produce('keep', 0, qw(lost d));
my $file = PostgreSQL::Test::Utils::tempdir() . '/offsets.json';
append_to_file($file,
	'{"partitions": [{"topic": "keep", "partition": 0, "offset": 3}], "version": 1}');
$kafka->run('org.apache.kafka.tools.DeleteRecordsCommand', '--bootstrap-server',
	$kafka->bootstrap, '--offset-json-file', $file);
query(qq{SELECT outbox.resume_subscription('$_')}) for qw(keep skip);
wait_subscription('keep', "state = 'gap' AND gaps = 1", 'a gap is shown');
is(query(q{SELECT gap FROM outbox.subscription_partition WHERE subscription = 'keep'}),
	'offsets from 2 to 2 are not kept any more', 'and what is missing');
wait_taken('skip', 'b c d', 'the other one goes on behind it');
query(q{SELECT outbox.seek('keep', to_offset => 3, topic => 'keep', partition => 0)});
wait_taken('keep', 'b c c d', 'so does the first, when it is told to');

note 'an aborted transaction is the last there is';
subscribe('marks', 'marks', "start => 'earliest'");
my $lines = "\\B\nmarks\t0\t\\N\taborted\n\\F\n\\A\n";
my $answers = '';
IPC::Run::run([ OutboxTest::Mock::program('produce'), '-X', 'transactional.id=x',
		$kafka->bootstrap ], '<', \$lines, '>', \$answers)
  or die "produce: $answers";
wait_subscription('marks', "lag_messages = 0 AND state = 'consuming'", 'nothing is left to do');
wait_until(undef,
	sub { query(q{SELECT next_offset FROM outbox.subscription_offset WHERE subscription = 'marks'}) > 1 },
	'behind the mark');
is(query(q{SELECT count(*) FROM taken WHERE subscription = 'marks'}), '0', 'and nothing has been done');

note 'a topic is deleted, and made again';
subscribe('wait', 'again', "start => 'earliest'");
subscribe('on', 'again', "start => 'earliest'", "on_gap => 'skip'");
produce('again', 0, qw(x y));
wait_taken($_, 'x y', "$_ reads") for qw(wait on);
topic_command(qw(--delete --topic again));
wait_subscription('wait', "state = 'gap'", 'a gap');
wait_rows(2, "topic = 'again' AND gap IS NOT NULL", 'outbox.subscription_offset');
$kafka->create_topic('again', 1);
produce('again', 0, qw(p q r s));
wait_taken('on', 'x y p q r s', 'one goes on with what is new');
wait_taken('wait', 'x y', 'the other one does not');
query(q{SELECT outbox.seek('wait', place => 'earliest')});
wait_taken('wait', 'x y p q r s', 'until it is told to');

$node->stop;
$kafka->stop;
done_testing();
