# Copies of a server under load: pg_basebackup, and pg_dump while segments
# rotate.
#
# Catches: a copy that publishes again what was published when it was made, or
# not all that was pending, or out of order; a dump that has lost the position,
# or events beyond it, to a segment that was emptied meanwhile.

use strict;
use warnings;

use IPC::Run;
use OutboxTest;
use OutboxTest::Server;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils ();
use Test::More;

my $mock = OutboxTest::Mock->new;
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $source = outbox_node('source',
	bootstrap => $mock->bootstrap,
	extension => 1,
	allows_streaming => 1,
	conf => 'outbox.retention = 4s');

sub position { return query('SELECT max(position) FROM outbox.position'); }

# What the copy has is what was published, or is published by the copy now.
sub check_copy
{
	my ($copy, $db, $before, $name) = @_;
	my $mock = OutboxTest::Mock->new;
	my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
	my $position = $copy->safe_psql($db, 'SELECT max(position) FROM outbox.position');
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	cmp_ok($position, '>=', $before, "$name: it has the position");
	my %pending = map { $_->{event_id} => $_ } events($copy, $db, "id > $position");
	my @emitted = split /\n/, $copy->safe_psql($db, 'SELECT event_id FROM log');
	cmp_ok(scalar(@emitted), '>', scalar(keys %pending), "$name: some was published");
	conf_reload($copy, "outbox.enabled = on\noutbox.bootstrap_servers = '" . $mock->bootstrap . "'");
	wait_state($copy, 'publishing', $db);
	$copy->safe_psql($db, "INSERT INTO log SELECT outbox_emit('t', 'r1', 'by the copy')");
	ok(wait_published($copy, $db) && $consumer->drain, "$name: published");
	is(check_delivery([ events($copy, $db, "id > $position") ], [ $consumer->records ], $name),
		0, "$name: each once");
	return sub {
		my ($published) = @_;
		is(scalar(grep { !$pending{$_} && !$published->{$_} } @emitted),
			0, "$name: the rest was published before");
	};
}

# What the source had published is known only later.
my @checks;
query('CREATE TABLE log (event_id uuid)');
my $load = pgbench($source, <<~'END', clients => 3, rate => 300, duration => 600, background => 1);
	\set k random(1, 50)
	INSERT INTO log SELECT outbox_emit('t', 'r' || :k, :client_id || ' ' || clock_timestamp());
	END
wait_until(undef, sub { $consumer->count > 500 }, 'traffic');

note 'pg_basebackup';
my $before = position();
$source->backup('b');
my $copy = PostgreSQL::Test::Cluster->new('copy');
$copy->init_from_backup($source, 'b');
$copy->append_conf('postgresql.conf', 'outbox.enabled = off');
guard_node($copy);
$copy->start;
push @checks, check_copy($copy, 'postgres', $before, 'pg_basebackup');

note 'pg_dump';
my $dir = PostgreSQL::Test::Utils::tempdir('dump');
my $rounds = 2;
for my $n (1 .. $rounds)
{
	# each time, all is new
	my $id = query('SELECT last_value FROM outbox.event_id_seq');
	wait_until(undef,
		sub { query("SELECT min(first_id) > $id FROM outbox.stat_storage") eq 't' }, 'rotation');
	$before = position();
	IPC::Run::run([ 'pg_dump', '-h', $source->host, '-p', $source->port,
			'-Fc', '-f', "$dir/$n", 'postgres' ]) or die 'pg_dump failed';
	conf_reload($copy, 'outbox.enabled = off');
	$copy->safe_psql('postgres', "CREATE DATABASE restored$n");
	IPC::Run::run([ 'pg_restore', '-h', $copy->host, '-p', $copy->port,
			'-d', "restored$n", "$dir/$n" ]) or die 'pg_restore failed';
	push @checks, check_copy($copy, "restored$n", $before, "pg_dump $n");
}
stop_load($source, $load);
ok(wait_published($source) && $consumer->drain, 'published by the source');
$consumer->events;
$_->($consumer->{event_ids}) for @checks;
is($consumer->count, $consumer->events, 'the source has published nothing twice');
for my $node ($source, $copy)
{
	clean_log($node, 'nothing unclean in the log', also => qr/ERROR/);
	$node->stop;
}
done_testing();
