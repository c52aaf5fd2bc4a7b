# Order: of transactions that wait for each other, events arrive in the order of
# the commits, wherever in the transaction they were emitted.
#
# Catches: ids that follow the order of the calls (a transaction that emits
# first and locks the row afterwards gets a lower id than one that commits
# before it), and a relay that passes over an id still in flight or publishes a
# rollback.
#
# Every transaction writes down what it emits in a plain table of its own.

use strict;
use warnings;

use OutboxTest;
use Test::More;

my $clients = 8;
my $transactions = 400;
my $keys = 5;

my $mock = OutboxTest::Mock->new;
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1);

$node->safe_psql('postgres', <<~END);
	CREATE TABLE counter (key int PRIMARY KEY, version int NOT NULL);
	INSERT INTO counter SELECT key, 0 FROM generate_series(1, $keys) key;
	CREATE TABLE ledger (xid xid8, key int, version int, late uuid);
	CREATE TABLE early_ledger (xid xid8, early uuid);
	END

pgbench($node, <<~'END', clients => $clients, transactions => $transactions);
	\set key random(1, 5)
	\set emit_first random(0, 1)
	\set asynchronous random(0, 3)
	\set fate random(1, 10)
	BEGIN;
	\if :asynchronous = 0
	SET LOCAL synchronous_commit = off;
	\endif
	\if :emit_first
	INSERT INTO early_ledger
		VALUES (pg_current_xact_id(), outbox_emit('order', :key, 'early'));
	\endif
	WITH c AS (
		UPDATE counter SET version = version + 1 WHERE key = :key
		RETURNING version)
	INSERT INTO ledger
		SELECT pg_current_xact_id(), :key, version,
			outbox_emit('order', :key, version::text)
		FROM c;
	\if :fate = 1
	ROLLBACK;
	\else
	COMMIT;
	\endif
	END

ok(wait_published($node), 'everything is published');
ok($consumer->drain, 'and read');
my @records = $consumer->records;

my $committed = $node->safe_psql('postgres', 'SELECT count(*) FROM ledger');
my $all = $clients * $transactions;
cmp_ok($committed, '<', $all, "of $all transactions some were rolled back");
cmp_ok($committed, '>', $all / 2, 'and most were not');
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM early_ledger'),
	'>', $committed / 4, 'many have emitted before they locked the row');

is(check_delivery([ events($node) ], \@records), 0, 'nothing twice');

# The same by the tables that the transactions have written themselves.
for my $key (1 .. $keys)
{
	my @versions = map { $_->{payload} }
	  grep { $_->{key} eq $key && $_->{payload} ne 'early' } @records;
	is_deeply(
		\@versions,
		[ 1 .. $node->safe_psql('postgres',
				"SELECT version FROM counter WHERE key = $key") ],
		"key $key: versions ascend without a gap");

	my @expected = split /\n/, $node->safe_psql('postgres', <<~END);
		SELECT event_id FROM ledger LEFT JOIN early_ledger USING (xid),
			LATERAL (VALUES (1, early), (2, late)) e (n, event_id)
		WHERE key = $key AND event_id IS NOT NULL ORDER BY version, n
		END
	is_deeply(
		[ map { $_->{event_id} } grep { $_->{key} eq $key } @records ],
		\@expected,
		"key $key: exactly the events of the commits, in their order");
}

$node->stop;
done_testing();
