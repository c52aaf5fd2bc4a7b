# Parameters as real drivers send them: each program in test/drivers calls
# outbox_emit() with every kind of value, and every event must be stored as
# meant.
#
# Catches: calls for which no function is found, or not the right one, and
# values that arrive as others, because a driver types them differently.
#
# A driver that is not installed is skipped, unless OUTBOX_DRIVERS says that all
# must be there.  OUTBOX_JDBC names a jar in another place.

use strict;
use warnings;

use OutboxTest;
use PostgreSQL::Test::Utils;
use Test::More;

my @python = ('/usr/bin/python3', 'python3');
my @jar = ($ENV{OUTBOX_JDBC} // (), '/usr/share/java/postgresql.jar');

my $uuid = '01890a5d-ac96-774b-bcce-b302099a8057';
my $object = '{"a": 1, "b": [true, null]}';
my $headers = '{"source": "driver"}';

# topic|key|payload|headers, "-" for NULL, JSON as jsonb writes it
my @expected = (
	'string|k|grüße €|-',
	'empty|||-',
	'int_small|7|x|-',
	'int_big|9007199254740993|x|-',
	'numeric|12.5|x|-',
	"uuid|$uuid|x|-",
	"json|7|$object|-",
	"json_text|7|$object|-",
	'bytes|7|\x00ff0a|-',
	'null_payload|7|-|-',
	'null_key|-|x|-',
	'null_both|-|-|-',
	"headers|7|x|$headers",
	'headers_null|7|-|-',
	"named|7|$object|$headers",
	'times|7|true|-',
	(map { "prepared|$_|value $_|-" } 0 .. 9),
	"transaction|1|$object|-",
	"transaction|3|$object|-",
	(map { "batch|$_|x|-" } 0 .. 2));
my @expected_java = (
	"null_typed|-|-|$headers",
	"null_typed|-|-|$headers",
	"null_typed|-|-|$headers",
	"unspecified|k|$object|$headers");

# JDBC has no Unix sockets.
my $node = outbox_node('main',
	extension => 1,
	extra => [ '--encoding=UTF8', '--locale=C' ],
	conf => "listen_addresses = '127.0.0.1'");
$ENV{PGHOST} = '127.0.0.1';
$ENV{PGPORT} = $node->port;
$ENV{PGDATABASE} = 'postgres';
$ENV{PGUSER} = $node->safe_psql('postgres', 'SELECT current_user');

sub succeeds
{
	return IPC::Run::run([@_], '<', \undef, '>', \my $out, '2>', \my $err);
}

sub last_id
{
	return $node->safe_psql('postgres',
		'SELECT coalesce(max(id), 0) FROM outbox.event');
}

sub stored_after
{
	my ($id) = @_;

	return split /\n/, $node->safe_psql('postgres', <<~END);
		SELECT concat_ws('|', topic, coalesce(key, '-'),
			CASE
				WHEN payload IS NULL THEN '-'
				WHEN topic = 'bytes' THEN payload::text
				WHEN topic = 'times'
				THEN (expires_at - now() BETWEEN '22 h' AND '23 h')::text
				WHEN payload LIKE '{%'
				THEN convert_from(payload, 'UTF8')::jsonb::text
				ELSE convert_from(payload, 'UTF8')
			END, coalesce(headers::text, '-'))
		FROM outbox.event WHERE id > $id ORDER BY id
		END
}

# The programs need not have the same order of topics.
sub by_topic
{
	my %events;

	push @{ $events{ (split /\|/)[0] } }, $_ for @_;
	return \%events;
}

sub check_driver
{
	my ($name, $command, @events) = @_;

  SKIP:
	{
		if (!$command)
		{
			fail("$name is installed") if $ENV{OUTBOX_DRIVERS};
			skip("$name is not installed", 1);
		}
		my $id = last_id();
		command_ok($command, "$name runs");
		is_deeply(by_topic(stored_after($id)),
			by_topic(@events), "$name: every event is stored as meant");
	}
	return;
}

my ($python) = grep { succeeds($_, '-c', 'import psycopg') } @python;
my $node_js = succeeds('node', '-e', 'require("pg")');
my ($jar) = grep { -f } @jar;

check_driver('psycopg', $python && [ $python, 'test/drivers/emit.py' ],
	@expected);
check_driver('node-postgres',
	$node_js && [ 'node', 'test/drivers/emit.js' ], @expected);
check_driver('JDBC',
	$jar && [ 'java', '-cp', $jar, 'test/drivers/Emit.java' ],
	@expected, @expected_java);

$node->stop;
done_testing();
