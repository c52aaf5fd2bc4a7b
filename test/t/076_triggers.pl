# What others build on our tables sees every row that is written past SQL:
# triggers of every kind, logical decoding, indexes that are built meanwhile,
# statistics.
#
# Catches: rows that a trigger misses; one that fires as if it was ours, or
# ours as if it was one; an event that a trigger changes or drops unseen; work
# that a trigger defers and that is never done; indexes that lack rows.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use Test::More;

my $mock = OutboxTest::Mock->new;
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1,
	conf => "wal_level = logical\nautovacuum = off\n");

sub as_app { return (connstr => $node->connstr('postgres') . ' user=app'); }

sub emit
{
	my ($rows) = @_;

	my ($status, undef, $err) = $node->psql('postgres',
		"SELECT outbox_emit('t', 'k' || n, n::text) FROM generate_series(1, $rows) n", as_app());
	return $status ? $err : '';
}

# What the triggers have written since the last call.
sub seen { return query('WITH s AS (DELETE FROM seen RETURNING *) SELECT what, count(*), sum(n) FROM s GROUP BY what ORDER BY what'); }

query(<<~'END');
	CREATE ROLE app LOGIN;
	SELECT outbox.grant_emit('app');
	CREATE EXTENSION amcheck;
	SELECT pg_create_logical_replication_slot('decoded', 'test_decoding');
	CREATE TABLE seen (what text, n bigint);
	CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
	BEGIN
		INSERT INTO public.seen VALUES (TG_NAME, 1);
		RETURN NEW;
	END $$;
	CREATE FUNCTION see_table() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
	BEGIN
		INSERT INTO public.seen SELECT TG_NAME, count(*) FROM new_rows;
		RETURN NULL;
	END $$;
	CREATE TRIGGER a_before_row BEFORE INSERT ON outbox.event_0 FOR EACH ROW EXECUTE FUNCTION see();
	CREATE TRIGGER b_after_row AFTER INSERT ON outbox.event_0 FOR EACH ROW EXECUTE FUNCTION see();
	CREATE TRIGGER c_when AFTER INSERT ON outbox.event_0 FOR EACH ROW WHEN (NEW.key = 'k7') EXECUTE FUNCTION see();
	CREATE TRIGGER d_before_statement BEFORE INSERT ON outbox.event_0 EXECUTE FUNCTION see();
	CREATE TRIGGER e_after_statement AFTER INSERT ON outbox.event_0
		REFERENCING NEW TABLE AS new_rows EXECUTE FUNCTION see_table();
	CREATE CONSTRAINT TRIGGER f_deferred AFTER INSERT ON outbox.event_0
		DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION see();
	CREATE TRIGGER g_not_insert AFTER UPDATE OR DELETE ON outbox.event_0 FOR EACH ROW EXECUTE FUNCTION see();
	CREATE TRIGGER h_replica AFTER INSERT ON outbox.event_0 FOR EACH ROW EXECUTE FUNCTION see();
	ALTER TABLE outbox.event_0 ENABLE REPLICA TRIGGER h_replica;
	CREATE TRIGGER i_delayed AFTER INSERT ON outbox.delayed FOR EACH ROW EXECUTE FUNCTION see();
	CREATE TRIGGER j_always AFTER INSERT ON outbox.parked FOR EACH ROW EXECUTE FUNCTION see();
	ALTER TABLE outbox.parked ENABLE ALWAYS TRIGGER j_always;
	END

note 'triggers of every kind';
is(emit(10), '', 'emitted');
is(seen(), <<~'END' =~ s/\n$//r, 'each fires for its rows');
	a_before_row|10|10
	b_after_row|10|10
	c_when|1|1
	d_before_statement|1|1
	e_after_statement|1|10
	f_deferred|10|10
	END
is(emit(2500), '', 'more than a batch');
is(seen(), <<~'END' =~ s/\n$//r, 'each batch is a statement');
	a_before_row|2500|2500
	b_after_row|2500|2500
	c_when|1|1
	d_before_statement|3|3
	e_after_statement|3|2500
	f_deferred|2500|2500
	END
query("SELECT outbox_emit('t', 'k', 'x', deliver_after => '1 day'), outbox_emit('t', 'k', 'x')");
like(seen(), qr/^b_after_row\|1\|1\n(?s:.*)^i_delayed\|1\|1$/m, 'two tables in one transaction');

note 'the relay, which is a replica in this sense';
$mock->command('refuse missing UNKNOWN_TOPIC_OR_PART');
query("SELECT outbox_emit('missing', 'k', n::text) FROM generate_series(1, 5) n");
wait_parked(5);
query("SELECT outbox_emit('missing', 'k', n::text) FROM generate_series(1, 5) n");
wait_parked(10);
like(seen(), qr/^j_always\|10\|10$/m, 'what it parks');
$mock->command('allow missing');

note 'triggers that must not be';
my $from = log_end($node);
query('CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.key := 7; RETURN NEW; END $$');
query('CREATE FUNCTION leave_out() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$');
query(<<~'END');
	CREATE FUNCTION emit() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN PERFORM outbox_emit('t', 'k', 'x'); RETURN NULL; END $$
	END
for (
	[ 'BEFORE', 'change', qr/must not change rows of table "outbox.event_0"/ ],
	[ 'BEFORE', 'leave_out', qr/must not change rows/ ],
	[ 'AFTER', 'emit', qr/cannot emit an event while the transaction commits/ ])
{
	my ($time, $function, $error) = @$_;

	query("CREATE TRIGGER z $time INSERT ON outbox.event_0 FOR EACH ROW EXECUTE FUNCTION $function()");
	like(emit(3), $error, "$time $function");
	query('DROP TRIGGER z ON outbox.event_0');
}
is(seen(), '', 'nothing of these');

note 'one that makes each row anew, as it was';
query('CREATE FUNCTION make_anew() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.key := NEW.key; RETURN NEW; END $$');
query('CREATE TRIGGER z BEFORE INSERT ON outbox.event_0 FOR EACH ROW EXECUTE FUNCTION make_anew()');
is(emit(3), '', 'has changed nothing');
like(seen(), qr/^b_after_row\|3\|3$/m, 'the events are written');
query('DROP TRIGGER z ON outbox.event_0');

note 'a constraint that is deferred where a trigger writes';
query(<<~'END');
	CREATE TABLE allowed (topic text PRIMARY KEY);
	CREATE TABLE topics (topic text REFERENCES allowed DEFERRABLE INITIALLY DEFERRED);
	INSERT INTO allowed VALUES ('t');
	CREATE FUNCTION note_topic() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
		$$ BEGIN INSERT INTO public.topics VALUES (NEW.topic); RETURN NULL; END $$;
	CREATE TRIGGER z AFTER INSERT ON outbox.event_0 FOR EACH ROW EXECUTE FUNCTION note_topic();
	END
is(emit(1), '', 'one that holds');
fails_with($node, 'postgres', "SELECT outbox_emit('u', 'k', 'x')", '23503', qr/violates foreign key/,
	'one that does not');
is(query('SELECT count(*) FROM topics'), 1, '... and nothing is written');
query('DROP TRIGGER z ON outbox.event_0');
query('DROP TRIGGER ' . $_ . ' ON outbox.event_0')
  for qw(a_before_row b_after_row c_when d_before_statement e_after_statement f_deferred);

note 'indexes that are built while rows are written';
my $load = pgbench($node, "SELECT outbox_emit('t', 'k' || :client_id, 'x') FROM generate_series(1, 3);",
	clients => 3, duration => 600, background => 1);
for my $round (1 .. 2)
{
	query('CREATE INDEX CONCURRENTLY of_others ON outbox.event_0 (id)');
	query('REINDEX TABLE CONCURRENTLY outbox.event_0');
	query('DROP INDEX CONCURRENTLY outbox.of_others') if $round == 1;
}
stop_load($node, $load);
is( query(<<~'END'), 0, 'no row is missing in an index');
	SELECT count(bt_index_check(x.indexrelid, true)) - count(*) FROM pg_index x
	JOIN pg_class c ON c.oid = x.indexrelid JOIN pg_am a ON a.oid = c.relam
	WHERE x.indrelid IN ('outbox.event_0'::regclass, 'outbox.parked'::regclass) AND a.amname = 'btree'
	END
query('DROP INDEX outbox.of_others');

note 'the rest';
ok(wait_published($node), 'published');
wait_parked(0);
ok($consumer->drain, 'drained');
is(check_delivery([ events($node) ], [ $consumer->records ]), 0, 'nothing repeated');
my $events = query('SELECT count(*) FROM outbox.event');
is( query(<<~'END'), $events, 'logical decoding has each event');
	SELECT count(*) FROM pg_logical_slot_get_changes('decoded', NULL, NULL)
	WHERE data LIKE 'table outbox.event_0: INSERT: %'
	END
ok( $node->poll_query_until('postgres',
		"SELECT n_live_tup = $events FROM pg_stat_user_tables WHERE relid = 'outbox.event_0'::regclass"),
	'... and so do the statistics');
clean_log($node, 'no crash');
$node->stop;
done_testing();
