# Consumers in Python, Java and Node by their recipes in doc/recipes.md, which call
# outbox.receive(): each event is handled once, though records come twice, and
# they die where that hurts. From a real Kafka, which Java's client wants.
#
# Catches: a recipe that does not work as it is written; an event that a consumer
# handles twice, or not at all.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Kafka;
use OutboxTest::Recipes;
use PostgreSQL::Test::Utils;
use Test::More;

if (my $why = OutboxTest::Kafka->skip_reason)
{
	plan skip_all => $why;
}

my $kafka = OutboxTest::Kafka->new;
# JDBC has no Unix sockets.
my $node = outbox_node('main', bootstrap => $kafka->bootstrap, extension => 1,
	conf => "listen_addresses = '127.0.0.1'");
my $programs = OutboxTest::Recipes::programs();
my $python = $ENV{OUTBOX_ORM_PYTHON} // '';
my $dir = PostgreSQL::Test::Utils::tempdir('receive');
my ($status, $output);

query('CREATE ROLE shop LOGIN; CREATE TABLE handled (key text); GRANT INSERT ON handled TO shop');
query(OutboxTest::Recipes::content('receive.sql'));

# Runs a program as the application; returns its status and what it said.
sub run_program
{
	my (@command) = @_;
	my $said;

	local %ENV = (%ENV, PGHOST => '127.0.0.1', PGPORT => $node->port, PGDATABASE => 'postgres', PGUSER => 'shop',
		PYTHONPATH => $dir);
	IPC::Run::run(\@command, '<', \undef, '>&', \$said);
	return ($? >> 8, $said);
}

sub succeeds
{
	return IPC::Run::run([@_], '<', \undef, '>', \my $out, '2>', \my $err);
}

# A consumer by its recipe. $command gives the command that reads a topic to its
# end, with a group, and the key at which it dies.
sub check_consumer
{
	my ($name, $command) = @_;
	my $letters = "letters.$name";
	my $consume = sub {
		my ($group, $fatal) = @_;
		my ($end, $said);

		# the coordinator of a new group may not be there yet: what runs a
		# consumer starts it again, as the recipe wants
		for my $try (1 .. 20)
		{
			($end, $said) = run_program($command->($kafka->bootstrap, $letters, $group, $fatal // ()));
			last unless $end == 1 && $said =~ /NOT_COORDINATOR|COORDINATOR_LOAD_IN_PROGRESS|COORDINATOR_NOT_AVAILABLE/;
			note $said;
		}
		is($end, $fatal ? 3 : 0, "$name, $group: ends as it should") or diag $said;
		return query(q(SELECT string_agg(key, ' ' ORDER BY key) FROM handled));
	};

	note $name;
	$kafka->create_topic($letters, 1);
	query('TRUNCATE handled');
	query("SELECT outbox_emit('$letters', k, 'x') FROM unnest('{a,b,c}'::text[]) k");
	ok(wait_published($node), 'published');
	is($consume->('one', 'b'), 'a', 'what it handles when it dies is undone');
	is($consume->('one'), 'a b c', 'and handled when it comes again');
	query("SELECT outbox.replay(topic => '$letters')");
	wait_rows(0, q(state IN ('waiting', 'running')), 'outbox.stat_replay');
	ok(wait_published($node), 'published once more');
	is($consume->('one'), 'a b c', 'not handled again');
	is($consume->('two'), 'a b c', 'nor when all is read from the beginning');
	return;
}

SKIP:
{
	skip 'the consumer in Python is not installed', 1
	  unless $python ne '' && succeeds($python, '-c', 'import psycopg, confluent_kafka');
	OutboxTest::Recipes::write_into($dir, 'receive.py');
	check_consumer('Python', sub { return ($python, "$programs/run_consumer.py", 'receive', @_) });
}

SKIP:
{
	my $jars = $ENV{OUTBOX_KAFKA_HOME} // "$ENV{XDG_CACHE_HOME}/outbox-kafka-4.1.1";
	my ($jdbc) = grep { -f } $ENV{OUTBOX_JDBC} // (), '/usr/share/java/postgresql.jar';

	skip 'JDBC and a compiler are not installed', 1
	  unless $jdbc && succeeds('javac', '-version');
	OutboxTest::Recipes::write_into($dir, 'mail/Inbox.java');
	($status, $output) = run_program('javac', '-encoding', 'UTF-8', '-cp', "$jars/lib/*", '-d', $dir,
		"$programs/consumer/Run.java", "$dir/mail/Inbox.java");
	is($status, 0, 'Java compiles') or diag $output;
	check_consumer('Java', sub {
			return ('java', '-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC', '-cp', "$dir:$jdbc:$jars/lib/*",
				'mail.Run', @_);
		});
}

SKIP:
{
	local $ENV{NODE_PATH} = join ':', grep { defined } @ENV{qw(OUTBOX_CONSUMERS_NODE NODE_PATH)};

	skip 'KafkaJS and node-postgres are not installed', 1
	  unless succeeds('node', '-e', 'require("kafkajs"); require("pg")');
	OutboxTest::Recipes::write_into($dir, 'mail/consumer.js');
	check_consumer('Node', sub { return ('node', "$programs/run_consumer.js", "$dir/mail/consumer.js", @_) });
}

$node->stop;
$kafka->stop;
done_testing();
