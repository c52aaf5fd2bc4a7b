# Events that triggers of a logical-replication subscriber emit: in the initial
# copy, in the stream, in large transactions, and when applying has to be
# tried again.
#
# Catches: an emit that works in sessions only, and is lost, refused or crashes
# in tablesync and apply workers; events of failed attempts that are published.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use Test::More;

my $mock = OutboxTest::Mock->new;
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('subscriber',
	bootstrap => $mock->bootstrap,
	extension => 1,
	conf => 'wal_retrieve_retry_interval = 100ms');
my $publisher = outbox_node('publisher',
	preload => 0,
	allows_streaming => 'logical',
	conf => 'logical_decoding_work_mem = 64kB');

sub source { return $publisher->safe_psql('postgres', $_[0]); }

# What arrived for a key: operations and payloads, in order.
sub of_key
{
	my ($key) = @_;

	return join ' ', map {
		my %header = map { @$_ } @{ $_->{headers} };
		"$header{op}:" . ($_->{payload} // 'NULL')
	} grep { $_->{key} eq $key } $consumer->records;
}

sub arrived
{
	my ($name) = @_;

	$publisher->wait_for_catchup('sub');
	ok(wait_published($node), "$name: published");
	ok($consumer->drain, "$name: drained");
	return;
}

source('CREATE TABLE orders (id int PRIMARY KEY, v text)');
source("INSERT INTO orders SELECT n, 'copied' FROM generate_series(1, 200) n");
source('CREATE PUBLICATION pub FOR TABLE orders');

query(<<~'END');
	CREATE TABLE orders (id int PRIMARY KEY, v text);
	CREATE FUNCTION emit_order() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		-- no search path in an apply worker
		IF TG_OP = 'DELETE' THEN
			PERFORM public.outbox_emit('orders', OLD.id, NULL, '{"op": "D"}');
		ELSE
			PERFORM public.outbox_emit('orders', NEW.id, NEW.v,
				pg_catalog.jsonb_build_object('op', substr(TG_OP, 1, 1)));
		END IF;
		RETURN NULL;
	END $$;
	CREATE TRIGGER emit_order AFTER INSERT OR UPDATE OR DELETE ON orders
		FOR EACH ROW EXECUTE FUNCTION emit_order();
	ALTER TABLE orders ENABLE ALWAYS TRIGGER emit_order;
	END

# Large transactions are applied by a worker of their own, where there is one.
my $streaming = $node->pg_version >= 16 ? 'parallel' : 'on';
query("CREATE SUBSCRIPTION sub CONNECTION '@{[$publisher->connstr]} dbname=postgres'"
	  . " PUBLICATION pub WITH (streaming = $streaming)");
$node->wait_for_subscription_sync($publisher, 'sub');
arrived('copy');
is($consumer->events, 200, 'an event for each row of the initial copy');
is(of_key(7), 'I:copied', '... with key and payload');

source(<<~'END');
	UPDATE orders SET v = 'first' WHERE id = 7;
	BEGIN;
	UPDATE orders SET v = 'second' WHERE id = 7;
	SAVEPOINT s;
	UPDATE orders SET v = 'never' WHERE id = 7;
	ROLLBACK TO s;
	DELETE FROM orders WHERE id = 7;
	COMMIT;
	BEGIN; UPDATE orders SET v = 'never'; ROLLBACK;
	INSERT INTO orders VALUES (7, 'again');
	END
arrived('stream');
is( of_key(7),
	'I:copied U:first U:second D:NULL I:again',
	'each change in its order');

# Larger than logical_decoding_work_mem, with a subtransaction.
my $before = $consumer->count;
source(<<~'END');
	BEGIN;
	INSERT INTO orders SELECT n, repeat('large', 20) FROM generate_series(1001, 3000) n;
	SAVEPOINT s;
	INSERT INTO orders SELECT n, repeat('never', 20) FROM generate_series(3001, 5000) n;
	ROLLBACK TO s;
	UPDATE orders SET v = 'small' WHERE id BETWEEN 1001 AND 1010;
	COMMIT;
	BEGIN;
	INSERT INTO orders SELECT n, repeat('never', 20) FROM generate_series(6001, 8000) n;
	ROLLBACK;
	END
arrived('large transaction');
is($consumer->count - $before, 2010, 'each event of a large transaction');
is(of_key(1001), 'I:' . 'large' x 20 . ' U:small', '... in order');

# A transaction that cannot be applied at first: its first row has emitted.
# Whatever is done without the trigger is done in one transaction, else the next
# attempt may come while it is off.
sub without_trigger
{
	query(<<~END);
		BEGIN;
		ALTER TABLE orders DISABLE TRIGGER emit_order;
		$_[0];
		ALTER TABLE orders ENABLE ALWAYS TRIGGER emit_order;
		COMMIT;
		END
	return;
}
without_trigger("INSERT INTO orders VALUES (9002, 'in the way')");
my $from = log_end($node);
source("INSERT INTO orders VALUES (9001, 'retried'), (9002, 'retried')");
wait_until(
	undef,
	sub { log_lines($node, $from, qr/ERROR: .*(duplicate key|insert_exists)/) >= 2 },
	'attempts to apply');
is(of_key(9001), '', 'nothing of an attempt that failed');
without_trigger('DELETE FROM orders WHERE id = 9002');
arrived('retried');
is(of_key($_), 'I:retried', "once when it is applied: $_") for 9001, 9002;

# Changes that replicate while the broker is away.
$mock->command('down');
source("UPDATE orders SET v = 'outage ' || n FROM generate_series(1, 3) n WHERE id = n");
$publisher->wait_for_catchup('sub');
$mock->command('up');
arrived('outage');
is(of_key(2), 'I:copied U:outage 2', 'replication does not wait for the broker');

is(check_delivery([ events($node) ], [ $consumer->records ]),
	0, 'nothing repeated');
is( query('SELECT count(*) FROM outbox.event'),
	200 + 4 + 2010 + 2 + 3, 'one event for each change');
is( query('SELECT count(*) FROM orders'),
	source('SELECT count(*) FROM orders'), 'and all is replicated');
clean_log($node, 'no crash');
query('DROP SUBSCRIPTION sub');
$_->stop for $node, $publisher;
done_testing();
