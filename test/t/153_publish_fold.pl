# Who reads the topics of a published table ends with the table, and who reads
# with a condition, with the rows that it is true of: with clients that insert,
# update, delete and rename keys at once, roll back, and meet triggers.
#
# Catches: an event out of the order of the changes of its key; one too few or
# too many; a relay that does not publish what a trigger emitted.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use Test::More;

my $mock = OutboxTest::Mock->new(topics => { whole => 3, part => 3 });
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main', bootstrap => $mock->bootstrap, extension => 1);

query(<<~'END');
	CREATE TABLE t (id integer PRIMARY KEY, n integer, note text) PARTITION BY RANGE (id);
	CREATE TABLE t_low PARTITION OF t FOR VALUES FROM (0) TO (100);
	CREATE TABLE t_high PARTITION OF t DEFAULT;
	CREATE FUNCTION more() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN UPDATE t SET n = n + 1000 WHERE id = NEW.id AND n % 7 = 0; RETURN NULL; END $$;
	CREATE TRIGGER more AFTER UPDATE OF note ON t FOR EACH ROW EXECUTE FUNCTION more();
	SELECT outbox.publish_table('t', 'whole', columns => '{id,n}');
	SELECT outbox.publish_table('t', 'part', condition => 'n > 500', columns => '{n,id}');
	END
pgbench($node, <<~'END', clients => 4, transactions => 150);
	\set a random(1, 200)
	\set b random(1, 200)
	\set n random(1, 1000)
	BEGIN;
	SELECT pg_advisory_xact_lock(least(:a, :b));
	SELECT pg_advisory_xact_lock(greatest(:a, :b));
	INSERT INTO t VALUES (:a, :n) ON CONFLICT (id) DO UPDATE SET n = excluded.n;
	SAVEPOINT s;
	DELETE FROM t WHERE id = :b;
	UPDATE t SET id = :b WHERE id = :a AND :n % 3 = 0;
	\if :n % 2 = 0
	ROLLBACK TO s;
	\endif
	UPDATE t SET note = 'x' || :n WHERE id IN (:a, :b);
	\if :n % 5 = 0
	ROLLBACK;
	\else
	COMMIT;
	\endif
	END
ok(wait_published($node), 'published');
$consumer->drain or die 'not read';

for ([ whole => 'true', 'json_build_object(\'id\', id, \'n\', n)' ], [ part => 'n > 500', 'json_build_object(\'n\', n, \'id\', id)' ])
{
	my ($topic, $condition, $json) = @$_;
	my @records = grep { $_->{topic} eq $topic } $consumer->records;
	my %last = map { $_->{key} => $_->{payload} } @records;
	my $read = join ' ', map { "$_ $last{$_}" } sort grep { defined $last{$_} } keys %last;

	cmp_ok(scalar @records, '>', 200, "$topic: there are some");
	is($read, query(<<~END), '... which lead to what the table has');
		SELECT string_agg(id || ' ' || replace(replace($json\::text, ' ', ''), E'\\n', ''), ' ' ORDER BY id::text COLLATE "C")
		FROM t WHERE $condition
		END
}
$node->stop;
done_testing();
