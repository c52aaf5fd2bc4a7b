# outbox.backfill(): each row that a table has becomes one event, whatever its
# key is, and whatever happens meanwhile; and nothing of the table's owner runs
# with the relay's rights.
#
# Catches: rows that are left out, or told twice, after a crash, a failure or a
# cancellation; a relay that waits for a lock, or for a function that does not
# return; a function or a condition that becomes a superuser, or writes past
# triggers; an order of keys that is not that of the index; a job that goes on
# for ever because its table, destination or partition is gone.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use Test::More;

my $mock = OutboxTest::Mock->new(topics => { map { $_ => 1 } qw(row ba dbz fn odd other) });
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main', bootstrap => $mock->bootstrap, extension => 1, conf => 'restart_after_crash = on');

# A column of the job
sub job
{
	my ($job, $column) = @_;

	return query("SELECT $column FROM outbox.stat_backfill WHERE id = $job");
}

sub wait_for
{
	my ($job, $condition) = @_;

	$node->poll_query_until('postgres', "SELECT $condition FROM outbox.stat_backfill WHERE id = $job")
	  or die "job $job: " . job($job, 'stat_backfill');
	return;
}

sub take
{
	wait_published($node) && $consumer->drain or die 'not published';
	return $consumer->take;
}

# All keys, in order
sub keys_of
{
	return join ' ', map { $_->{key} } @_;
}

note 'formats';
query(<<~'END');
	CREATE TABLE f (id integer PRIMARY KEY, a text);
	INSERT INTO f VALUES (1, 'x'), (2, NULL);
	CREATE FUNCTION f_made(operation text, before jsonb, after jsonb) RETURNS jsonb LANGUAGE sql AS
		$$ SELECT CASE after->>'id' WHEN '1' THEN jsonb_build_array(operation, before, after) END $$;
	SELECT outbox.publish_table('f', 'row', version => '7', type => 'f'),
		outbox.publish_table('f', 'ba', format => 'before_after'),
		outbox.publish_table('f', 'dbz', format => 'debezium'),
		outbox.publish_table('f', 'fn', format => 'public.f_made');
	ANALYZE f;
	END
my $job = query(q{SELECT outbox.backfill('f')});
wait_for($job, "state = 'done'");
my %of = map { ("$_->{topic} $_->{key}" => $_) } take();
is($of{'row 1'}->{payload}, '{"id":1,"a":"x"}', 'row');
is($of{'row 2'}->{payload}, '{"id":2,"a":null}', '... of null');
is((grep { $_->[0] eq 'version' } @{ $of{'row 1'}->{headers} })[0]->[1], '7', '... with its header');
is($of{'ba 1'}->{payload}, '{"op":"read","before":null,"after":{"id":1,"a":"x"}}', 'before_after');
like($of{'dbz 1'}->{payload}, qr/^\{"before":null,"after":\{"id":1,"a":"x"\},"source":\{.*"snapshot":"true".*"op":"r"/, 'debezium');
is($of{'fn 1'}->{payload}, '["read", null, {"a": "x", "id": 1}]', 'a function');
ok(!$of{'fn 2'}, '... which may want no event');
is(job($job, 'rows_read, events, percent, error, reading'), '2|7|100||', 'counted');
query(q{INSERT INTO f VALUES (3)});
like((grep { $_->{topic} eq 'dbz' } take())[0]->{payload}, qr/"snapshot":"false"/, 'what changes is no snapshot');
$job = query(q{SELECT outbox.backfill('f', topic => 'ba', condition => 'id <> 2 AND a IS NOT NULL')});
wait_for($job, "state = 'done'");
is(join(' ', map { "$_->{topic} $_->{key}" } take()), 'ba 1', 'one topic, with a condition');
is(job($job, 'rows_read, events'), '3|1', 'counted');

note 'who asks for what cannot be done';
query(<<~'END');
	CREATE ROLE boss; CREATE ROLE app LOGIN;
	CREATE TABLE no_key (id integer UNIQUE); CREATE TABLE unpublished (id integer PRIMARY KEY);
	CREATE TEMPORARY TABLE fleeting (id integer PRIMARY KEY);
	SELECT outbox.publish_table('no_key', 'other', key => '{id}');
	GRANT USAGE ON SCHEMA outbox TO app; GRANT EXECUTE ON FUNCTION outbox.backfill TO app;
	GRANT SELECT ON outbox.published_table TO app;
	END
fails_with($node, 'postgres', "SELECT outbox.backfill($_->[0])", $_->[1], $_->[2], "$_->[0]")
  for [ 'NULL', '42P01', qr/table null does not exist/ ],
  [ "'unpublished'", '55000', qr/is not published/ ],
  [ "'f', 'nowhere'", '55000', qr/is not published to topic "nowhere"/ ],
  [ "'no_key'", '55000', qr/has no primary key/ ],
  [ "'f', rate => 0", '22023', qr/rate must be greater/ ],
  [ "'f', condition => 'missing = 1'", '42703', qr/"missing" does not exist/ ],
  [ "'f', condition => 'random() < 1'", '0A000', qr/must be immutable/ ];
fails_with($node, 'postgres', q{SET ROLE app; SELECT outbox.backfill('f')}, '42501', qr/must be owner of table public\.f/, 'not the owner');
fails_with($node, 'postgres', "SELECT outbox.check_backfill($_, NULL)", '22004', qr/must not be null/, 'null is refused')
  for q{NULL, '{1}'}, q{'f', NULL};
is(query('SELECT outbox.cancel_backfill(1000), outbox.resume_backfill(1000)'), 'f|f', 'there is none');

note 'keys of all kinds';
query(<<~'END');
	CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
	ALTER TYPE mood ADD VALUE 'angry' BEFORE 'sad';
	CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
	CREATE FUNCTION odd(name text, columns text, "values" text, key text) RETURNS bigint LANGUAGE plpgsql AS $$
	BEGIN
		EXECUTE format('CREATE TABLE %I (%s, PRIMARY KEY (%s))', name, columns, key);
		EXECUTE format('INSERT INTO %I SELECT %s FROM generate_series(1, 35) g', name, "values");
		PERFORM outbox.publish_table(name::regclass, 'odd', type => name);
		RETURN outbox.backfill(name::regclass, rate => 60);
	END $$;
	SET TimeZone = 'America/New_York'; SET DateStyle = 'SQL, DMY';
	SELECT odd('odd_text', 'a text COLLATE "POSIX", b text', $$ CASE g % 3 WHEN 0 THEN 'é' WHEN 1 THEN 'Z"{},\' ELSE '' END, chr(64 + g)$$, 'a, b'),
		odd('odd_domain', 'a positive', 'g * 7', 'a'),
		odd('odd_name', 'a name, b "char"', $$ 'n' || g % 4, chr(48 + g)::"char" $$, 'a, b'),
		odd('odd_time', 'a timestamptz, b date, c interval', $$ CASE g WHEN 1 THEN '-infinity' WHEN 2 THEN 'infinity' ELSE '2024-11-03 01:00-04'::timestamptz + g * interval '7 min' END, '2024-01-01'::date, g * interval '1 month' $$, 'b, a, c'),
		odd('odd_float', 'a float8, b real', $$ CASE g WHEN 1 THEN 'NaN' WHEN 2 THEN '-Infinity' ELSE 1 / g::float8 END, g / 3::real $$, 'a, b'),
		odd('odd_numeric', 'a numeric, b bytea', $$ CASE g WHEN 1 THEN 'NaN' ELSE g / 7.0 END, int4send(-g) $$, 'a, b'),
		odd('odd_enum', 'a mood, b uuid', $$ ('{sad,ok,happy,angry}'::mood[])[1 + g % 4], md5(g::text)::uuid $$, 'a, b'),
		odd('odd_array', 'a int[], b boolean, c jsonb', $$ ARRAY[g, NULL], g % 2 = 0, jsonb_build_object('k', g) $$, 'c, b, a'),
		odd('odd_bpchar', 'a char(5), b varchar(9), x text', $$ chr(64 + g / 2), 'v' || g % 2, repeat(md5(g::text), 200) $$, 'b, a');
	CREATE TABLE odd_include (a int, b text, PRIMARY KEY (a) INCLUDE (b)); INSERT INTO odd_include SELECT g, 'b' FROM generate_series(1, 35) g;
	SELECT outbox.publish_table('odd_include', 'odd', type => 'odd_include'), outbox.backfill('odd_include', rate => 60);
	END
$node->poll_query_until('postgres', q{SELECT count(*) = 10 FROM outbox.stat_backfill WHERE relation::text LIKE 'odd%' AND state = 'done'})
  or die query('SELECT * FROM outbox.stat_backfill');
my %odd;
push @{ $odd{ $_->[0] } }, $_->[1] for map {
	my $record = $_;
	[ (map { $_->[1] } grep { $_->[0] eq 'type' } @{ $record->{headers} })[0] // $record->{topic}, $record ]
} take();
for my $table (split /\n/, query(q{SELECT relation FROM outbox.stat_backfill WHERE relation::text LIKE 'odd%' ORDER BY 1}))
{
	is(query("SELECT rows_read || ' ' || events FROM outbox.stat_backfill WHERE relation = '$table'::regclass"),
		'35 35', "$table: each row once");
}
is(query(q{SELECT count(DISTINCT (type, key)) FROM outbox.event WHERE topic = 'odd'}), 350, 'of all tables');

note 'a crash, and one more; a cancellation';
query(<<~'END');
	CREATE TABLE big (id integer PRIMARY KEY, n integer);
	INSERT INTO big SELECT g, g FROM generate_series(1, 3000) g;
	SELECT outbox.publish_table('big', 'other');
	END
$job = query(q{SELECT outbox.backfill('big', rate => 1500)});
wait_for($job, 'rows_read > 500');
kill_relay($node);
wait_for($job, 'rows_read > 1000');
is(query("SELECT outbox.cancel_backfill($job)"), 't', 'cancelled');
my $rows = job($job, 'rows_read');
cmp_ok($rows, '<', 3000, '... in the middle');
ok(stays(0.5, sub { job($job, 'rows_read') == $rows }), 'it stays where it is');
is(query("SELECT outbox.resume_backfill($job)"), 't', 'resumed');
is(query("SELECT outbox.resume_backfill($job)"), 'f', '... but once');
wait_for($job, "state = 'done'");
is(query(q{SELECT count(*) || ' ' || count(DISTINCT key) FROM outbox.event WHERE topic = 'other'}), '3000 3000', 'each row once');
is(query("SELECT outbox.cancel_backfill($job)"), 'f', 'it is done');

note 'locks of others';
my $from = log_end($node);
my $session = $node->background_psql('postgres');
$session->query_safe('BEGIN; SELECT FROM big WHERE id = 2000 FOR UPDATE');
$job = query(q{SELECT outbox.backfill('big')});
wait_for($job, q{error = 'others have locked its next row'});
is(job($job, 'rows_read, state, next_key'), '1999|running|{2000}', 'a row: it has come so far');
query(q{SELECT outbox_emit('row', 'k', 'meanwhile')});
ok(wait_published($node), 'the relay does not wait');
ok(stays(5, sub { job($job, 'rows_read, error') eq '1999|others have locked its next row' }),
	'nor does it leave the row out, or say anything else');
$session->query_safe('UPDATE big SET n = -1 WHERE id = 2000; COMMIT');
wait_for($job, "state = 'done'");
is(job($job, 'rows_read, error'), '3000|', 'it goes on');
is(query(q{SELECT string_agg(convert_from(payload, 'UTF8'), ' ' ORDER BY id) FROM outbox.event WHERE topic = 'other' AND key = '2000'}),
	'{"id":2000,"n":2000} {"id":2000,"n":-1} {"id":2000,"n":-1}', 'with what the row is now');
my $locked = query(q{SELECT outbox.backfill('big', rate => 1000)});
$session->query_safe('BEGIN; LOCK TABLE big');
wait_for($locked, q{error LIKE 'others have locked the table%'});
$job = query(q{SELECT outbox.backfill('f', 'row')});
wait_for($job, "state = 'done'");
is(job($locked, 'state'), 'running', 'a table: another backfill need not wait');
$session->query_safe('ROLLBACK');
wait_for($locked, "state = 'done'");
is(job($locked, 'rows_read'), 3000, 'it goes on');
$session->quit;

note 'what users have written';
query(<<~'END');
	CREATE TABLE written (n integer, who text, role text);
	CREATE FUNCTION told() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.n = 1000 + NEW.n; RETURN NEW; END $$;
	CREATE TRIGGER told BEFORE INSERT ON written FOR EACH ROW EXECUTE FUNCTION told();
	GRANT INSERT ON written TO boss; GRANT CREATE, USAGE ON SCHEMA public TO boss;
	CREATE TABLE own (id integer PRIMARY KEY, n integer);
	INSERT INTO own SELECT g, 0 FROM generate_series(1, 30) g;
	CREATE FUNCTION own_made(operation text, before jsonb, after jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	DECLARE n integer := (after->>'n')::integer;
	BEGIN
		IF n = 1 THEN
			INSERT INTO public.written VALUES (n, current_user, current_setting('session_replication_role'));
		ELSIF n = 2 THEN
			SET ROLE NONE;
		ELSIF n = 3 THEN
			PERFORM pg_sleep(60);
		ELSIF n = 4 THEN
			PERFORM set_config('outbox.log_level', 'x', false);
		ELSIF n = 5 THEN
			PERFORM set_config('work_mem', '64kB', false);
		ELSIF n = 6 THEN
			PERFORM pg_advisory_unlock_all(), pg_advisory_lock(4711);
			RAISE 'it has ended';
		END IF;
		RETURN after;
	END $$;
	ALTER TABLE own OWNER TO boss; ALTER FUNCTION own_made OWNER TO boss;
	SELECT outbox.publish_table('own', 'fn', format => 'public.own_made');
	END
my $pid = relay_pid($node);
my $advisory = q{SELECT classid, objid, objsubid FROM pg_locks WHERE locktype = 'advisory'};
my $locks = query($advisory);
for ([ 1, '' ], [ 2, qr/^row \{17\}: cannot set parameter "role" within security-restricted operation/ ],
	[ 3, qr/^row \{17\}: canceling statement due to statement timeout/ ], [ 5, '' ], [ 6, qr/^row \{17\}: it has ended/ ])
{
	my ($n, $error) = @$_;

	query("SET session_replication_role = replica; UPDATE own SET n = $n WHERE id = 17");
	$job = query(q{SELECT outbox.backfill('own')});
	wait_for($job, "state <> 'running'");
	if ($error)
	{
		like(job($job, 'error'), $error, 'it fails, and says of which row');
		query(q{SET session_replication_role = replica; UPDATE own SET n = 0 WHERE id = 17});
		is(job($job, 'state, rows_read < 17'), 'failed|t', '... before which it stays');
		is(query("SELECT status FROM outbox.health() WHERE \"check\" = 'backfill'"), 'warning', '... as outbox.health() does');
		query("SELECT outbox.resume_backfill($job)");
		wait_for($job, "state <> 'running'");
	}
	is(job($job, 'state, rows_read, error'), 'done|30|', "$n: done");
}
is(query(q{SELECT * FROM written}), '1001|boss|origin', 'as the owner of the table, with triggers');
is(relay_pid($node), $pid, 'the relay lives on');
is(query($advisory), $locks, '... with its lock, and without those that functions have left');

# Nobody can cancel it: it ends with the process, once; so the server can stop.
query(<<~'END');
	CREATE FUNCTION own_endless(operation text, before jsonb, after jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		LOOP
			BEGIN
				PERFORM pg_sleep(60);
			EXCEPTION WHEN query_canceled THEN NULL;
			END;
		END LOOP;
	END $$;
	CREATE TABLE endless (id integer PRIMARY KEY); INSERT INTO endless VALUES (1);
	ALTER TABLE endless OWNER TO boss; ALTER FUNCTION own_endless OWNER TO boss;
	SELECT outbox.publish_table('endless', 'fn', format => 'public.own_endless');
	END
$job = query(q{SELECT outbox.backfill('endless')});
wait_for($job, "state = 'failed'");
like(job($job, 'error'), qr/^a function has not ended when it was cancelled/, 'a function that catches everything');
isnt(relay_pid($node), $pid, '... ends the process');
query(q{SELECT outbox_emit('row', 'k', 'afterwards')});
ok(wait_published($node), '... and the next one publishes');
query("SELECT outbox.resume_backfill($job)");
$node->poll_query_until('postgres', q{SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE backend_type = 'outbox relay'})
  or die 'it does not sleep';
$node->restart;
wait_for($job, "state = 'failed'");
query("SELECT outbox.cancel_backfill($job)");
wait_state($node, 'publishing');
is(query("SELECT status FROM outbox.health() WHERE \"check\" = 'backfill'"), 'ok', 'all is well');

# A function that changes rows of the table itself
query(<<~'END');
	CREATE TABLE touched (id integer PRIMARY KEY, n integer, unpublished integer);
	INSERT INTO touched SELECT g, 0 FROM generate_series(1, 30) g;
	CREATE FUNCTION touched_made(operation text, before jsonb, after jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		IF after->>'n' = '0' THEN
			UPDATE public.touched SET unpublished = 1 WHERE id = (after->>'id')::integer + 1;
		ELSIF operation = 'read' THEN
			UPDATE public.touched SET n = 2 WHERE id = (after->>'id')::integer;
		END IF;
		RETURN after;
	END $$;
	SELECT outbox.publish_table('touched', 'fn', columns => '{id,n}', format => 'public.touched_made');
	END
my $before = query(q{SELECT max(id) FROM outbox.event});
$job = query(q{SELECT outbox.backfill('touched')});
wait_for($job, "state <> 'running'");
is(query("SELECT count(*) || ' ' || count(DISTINCT key) FROM outbox.event WHERE id > $before"), '30 30',
	'one that changes another row, in what is not published: each row once');
query('SET session_replication_role = replica; UPDATE touched SET n = 1 WHERE id = 17');
$job = query(q{SELECT outbox.backfill('touched')});
wait_for($job, "state <> 'running'");
is(job($job, 'state, error'), 'failed|row {17}: the function that makes payloads of "touched" has changed the row that it was given',
	'one that changes its row, whose old event would come last');

note 'what is gone';
query(<<~'END');
	CREATE TABLE gone (id integer PRIMARY KEY); INSERT INTO gone SELECT generate_series(1, 100);
	CREATE TABLE left_alone (id integer PRIMARY KEY); INSERT INTO left_alone SELECT generate_series(1, 100);
	CREATE TABLE changed (id integer PRIMARY KEY, a integer); INSERT INTO changed SELECT generate_series(1, 100);
	CREATE TABLE emptied (id integer PRIMARY KEY); INSERT INTO emptied SELECT generate_series(1, 5000);
	CREATE TABLE parts (id integer, r integer, PRIMARY KEY (r, id)) PARTITION BY LIST (r);
	CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
	CREATE TABLE parts_2 PARTITION OF parts FOR VALUES IN (2);
	CREATE TABLE parts_3 PARTITION OF parts FOR VALUES IN (3);
	CREATE TABLE parts_4 PARTITION OF parts FOR VALUES IN (4);
	INSERT INTO parts SELECT g, 1 + g % 4 FROM generate_series(0, 99) g;
	SELECT outbox.publish_table(t::regclass, 'other') FROM unnest('{gone,left_alone,emptied,parts}'::text[]) t;
	SELECT outbox.publish_table('changed', 'other', columns => '{id,a}');
	DELETE FROM emptied WHERE id < 4990;
	END
$session = $node->background_psql('postgres');
$session->query_safe('BEGIN');
$session->query_safe("SELECT FROM $_ FOR UPDATE")
  for map({ "$_ WHERE id = 50" } qw(gone left_alone changed)), 'parts_1 WHERE id = 20';
my %jobs = map { ($_ => query("SELECT outbox.backfill('$_')")) } qw(gone left_alone changed parts);
my $emptied = query(q{SELECT outbox.backfill('emptied')});
wait_for($_, q{error = 'others have locked its next row'}) for values %jobs;
$session->query_safe(q{DROP TABLE gone; SELECT outbox.unpublish_table('left_alone'); ALTER TABLE changed DROP COLUMN a;
	DROP TABLE parts_2; ALTER TABLE parts DETACH PARTITION parts_3; COMMIT});
$session->quit;
wait_for($_, "state <> 'running'") for values %jobs;
is(job($jobs{gone}, 'state, error'), 'failed|the table is not published any more', 'a table');
is(job($jobs{left_alone}, 'state, error'), 'failed|the table is not published any more', 'its destination');
like(job($jobs{changed}, 'state, error'), qr/^failed\|.*column "a" of "changed" does not exist/, 'a column');
is(job($jobs{parts}, 'state, rows_read'), 'done|50', 'partitions');
wait_for($emptied, "state = 'done'");
is(job($emptied, 'rows_read'), 11, 'rows');
is(query(q{SELECT outbox.backfill('parts_4') > 0}), 't', 'a partition by itself');
ok(wait_published($node), 'published');
clean_log($node, 'nobody has crashed', from => $from);
$node->stop;
done_testing();
