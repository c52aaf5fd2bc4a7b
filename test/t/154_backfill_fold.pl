# outbox.backfill() beside live changes: who reads the topics ends with what the
# table has, as in 153, though the rows were there before it was published.
#
# Catches: an event of an old version behind that of a newer one, which comes
# about when rows are read without a lock on them (shown first, with a backfill
# of that kind); rows that are left out, because they change, move to another
# partition or get another key meanwhile.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use Test::More;

my $mock = OutboxTest::Mock->new(topics => { plain => 1, whole => 3, part => 3 });
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main', bootstrap => $mock->bootstrap, extension => 1);

# What has come since the last time
sub take
{
	wait_published($node) && $consumer->drain or die 'not published';
	return $consumer->take;
}

# How often a key gets a lower value than it had, and how many end with another
# one than the table has
sub wrong
{
	my (@records) = @_;
	my %table = map { split /\|/ } split /\n/, query('SELECT id, v FROM plain');
	my (%last, $back);

	for my $record (@records)
	{
		my ($v) = $record->{payload} =~ /"v": ?(\d+)/ or die $record->{payload};

		$back++ if $v < ($last{ $record->{key} } // 0);
		$last{ $record->{key} } = $v;
	}
	return ($back // 0, scalar grep { ($last{$_} // -1) != $table{$_} } keys %table);
}

note 'rows that are only counted up';
query(<<~'END');
	CREATE TABLE plain (id integer PRIMARY KEY, v integer);
	INSERT INTO plain SELECT g, 0 FROM generate_series(1, 2000) g;
	SELECT outbox.publish_table('plain', 'plain');
	-- what outbox.backfill() does, but for the lock on rows
	CREATE PROCEDURE unlocked() LANGUAGE plpgsql AS $$
	BEGIN
		FOR i IN 0 .. 19 LOOP
			PERFORM outbox_emit('plain', id, to_jsonb(p)) FROM plain p WHERE id > i * 100 AND id <= i * 100 + 100;
			PERFORM pg_sleep(0.05);
			COMMIT;
		END LOOP;
	END $$;
	END
my $count_up = <<~'END';
	\set id random(1, 2000)
	UPDATE plain SET v = v + 1 WHERE id = :id;
	END
my $load = pgbench($node, $count_up, clients => 3, duration => 60, background => 1);
wait_until(undef, sub { query('SELECT sum(v) > 0 FROM plain') eq 't' }, 'load');
query('CALL unlocked()');
stop_load($node, $load);
my ($back, $other) = wrong(take());
cmp_ok($back, '>', 0, 'without locks, old versions come behind newer ones');

$load = pgbench($node, $count_up, clients => 3, duration => 60, background => 1);
my $before = query('SELECT sum(v) FROM plain');
my $job = query(q{SELECT outbox.backfill('plain', rate => 1000)});
wait_rows(1, "id = $job AND state = 'done'", 'outbox.stat_backfill');
stop_load($node, $load);
cmp_ok(query('SELECT sum(v) FROM plain') - $before, '>', 100, 'there are changes beside a backfill');
($back, $other) = wrong(take());
is($back, 0, 'which never takes a key back');
is($other, 0, 'and leads to what the table has');
is(query("SELECT rows_read || ' ' || events || ' ' || percent FROM outbox.stat_backfill WHERE id = $job"),
	'2000 2000 100', 'with an event for each row');

note 'a row that is being read when somebody changes it';
query(<<~'END');
	CREATE TABLE slow (id integer PRIMARY KEY, v integer);
	INSERT INTO slow VALUES (1, 0);
	CREATE FUNCTION slowly(operation text, before jsonb, after jsonb) RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		IF operation = 'read' THEN
			PERFORM pg_sleep(0.7);
		END IF;
		RETURN operation || (after->>'v');
	END $$;
	SELECT outbox.publish_table('slow', 'plain', format => 'public.slowly');
	SELECT outbox.backfill('slow');
	END
wait_until(undef, sub { query(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'outbox relay' AND wait_event = 'PgSleep'}) },
	'it is being read');
query('UPDATE slow SET v = 1');
is(query(q{SELECT string_agg(convert_from(payload, 'UTF8'), ' ' ORDER BY id) FROM outbox.event WHERE convert_from(payload, 'UTF8') ~ '^(read|update)'}),
	'read0 update1', 'who changes it comes later');

note 'everything that can happen to a row, in partitions';
query(<<~'END');
	CREATE TABLE t (r integer, id integer, n integer, note text, PRIMARY KEY (id, r)) PARTITION BY LIST (r);
	CREATE TABLE t_even PARTITION OF t FOR VALUES IN (0, 2);
	CREATE TABLE t_odd (id integer NOT NULL, gone text, note text, r integer NOT NULL, n integer);
	ALTER TABLE t_odd DROP COLUMN gone;
	ALTER TABLE t ATTACH PARTITION t_odd FOR VALUES IN (1, 3);
	INSERT INTO t SELECT g % 4, g, g % 1000, 'x' FROM generate_series(1, 1500) g;
	SELECT outbox.publish_table('t', 'whole', key => '{id}', columns => '{id,n}');
	SELECT outbox.publish_table('t', 'part', key => '{id}', condition => 'n > 500', columns => '{n,id}');
	END
$load = pgbench($node, <<~'END', clients => 4, duration => 60, background => 1);
	\set a random(1, 1600)
	\set b random(1, 1600)
	\set n random(1, 1000)
	BEGIN;
	SELECT pg_advisory_xact_lock(least(:a, :b));
	SELECT pg_advisory_xact_lock(greatest(:a, :b));
	UPDATE t SET n = :n WHERE id = :a;
	SAVEPOINT s;
	DELETE FROM t WHERE id = :b;
	UPDATE t SET id = :b WHERE id = :a AND :n % 3 = 0;
	\if :n % 2 = 0
	ROLLBACK TO s;
	\endif
	UPDATE t SET r = (r + 1) % 4 WHERE id IN (:a, :b);
	INSERT INTO t SELECT :n % 4, :a, :n WHERE NOT EXISTS (SELECT FROM t WHERE id = :a);
	\if :n % 5 = 0
	ROLLBACK;
	\else
	COMMIT;
	\endif
	END
$job = query(q{SELECT outbox.backfill('t', rate => 750)});
wait_rows(1, "id = $job AND state = 'done'", 'outbox.stat_backfill');
stop_load($node, $load);
my @records = take();
for ([ whole => 'true', 'json_build_object(\'id\', id, \'n\', n)' ], [ part => 'n > 500', 'json_build_object(\'n\', n, \'id\', id)' ])
{
	my ($topic, $condition, $json) = @$_;
	my %last = map { $_->{key} => $_->{payload} } grep { $_->{topic} eq $topic } @records;
	my $read = join ' ', map { "$_ $last{$_}" } sort grep { defined $last{$_} } keys %last;

	is($read, query(<<~END), "$topic: leads to what the table has");
		SELECT string_agg(id || ' ' || replace(replace($json\::text, ' ', ''), E'\\n', ''), ' ' ORDER BY id::text COLLATE "C")
		FROM t WHERE $condition
		END
}
$node->stop;
done_testing();
