# Whoever has seen that a dead letter is requeued, and emits its key's next
# event, finds both in Kafka in this order; in rapid succession, too, and when
# the requeueing session is slow to tell the relay after its commit.
#
# Catches: a relay that learns of a requeue only after it has published an event
# that came later, and a requeued event that carries the wrong time.

use strict;
use warnings;

use OutboxTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $keys = 600;
my $sessions = 3;

my $mock = OutboxTest::Mock->new(topics => { t => 2 });
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1);

# Dead letters, because they have expired: one of each key.
sub make_dead
{
	my (@keys) = @_;
	my $list = join ',', map { "('$_')" } @keys;
	my $count = @keys;

	query("SELECT outbox_emit('t', key, 'old', expires_at => now() - interval '1 s')"
		  . " FROM (VALUES $list) v (key)");
	$node->poll_query_until('postgres',
		"SELECT count(*) = $count FROM outbox.dead_letter")
	  or die 'no dead letters';
	return;
}

# What has arrived of a key
sub arrived
{
	my ($key) = @_;

	return join ' ',
	  map { $_->{payload} } grep { $_->{key} eq $key } $consumer->records;
}

# A library whose callback at commit comes before ours: the transaction is
# visible, and nobody has been told.
sub slow_commit
{
	my ($ms) = @_;
	my $dir = PostgreSQL::Test::Utils::tempdir('slow');
	my $pg_config = $ENV{PG_CONFIG} // 'pg_config';

	chomp(my $include = qx("$pg_config" --includedir-server));
	append_to_file("$dir/slow.c", <<~END);
		#include "postgres.h"
		#include "access/xact.h"
		#include "fmgr.h"
		PG_MODULE_MAGIC;
		void _PG_init(void);
		static void
		at_commit(XactEvent event, void *arg)
		{
			if (event == XACT_EVENT_COMMIT)
				pg_usleep($ms * 1000L);
		}
		void
		_PG_init(void)
		{
			RegisterXactCallback(at_commit, NULL);
		}
		END
	system('cc', '-shared', '-fPIC', "-I$include", '-o', "$dir/slow.so", "$dir/slow.c") == 0
	  or die 'could not build a library';
	chmod 0755, $dir;
	return "$dir/slow.so";
}

note 'a commit that is seen before the relay is told';
my $library = slow_commit(1500);
make_dead('slow');
my $slow = $node->background_psql('postgres');
$slow->query_safe("LOAD '$library'");
$slow->{stdin} .= "SELECT outbox.requeue(key => 'slow');\n";
$slow->{run}->pump_nb;
$node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM outbox.dead_letter')
  or die 'not requeued';
my $start = time;
query(q{SELECT outbox_emit('t', 'slow', 'new')});
ok($consumer->wait_for(2), 'both arrive');
cmp_ok(time - $start, '>', 0.3, 'the session was slow indeed');
is(arrived('slow'), 'old new', 'in order');
$slow->quit;

note 'in rapid succession';
query(<<~'END');
	CREATE PROCEDURE requeue(first int, step int, last int) LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN first .. last BY step LOOP
			PERFORM outbox.requeue(key => 'key ' || i);
			COMMIT;
			PERFORM outbox_emit('t', 'key ' || i, 'new');
			COMMIT;
		END LOOP;
	END $$
	END
make_dead(map { "key $_" } 1 .. $keys);
my @calls = map {
	pgbench($node, "CALL requeue($_, $sessions, $keys);", background => 1)
} 1 .. $sessions;
is($_->wait, 0, 'requeued') or diag $_->log_tail for @calls;
ok(wait_published($node), 'published');
$node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM outbox.parked')
  or die 'something is still parked';
ok($consumer->drain, 'read');
my %of;
$of{ $_->{key} } .= " $_->{payload}" for $consumer->records;
delete $of{slow};
is(scalar keys %of, $keys, 'all keys');
is_deeply([ grep { $of{$_} ne ' old new' } sort keys %of ], [], 'all in order');

note 'timestamps';
sub timestamps
{
	my ($key) = @_;

	$consumer->drain or die 'cannot read';
	return map { $_->{timestamp} } grep { $_->{key} eq $key } $consumer->records;
}

make_dead(qw(old new));
my $since = query('SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint');
query(q{SELECT outbox.requeue(key => 'old');
	SELECT outbox.requeue(key => 'new', new_timestamp => true)});
$node->poll_query_until('postgres', 'SELECT count(*) = 0 FROM outbox.parked')
  or die 'something is still parked';
cmp_ok((timestamps('old'))[0], '<', $since, 'the time of outbox_emit()');
cmp_ok((timestamps('new'))[0], '>=', $since, 'the time of the requeue, if asked for');

$node->stop;
done_testing();
