# Object mappers and drivers write events as rows of a view: ActiveRecord,
# TypeORM, Prisma, Spring with Hibernate, pgx and node-postgres, each by its
# recipe in doc/recipes.md, and by a program of test/orm that inserts, reads back,
# saves, removes, uses savepoints, commits and rolls back as its users do. They
# look at what the library tells them; here is looked at what has arrived.
#
# Catches: a statement that a mapper makes and the view refuses, or answers so
# that the mapper takes it for a conflict; an id of the client's that is lost;
# an event that is published twice, in another order, or although it was rolled
# back; a recipe that does not work as it is written.

use strict;
use warnings;

use JSON::PP;
use OutboxTest;
use OutboxTest::Recipes;
use PostgreSQL::Test::Utils;
use Test::More;

my $topic = 'outbox.event.order';
my $mock = OutboxTest::Mock->new(topics => { $topic => 1 });
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $programs = OutboxTest::Recipes::programs();

# JDBC has no Unix sockets.
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1,
	extra => [ '--encoding=UTF8', '--locale=C' ],
	conf => "listen_addresses = '127.0.0.1'");
query(OutboxTest::Recipes::content('setup.sql'));
# so that a second order of the same thing fails when all has been written
query('ALTER TABLE orders ADD UNIQUE (item) DEFERRABLE INITIALLY DEFERRED');
# and one when the order has been written, but not its event
query("SELECT outbox.set_topic_rule('$topic', max_size => 1000)");

my %connection = (
	PGHOST => '127.0.0.1',
	PGPORT => $node->port,
	PGDATABASE => 'postgres',
	PGUSER => 'shop');

# [type, key, payload] of what the programs emit and do not roll back, after
# the recipe's own
my $text = { text => "gr\x{fc}\x{df}e \"\x{20ac}\" \\ \n '" };
my $placed = [ 'OrderPlaced', undef, undef ];
my @habits = (
	[ 'Created', 'k1', $text ],
	(map { [ 'Bulk', "b$_", { n => $_ } ] } 1 .. 4),
	(map { [ 'Removed', "r$_", { n => 1 } ] } 1 .. 2),
	[ 'Kept', 's1', { n => 1 } ],
	[ 'Tombstone', 't1', undef ]);

sub header
{
	my ($record, $name) = @_;

	return (map { $_->[1] } grep { $_->[0] eq $name } @{ $record->{headers} })[0];
}

sub decoded
{
	my ($record) = @_;
	my $payload = $record->{payload};

	return [ header($record, 'event_type'), $record->{key}, defined $payload ? decode_json($payload) : undef ];
}

# Runs a command in a directory; fails with what it says.
sub run_in
{
	my ($name, $dir, @command) = @_;
	my $output;
	my $ok = do {
		local %ENV = (%ENV, %connection);
		IPC::Run::run(\@command, '<', \undef, '>&', \$output, init => sub { chdir $dir or die "$dir: $!" });
	};

	ok($ok, "$name: $command[0] runs") or diag $output;
	return $ok;
}

# Whether what it emits is what has arrived, and nothing more.
sub check_program
{
	my ($name, $dir, $expected, @command) = @_;

	query('TRUNCATE orders');
	my $runs = run_in($name, $dir, @command);

	ok(wait_published($node), "$name: published") && $consumer->drain or die 'not read';
	my @records = $consumer->take;
	return unless $runs;
	my ($order, $item) = split /\|/, query('SELECT id, item FROM orders');

	is($item, 'tea', "$name: one order");
	$placed = [ 'OrderPlaced', $order, { id => $order + 0, item => 'tea' } ];
	is_deeply([ map { decoded($_) } @records ],
		[ $placed, @$expected ], "$name: all that was not rolled back, as it was meant, in order");
	is(scalar(grep { $_->{topic} ne $topic } @records), 0, "$name: to the topic");
	return unless @$expected;
	my ($created) = grep { header($_, 'event_type') eq 'Created' } @records;
	is($created->{event_id}, '10000000-0000-4000-8000-000000000001', "$name: with the client's id");
	return;
}

sub succeeds
{
	return IPC::Run::run([@_], '<', \undef, '>', \my $out, '2>', \my $err);
}

note 'Rails';
SKIP:
{
	skip 'ActiveRecord is not installed', 1 unless succeeds('ruby', '-e', 'require "active_record"; require "pg"');
	my $dir = PostgreSQL::Test::Utils::tempdir('rails');

	OutboxTest::Recipes::write_into($dir, 'shop.rb');
	check_program('ActiveRecord', $dir, \@habits, 'ruby', "$programs/run_rails.rb");
}

note 'Node';
my $modules = $ENV{OUTBOX_ORM_NODE} // '';
SKIP:
{
	skip 'node-postgres is not installed', 1 unless succeeds('node', '-e', 'require("pg")');
	my $dir = PostgreSQL::Test::Utils::tempdir('node');

	OutboxTest::Recipes::write_into($dir, 'pg/shop.js');
	check_program('node-postgres', $dir, [], 'node', "$programs/run_pg.js");
}
SKIP:
{
	skip 'TypeORM and Prisma are not installed', 1 unless -d $modules;
	skip 'they want a newer Node', 1 unless succeeds('node', '-e', 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)');
	my $dir = PostgreSQL::Test::Utils::tempdir('node');

	local $ENV{NODE_PATH} = $modules;
	# files find their modules by it, too, and the generated client only so
	symlink($modules, "$dir/node_modules") or die "symlink: $!";
	OutboxTest::Recipes::write_into($dir, 'typeorm/shop.js', 'prisma/schema.prisma', 'prisma/shop.js');
	check_program('TypeORM', $dir, \@habits, 'node', "$programs/run_typeorm.js");
	# what this engine would be for, migrations, is not done here: it would be downloaded
	local @ENV{qw(PRISMA_SCHEMA_ENGINE_BINARY CHECKPOINT_DISABLE)} = ('/bin/true', 1);
	run_in('Prisma', $dir, "$modules/.bin/prisma", 'generate') or last;
	check_program('Prisma', $dir, \@habits, 'node', "$programs/run_prisma.js");
}

note 'Go';
SKIP:
{
	my $go = $ENV{OUTBOX_ORM_GO} // '';

	skip 'pgx is not there', 1 unless -d $go;
	my $dir = PostgreSQL::Test::Utils::tempdir('go');

	system('cp', '-r', "$programs/pgx/.", "$go/cache", $dir) == 0 or die 'cp';
	OutboxTest::Recipes::write_into($dir, 'shop/orders.go');
	local @ENV{qw(GOCACHE GOMODCACHE GOPROXY GOTOOLCHAIN)} = ("$dir/cache", "$go/mod", 'off', 'local');
	run_in('pgx', $dir, 'go', 'build', '-o', 'run') or last;
	check_program('pgx', $dir, \@habits, "$dir/run");
}

note 'Spring';
SKIP:
{
	my $jars = $ENV{OUTBOX_ORM_JARS} // '';

	skip 'Spring is not there', 1 unless -d $jars && succeeds('javac', '-version');
	my $dir = PostgreSQL::Test::Utils::tempdir('spring');
	my @java = glob "$programs/spring/shop/*.java";
	my @recipe = ('shop/OutboxEvent.java', 'shop/Orders.java');

	OutboxTest::Recipes::write_into($dir, @recipe);
	run_in('Spring', $dir, 'javac', '-parameters', '-encoding', 'UTF-8', '-cp', "$jars/*", '-d', 'classes',
		@java, @recipe)
	  or last;
	check_program('Spring', $dir, \@habits, 'java', '-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC',
		'-cp', "classes:$jars/*", 'shop.Run');
}

$node->stop;
done_testing();
