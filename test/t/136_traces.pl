# The trace that a transaction is part of arrives as headers of its records.
#
# Catches: a trace that outlives its transaction, or is that of the commit and
# not of the call; one that wins over the event's own, or half of it that is
# mixed with another; a value that no tracing library would read, accepted; one
# that it would, refused; events of tables that have none; a trace that a schema's
# header takes the place of, or that a replay loses; a comment of sqlcommenter
# that is not understood, or is another statement's, or that a literal has put
# there.

use strict;
use warnings;

use IPC::Run;
use OutboxTest;
use OutboxTest::Server;
use Test::More;

my $mock = OutboxTest::Mock->new(topics => { t => 1 });
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main', bootstrap => $mock->bootstrap, extension => 1);

my $trace = '4bf92f3577b34da6a3ce929d0e0e4736';
my $parent = "00-$trace-00f067aa0ba902b7-01";
my $other = "00-$trace-b7ad6b7169203331-00";

sub accepts
{
	my ($name, $value) = @_;

	return $node->psql('postgres', "SET outbox.$name = '$value'") == 0;
}

note 'what is a trace';
ok(accepts('traceparent', $_), "traceparent: $_") for '', $parent, "cc-$trace-00f067aa0ba902b7-00";
ok(!accepts('traceparent', $_), "no traceparent: $_")
  for 'x', "$parent ", substr($parent, 0, 54), uc $parent, "ff" . substr($parent, 2), "00_" . substr($parent, 3),
  '00-' . '0' x 32 . '-00f067aa0ba902b7-01', "00-$trace-" . '0' x 16 . '-01', "00-$trace-00f067aa0ba902b7-0g";
ok(accepts('tracestate', $_), "tracestate: $_")
  for '', 'a=1', "a=1 ,\t b=x y,", ',,a=1', '1/t@sys=~!', 'k' x 256 . '=1', 'k=' . 'v' x 256,
  join(',', map { "k$_=1" } 1 .. 32);
ok(!accepts('tracestate', $_), "no tracestate: $_")
  for 'a', '=1', 'a=', 'A=1', '@a=1', 'a=1=2', 'a=1 b=2;c=', 'a=grün', 'k' x 257 . '=1', 'k=' . 'v' x 257,
  join(',', map { "k$_=1" } 1 .. 33), 'k=' . 'v' x 256 . ',l=' . 'v' x 253;
is($node->psql('postgres', "ALTER SYSTEM SET outbox.traceparent = '$parent'"), 3, 'not for all sessions');

note 'what records have';
$node->safe_psql('postgres', <<~"END");
	CREATE TABLE item (id int PRIMARY KEY);
	SELECT outbox.publish_table('item', topic => 't');
	BEGIN;
	SELECT outbox_emit('t', '01 before', 'x');
	SET LOCAL outbox.traceparent = '$parent';
	SELECT outbox_emit('t', '02 parent', 'x');
	SET LOCAL outbox.tracestate = 'a=1, b=2';
	SELECT outbox_emit('t', '03 both', 'x', '{"h": "v"}');
	SELECT outbox_emit('t', '04 empty', 'x', '{}');
	SELECT outbox_emit('t', '05 own', 'x', '{"traceparent": "$other"}');
	SELECT outbox_emit('t', '06 own state', 'x', '{"tracestate": "c=3"}');
	INSERT INTO item VALUES (7);
	SET LOCAL outbox.traceparent = '$other';
	SELECT outbox_emit('t', '08 next span', 'x');
	COMMIT;
	SELECT outbox_emit('t', '09 after', 'x');
	END
ok(wait_published($node), 'published');
ok($consumer->drain, 'read');
my @sent = map {
	my $record = $_;
	join ' ', sort map { "$_->[0]:$_->[1]" } grep { $_->[0] =~ /^(trace|h$)/ } @{ $record->{headers} };
} $consumer->take;
is_deeply(
	\@sent,
	[
		'',
		"traceparent:$parent",
		"h:v traceparent:$parent tracestate:a=1, b=2",
		"traceparent:$parent tracestate:a=1, b=2",
		"traceparent:$other",
		"traceparent:$parent tracestate:c=3",
		"traceparent:$parent tracestate:a=1, b=2",
		"traceparent:$other tracestate:a=1, b=2",
		''
	],
	'the trace at the call, unless the event has its own');

is( $node->psql('postgres', "SET outbox.traceparent = '$parent'; SELECT outbox_emit('t', 'k', 'x', '[1]')"),
	3, 'headers that are no object are refused still');

note 'beside the header of a schema, and in replays';
query(q{SELECT outbox.set_topic_rule('schema', schema_guid => '01890a5d-ac96-774b-bcce-b302099a8057')});
my $first = query(<<~"END") =~ s/.*\n//sr;
	BEGIN;
	SET LOCAL outbox.traceparent = '$parent';
	SET LOCAL outbox.tracestate = 'a=1';
	SELECT outbox_emit('schema', 'k', 'x');
	COMMIT;
	SELECT max(id) FROM outbox.event;
	END
ok(wait_published($node), 'published');
query("SET outbox.traceparent = '$other'; SELECT outbox.replay(first_id => $first, to_topic => 't')");
wait_until(undef, sub { query('SELECT count(*) FROM outbox.event WHERE id > ' . $first) == 1 }, 'replayed');
ok(wait_published($node) && $consumer->drain, 'published');
my ($record) = $consumer->take;
is( join(' ', map { "$_->[0]:$_->[1]" } grep { $_->[0] =~ /^trace/ } @{ $record->{headers} }),
	"tracestate:a=1 traceparent:$parent", 'a copy is of the trace of the event');
is(scalar(grep { $_->[0] eq '__value_schema_id' } @{ $record->{headers} }), 1, '... and has its schema');
query(q{SELECT outbox.drop_topic_rule('schema')});

note 'comments';

# What the events of some SQL, sent as it is, have: "traceparent tracestate" each
sub traced
{
	my ($sql, $setting) = @_;
	my $last = query('SELECT coalesce(max(id), 0) FROM outbox.event');
	local $ENV{PGOPTIONS} = '-c outbox.trace_from_comment=' . ($setting // 'on');
	my ($out, $err) = ('', '');

	IPC::Run::run([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-f', '-' ],
		'<', \$sql, '>', \$out, '2>', \$err)
	  or return $err;
	return query(qq{SELECT string_agg(concat_ws(' ', headers ->> 'traceparent', headers ->> 'tracestate'), '; ' ORDER BY id)
		FROM outbox.event WHERE id > $last});
}

my $emit = q{SELECT outbox_emit('t', 'k', 'x')};
my $comment = "/*traceparent='$parent'*/";
my $encoded = join '', map { sprintf '%%%02x', ord } split //, $parent;
is(traced("$emit $comment;", 'off'), '', 'are not looked at by default');
is(traced($_->[1]), $parent, $_->[0])
  for [ 'at the end', "$emit $comment;" ],
  [ 'with other tags', "$emit /*db_driver='psycopg%%3A3.3',libpq_version=170005,route='%2Fa',traceparent='$parent', x='' */ ;" ],
  [ 'encoded', "$emit /*traceparent='$encoded'*/;" ],
  [ 'with an escaped quote', "$emit /*controller='it\\'s',traceparent='$parent'*/;" ],
  [ 'at the beginning', "$comment $emit;" ],
  [ 'at both ends', "/*traceparent='$other'*/ $emit $comment;" ],
  [ 'after another', "$emit /* why */ $comment;" ],
  [ 'in a trigger', "INSERT INTO item VALUES (8) $comment;" ],
  [ 'a tracestate that is none', "$emit /*traceparent='$parent',tracestate='a'*/;" ],
  [ 'a tracestate that is too long', "$emit /*traceparent='$parent',tracestate='a%3D" . 'x' x 600 . "'*/;" ],
  [ 'a statement of megabytes', "SELECT outbox_emit('t', 'k', 'x') FROM (SELECT '" . '/*' x 1_000_000 . "') l $comment;" ];
is(traced("$emit /*traceparent='$parent',tracestate='congo%3Dt61%2Crojo%%3D00'*/;"),
	"$parent congo=t61,rojo=00", 'with a tracestate');
is(traced($_->[1]), '', "no comment: $_->[0]")
  for [ 'a literal', "SELECT outbox_emit('t', 'k', '/*traceparent=''$parent''*/');" ],
  [ 'a dollar-quoted one', "SELECT outbox_emit('t', 'k', \$\$$comment\$\$);" ],
  [ 'half of it in a literal', "SELECT outbox_emit('t', 'k', '/*traceparent=') /*'$parent'*/;" ],
  [ 'within another', "$emit /* $comment */;" ],
  [ 'close within another', "$emit /*$comment*/;" ],
  [ 'in the middle', "SELECT outbox_emit('t', 'k', 'x') $comment IS NOT NULL;" ],
  [ 'an empty one', "/**/ $emit /**/;" ],
  [ 'another one', "/* traceparent */ $emit /* the end, '*/;" ],
  [ 'without quotes', "$emit /*traceparent=$parent*/;" ],
  [ 'without quotes, after others', "$emit /*a='1',traceparent=$parent,b='2'*/;" ],
  [ 'without an end', "$emit /*traceparent='$parent*/;" ],
  [ 'with more behind it', "$emit /*traceparent='$parent', x*/;" ],
  [ 'not in lower case', "$emit /*traceparent='\U$parent\E'*/;" ],
  [ 'too long', "$emit /*traceparent='${parent}0'*/;" ],
  [ 'a byte that is none', "$emit /*traceparent='$parent%00'*/;" ],
  [ 'half a byte', "$emit /*traceparent='$parent%3'*/;" ],
  [ 'tracestate only', "$emit /*tracestate='a%3D1'*/;" ];
is(traced("$emit $comment; $emit; $emit /*traceparent='$other'*/;"), "$parent; ; $other", 'each statement has its own');
is(traced("$emit /* x */\\; $emit $comment;"), "$parent; $parent", 'but those that are sent together the last one');
is(traced("BEGIN; SET LOCAL outbox.traceparent = '$other'; $emit /*traceparent='$parent',tracestate='a%3D1'*/; COMMIT;"),
	$other, 'the setting wins');
is(traced("SELECT outbox_emit('t', 'k', 'x', '{\"traceparent\": \"$other\"}') $comment;"), $other, '... and a header');

$node->stop;
done_testing();
