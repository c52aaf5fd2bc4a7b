# Recipes that need no object mapper of another language than Python: a shop on
# Django, its own test, events in a test that rolls back, and a consumer that
# handles each event once, though records come twice, and it dies where that
# hurts. All by the files of doc/recipes.md, which are all run by some test.
#
# Catches: a recipe that does not work as it is written; an event that the
# consumer handles twice, or not at all.

use strict;
use warnings;

use FindBin;
use OutboxTest;
use OutboxTest::Recipes;
use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;

my $topic = 'outbox.event.order';
my $letters = 'outbox.event.letter';
my $mock = OutboxTest::Mock->new(topics => { $topic => 1, $letters => 1 });
my $node = outbox_node('main', bootstrap => $mock->bootstrap, extension => 1);
my $programs = OutboxTest::Recipes::programs();
my $python = $ENV{OUTBOX_ORM_PYTHON} // '';
my $dir = PostgreSQL::Test::Utils::tempdir('recipes');

query(OutboxTest::Recipes::content('setup.sql'));
# so that one order fails in its commit, and one when its event is emitted
query('ALTER TABLE orders ADD UNIQUE (item) DEFERRABLE INITIALLY DEFERRED');
query("SELECT outbox.set_topic_rule('$topic', max_size => 1000)");
query(OutboxTest::Recipes::content('consumer.sql'));
query(<<~'END');
	CREATE TABLE handled (key text);
	GRANT ALL ON seen_event, handled TO shop;
	END

# Runs a program as the application; returns its status and what it said.
sub run_program
{
	my (@command) = @_;
	my $output;

	local %ENV = (%ENV, PGHOST => $node->host, PGPORT => $node->port, PGDATABASE => 'postgres', PGUSER => 'shop',
		PYTHONPATH => $dir);
	IPC::Run::run(\@command, '<', \undef, '>&', \$output);
	return ($? >> 8, $output);
}

note 'all files';
my $tests = join '', map { slurp_file($_) } glob("$FindBin::RealBin/{158,159,171}_*.pl");
for my $name (OutboxTest::Recipes::names())
{
	like($tests, qr/'\Q$name\E'/, "$name is run");
}

note 'a test that rolls back';
my ($status, $output) = run_program('psql', '-XAtq', '-c', OutboxTest::Recipes::content('test.sql'));
is($output, qq($topic|17|OrderPaid|{"id": 17}\n), 'sees its events');
is(query('SELECT count(*) FROM outbox.event'), 0, 'and leaves nothing');

if (!IPC::Run::run([ $python, '-c', 'import django, psycopg, confluent_kafka' ], '<', \undef, '>&', \$output))
{
	note 'Django and the consumer are not installed';
	done_testing();
	exit;
}

note 'Django';
OutboxTest::Recipes::write_into($dir, 'shop/models.py', 'shop/orders.py', 'shop/tests.py', 'consumer.py');
($status, $output) = run_program($python, "$programs/run_django.py");
is($status, 0, 'runs, and so does its test') or diag $output;
is(query(q(SELECT topic, type, key, convert_from(payload, 'UTF8')::json ->> 'item' FROM outbox.event)),
	"$topic|OrderPlaced|" . query('SELECT id FROM orders') . '|tea',
	'what was committed is an event');
is(query('SELECT count(*) FROM orders'), 1, 'and there is no order without one');

note 'a consumer';

# Reads on; returns what has been handled by then.
sub consume
{
	my ($group, $fatal) = @_;
	my ($end, $said) = run_program($python, "$programs/run_consumer.py", 'consumer', $mock->bootstrap, $letters, $group,
		$fatal // ());

	is($end, $fatal ? 3 : 0, "$group: ends as it should") or diag $said;
	return query(q(SELECT string_agg(key, ' ' ORDER BY key) FROM handled));
}

query("SELECT outbox_emit('$letters', k, 'x') FROM unnest('{a,b,c}'::text[]) k");
ok(wait_published($node), 'published');
is(consume('one', 'b'), 'a', 'what it handles when it dies is undone');
is(consume('one'), 'a b c', 'and handled when it comes again');
query("SELECT outbox.replay(topic => '$letters')");
wait_rows(0, q(state IN ('waiting', 'running')), 'outbox.stat_replay');
ok(wait_published($node), 'published once more');
is(consume('one'), 'a b c', 'not handled again');
is(consume('two'), 'a b c', 'nor when all is read from the beginning');

$node->stop;
done_testing();
