# The trace that a transaction is part of arrives as headers of its records.
#
# Catches: a trace that outlives its transaction, or is that of the commit and
# not of the call; one that wins over the event's own, or half of it that is
# mixed with another; a value that no tracing library would read, accepted; one
# that it would, refused; events of tables that have none.

use strict;
use warnings;

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

done_testing();
