# What events tell of themselves, wherever they go; rules for topics, in other
# sessions and other encodings; events found by a name that a caller gave.
#
# Catches: a type, a source or a content type that gets lost on the way; a
# schema's prefix put in twice, or in an event that is moved or replayed after
# its rule has changed; a session that goes on with rules that it remembers; a
# rule that does not come through a dump; a look-up that reads all that is kept;
# a regular expression that is matched with a key of many megabytes.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use PostgreSQL::Test::Utils ();
use Test::More;

my $mock = OutboxTest::Mock->new(topics => { t => 1, later => 1, refused => 1 });
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1,
	conf => <<~'END');
		outbox.retry_base_delay = 50ms
		outbox.retry_max_attempts = 1
		END
my $own = "type => 'a', source => '/s', content_type => 'text/plain'";
my $all = 'a|/s|text/plain';

# What has arrived since the last call, of several topics
sub payloads
{
	ok(wait_published($node) && $consumer->drain, 'published');
	return [ sort map { unpack 'H*', $_->{payload} // '' } $consumer->take ];
}

note 'another session learns of it';
my $session = $node->background_psql('postgres', on_error_stop => 0);
my $call = "SELECT outbox_emit('t', NULL, 'x') IS NOT NULL";
is($session->query($call), 't', 'without rules');
query("SELECT outbox.set_topic_rule('*', key_required => true)");
is($session->query($call), '', 'refused');
like($session->{stderr}, qr/rule for topic "\*".*It has no key/s, '... by the rule');
$session->{stderr} = '';
is($session->query("SET client_min_messages = error; $call"), '', '... again');
query("SELECT outbox.drop_topic_rule('*')");
is($session->query($call), 't', 'until it is dropped');
query("BEGIN; SELECT outbox.set_topic_rule('*', key_required => true); ROLLBACK");
is($session->query($call), 't', 'one that is rolled back is none');
$session->quit;
payloads();

note 'a schema stays with the event';
query("SELECT outbox.set_topic_rule('t', schema_id => 7), outbox.set_topic_rule('later', schema_id => 7)");
my ($first) = query('SELECT last_value FROM outbox.event_id_seq');
query(<<~"END");
	SELECT outbox_emit('t', 'k', 'a', $own);
	SELECT outbox_emit('t', 'k', NULL, $own);
	SELECT outbox_emit('later', 'k', 'b', deliver_after => '0.3 s', $own);
	SELECT outbox.set_topic_rule('t', schema_id => 8), outbox.set_topic_rule('later', schema_id => 8);
	END
is(query('SELECT type, source, content_type FROM outbox.delayed'), $all, 'delayed');
wait_until(undef, sub { query('SELECT count(*) FROM outbox.delayed') == 0 }, 'moved');
is_deeply(payloads(), [ '', '000000000761', '000000000762' ], 'as they were written');
my $job = query('SELECT outbox.replay(first_id => ' . ($first + 1) . ')');
wait_until(undef, sub { query("SELECT state FROM outbox.stat_replay WHERE id = $job") eq 'done' }, 'replayed');
is_deeply(payloads(), [ '', '000000000761', '000000000762' ], '... also once more');
is(query("SELECT count(*), count(DISTINCT (type, source, content_type)), min(type) FROM outbox.event WHERE id > $first"),
	'6|1|a', 'with all that they tell');

note 'dead letters';
$mock->command('refuse refused UNKNOWN_TOPIC_OR_PART');
query("SELECT outbox_emit('refused', 'k', 'x', $own)");
wait_until(undef, sub { query('SELECT count(*) FROM outbox.dead_letter') == 1 }, 'a dead letter');
is(query('SELECT type, source, content_type FROM outbox.dead_letter'), $all, 'has it');
is(query('SELECT type, source, content_type FROM outbox.requeue()'), $all, '... requeued, too');
wait_until(undef, sub { query('SELECT count(*) FROM outbox.dead_letter') == 1 }, 'again');
is(query("SELECT type, source, content_type FROM outbox.discard(topic => 'refused')"), $all, '... and discarded');

note 'on disk, and with savepoints';
query(<<~"END");
	SET work_mem = '64kB';
	BEGIN;
	SELECT count(outbox_emit('big', n, repeat('x', 100), type => nullif('t' || n, 't2'))) FROM generate_series(1, 2000) n;
	SAVEPOINT s;
	SELECT count(outbox_emit('big', n, repeat('x', 100), type => 'never')) FROM generate_series(1, 2000) n;
	ROLLBACK TO s;
	SELECT count(outbox_emit('big', n, 'x', source => '/' || n)) FROM generate_series(2001, 2010) n;
	COMMIT;
	END
is( query(<<~'END'), '2010|1999|10|t', 'each has its own');
	SELECT count(*), count(type), count(source), bool_and(type = 't' || key OR source = '/' || key OR key = '2')
	FROM outbox.event WHERE topic = 'big'
	END

note 'long keys';
conf_reload($node, 'outbox.max_event_size = 4MB');
query(q{SELECT outbox.set_topic_rule('long', key_pattern => '^x')});
query(q{SELECT outbox_emit('long', repeat('x', 1024 * 1024), 'x')});
fails_with($node, 'postgres', q{SELECT outbox_emit('long', repeat('x', 1024 * 1024 + 1), 'x')},
	'23514', qr/longer than 1048576 bytes/, 'are not compared with a pattern');

note 'other encodings';
for (
	[ latin => 'LATIN1', q(chr(252)), 2, undef ],
	[ ascii => 'SQL_ASCII', q(chr(195) || chr(188)), 2, qr/22021/ ])
{
	my ($db, $encoding, $umlaut, $bytes, $refused) = @$_;

	$node->safe_psql('postgres',
		qq{CREATE DATABASE $db TEMPLATE template0 ENCODING '$encoding' LC_COLLATE 'C' LC_CTYPE 'C'});
	$node->safe_psql($db, 'CREATE EXTENSION outbox');
	$node->safe_psql($db, "SELECT outbox_emit('$db', 'k', '{}', type => $umlaut)");
	fails_with($node, $db, "SELECT outbox_emit('$db', 'k', '{}', type => repeat($umlaut, 126))",
		'22023', qr/not 252/, "$encoding: counted in UTF-8");
	fails_with($node, $db, "SELECT outbox_emit('$db', 'k', '{}', type => chr(252))", '22021', $refused, "$encoding: no text")
	  if $refused;
	$node->safe_psql($db, "SELECT outbox.set_topic_rule('$db', type => $umlaut, object_required => true, max_size => 48)");
	$node->safe_psql($db, "SELECT outbox_emit('$db', NULL, '{}')");
	fails_with($node, $db, "SELECT outbox_emit('$db', NULL, '{ }')", '23514', qr/has 49 bytes/, "$encoding: a rule's, too");
	ok(wait_published($node, $db), 'published');
}

note 'a dump';
my $file = PostgreSQL::Test::Utils::tempdir('dump') . '/dump';
$node->command_ok([ 'pg_dump', '-p', $node->port, '-h', $node->host, '-Fc', '-f', $file, 'latin' ], 'dumped');
query('DROP DATABASE latin');
query(q{CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'});
$node->command_ok([ 'pg_restore', '-p', $node->port, '-h', $node->host, '-d', 'latin', $file ], 'restored');
fails_with($node, 'latin', "SELECT outbox_emit('latin', NULL, '[]')", '23514', qr/not a JSON object/, 'the rule is there');

note 'names in no order';
query(<<~'END');
	SELECT count(outbox_emit('named', n, repeat('x', 100), event_id => md5(n::text)::uuid)) FROM generate_series(1, 60000) n;
	VACUUM ANALYZE outbox.event_0;
	END
my $pages = query("SELECT pg_relation_size('outbox.event_0') / current_setting('block_size')::integer");
my ($read) = query(<<~'END') =~ /Heap Blocks: \S*lossy=(\d+)/;
	EXPLAIN (ANALYZE, COSTS off) SELECT topic FROM outbox.event_status WHERE event_id = md5('1')::uuid
	END
cmp_ok($read // $pages, '<', $pages / 3, "a look-up reads few of $pages pages");
is(query("SELECT topic, key FROM outbox.event WHERE event_id = md5('1')::uuid"), 'named|1', '... and finds it');
clean_log($node, 'nothing unclean in the log');
$node->stop;
done_testing();
