# What a record's headers are.
#
# Catches: bytes that arrive as the text they are written in, or cut off at a
# zero.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use Test::More;

my $mock = OutboxTest::Mock->new(topics => { t => 1 });
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main', bootstrap => $mock->bootstrap, extension => 1);

# The headers of each record since the last call, as name=value, one a line
sub headers
{
	ok(wait_published($node) && $consumer->drain, 'published');
	return map {
		join "\n", map { "$_->[0]=" . ($_->[1] // 'NULL') } @{ $_->{headers} }
	} $consumer->take;
}

note 'bytes';
my $id = query(<<~'END');
	SELECT outbox_emit('t', 'k', 'x', '{"a": {"base64": "AAEC/wo="},
		"b": {"base64": ""}, "c": "base64", "d": null}')
	END
is_deeply([headers()], ["a=\0\1\2\xff\n\nb=\nc=base64\nd=NULL\nevent_id=$id"],
	'are decoded');

$node->stop;
done_testing();
