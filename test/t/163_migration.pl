# The scripts of doc/migration.md, as they stand there, while clients go on
# writing as before: each event reaches Kafka once, by the old way or by the new
# one, and those of a key in order, all in one partition.
#
# Catches: an event that the change of the ways loses, repeats or overtakes;
# clients that need another statement or a right of ours, or that get into a
# deadlock; a way back that does not work; a script that has an error.

use strict;
use warnings;

use FindBin;
use OutboxTest;
use OutboxTest::Server;
use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;

my $guide = slurp_file("$FindBin::RealBin/../../doc/migration.md");
my $mock = OutboxTest::Mock->new(topics => { orders => 3, messages => 3, 'outbox.event.order' => 3 });
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main', bootstrap => $mock->bootstrap, extension => 1, conf => "wal_level = logical\n");

# Clients change a counter for their key first, so that its events have an
# order, and some roll back.
query(<<~'END');
	CREATE ROLE app LOGIN;
	CREATE TABLE counter (key int PRIMARY KEY, n int NOT NULL);
	GRANT ALL ON counter TO app;
	END

# The scripts of one guide, in their order.
sub scripts
{
	my ($title) = @_;
	my @scripts;

	$guide =~ /^## \Q$title\E$(.*?)(?=^## |\z)/ms or die "no guide $title";
	my $text = $1;
	while ($text =~ /^( *)```sql\n(.*?)^\1```$/msg)
	{
		my ($indent, $sql) = ($1, $2);

		push @scripts, $sql =~ s/^$indent//mgr;
	}
	return @scripts;
}

sub writers
{
	my ($insert) = @_;

	query('DELETE FROM counter; INSERT INTO counter SELECT k, 0 FROM generate_series(1, 6) k');
	return pgbench($node, <<~END, clients => 3, duration => 600, rate => 200, background => 1, args => [ '-U', 'app', '-M', 'prepared' ]);
		\\set key random(1, 6)
		\\set fate random(1, 10)
		BEGIN;
		UPDATE counter SET n = n + 1 WHERE key = :key RETURNING n \\gset
		$insert
		\\if :fate = 1
		ROLLBACK;
		\\else
		COMMIT;
		\\endif
		END
}

sub to_kafka
{
	my ($topic, @lines) = @_;

	kcat($mock->bootstrap, join('', map { "$_\n" } @lines),
		qw(-P -X partitioner=murmur2_random -K : -t), $topic)
	  if @lines;
	return scalar @lines;
}

# How many records of a topic came through the relay.
sub by_relay { return grep { $_->{topic} eq $_[0] && defined $_->{event_id} } $consumer->records; }

# Each of what was committed is there once, in order; number() finds it in the
# payload.
sub all_once
{
	my ($topic, $number, $name) = @_;
	my (%is, %partitions);

	wait_parked(0, 'what was kept back');
	ok(wait_published($node), "$name: all is published");
	$consumer->drain or die 'not read';
	for my $record (grep { $_->{topic} eq $topic } $consumer->records)
	{
		push @{ $is{ $record->{key} } }, $record->{payload} =~ $number;
		$partitions{ $record->{key} }->{ $record->{partition} } = 1;
	}
	my %expected = map { my ($key, $n) = split /\|/; ($key => [ 1 .. $n ]) } split /\n/, query('SELECT * FROM counter');
	is_deeply(\%is, \%expected, '... once, and in order');
	ok(!(grep { keys %$_ != 1 } values %partitions), '... and each key in one partition');
	return;
}

note 'a table that is polled';
{
	my ($table, $functions, $change, $check, $back) = scripts('From a table that is polled');
	my $number = qr/"n": (\d+)/;
	my $poller = $node->background_psql('postgres');

	# what a service does that polls
	my $poll = sub {
		$poller->query_safe('BEGIN');
		my @rows = split /\n/, $poller->query_safe(<<~'END');
			SELECT position || ':' || key || ':' || payload FROM outbox_message WHERE status = 'pending'
			ORDER BY position LIMIT 100 FOR UPDATE SKIP LOCKED
			END
		my $numbers = join ',', map { s/^(\d+)://; $1 } @rows;
		my $sent = to_kafka('messages', @rows);

		$poller->query_safe("UPDATE outbox_message SET status = 'published' WHERE position IN ($numbers)") if $sent;
		$poller->query_safe('COMMIT');
		return $sent;
	};

	query("$table GRANT INSERT ON outbox_message TO app");
	my $load = writers(q{INSERT INTO outbox_message (topic, key, payload)
		VALUES ('messages', :key, jsonb_build_object('n', :n::int));} =~ s/\n\s*/ /r);
	my $sent = 0;
	wait_until(undef, sub { ($sent += $poll->()) > 100 }, 'something is polled');
	query($functions =~ s/\{orders,payments}/{messages}/r);
	wait_until(undef, sub { query(q{SELECT count(*) FROM outbox_message WHERE status = 'pending'}) >= 50 },
		'something is left');
	my ($taken_over) = query($change) =~ /^(\d+)$/m;
	cmp_ok($taken_over, '>=', 50, 'what is not published is taken over');
	is($poll->(), 0, '... and nothing is left to poll');
	wait_until(undef, sub { by_relay('messages') > $taken_over + 100 }, 'new rows are published');
	is($poll->(), 0, 'a poller finds nothing');
	stop_load($node, $load);
	all_once('messages', $number, 'polled');
	is(query($check), 't', 'and outbox is well');

	query($back);
	query(<<~'END');
		UPDATE counter SET n = n + 1 WHERE key = 1;
		INSERT INTO outbox_message (topic, key, payload) SELECT 'messages', key, jsonb_build_object('n', n) FROM counter WHERE key = 1
		END
	is($poll->(), 1, 'going back, rows are for the poller again');
	all_once('messages', $number, 'back');
	$poller->quit;
}

note 'triggers with NOTIFY';
{
	my ($table, $pause, $change, $resume, $function) = scripts('From triggers with NOTIFY');
	my $number = qr/"state":"(\d+)"/;
	my $listener = $node->background_psql('postgres');

	# what a service does that listens: how many it has sent, and the last word
	my $listen = sub {
		my @heard = $listener->query_safe('SELECT 1') =~ /^Asynchronous notification "orders" with payload "(.*)" received/mg;
		my @lines = map { /^\{"id":(\d+)/ ? "$1:$_" : () } @heard;

		to_kafka('orders', @lines);
		return (scalar @lines, $heard[-1] // '');
	};

	query("$table GRANT ALL ON orders TO app");
	$listener->query_safe('LISTEN orders');
	my $load = writers(q{INSERT INTO orders VALUES (:key, 'tea', :n) ON CONFLICT (id) DO UPDATE SET state = :n;});
	my $sent = 0;
	wait_until(undef, sub { ($sent += ($listen->())[0]) > 100 }, 'something is heard');
	query($pause);

	my $reader = $node->background_psql('postgres');
	$reader->query_safe('BEGIN; SELECT count(*) FROM orders');
	eval { query($change =~ s/'5s'/'100ms'/r) };
	like($@, qr/<stdin>:3: ERROR:  canceling statement due to lock timeout/,
		'a transaction that has read is waited for before anything is locked that it may want');
	$reader->quit;
	query($change);
	wait_until(undef, sub { query(q{SELECT count(*) FROM outbox.event WHERE topic = 'orders'}) > 100 }, 'new rows are emitted');
	is(by_relay('orders'), 0, 'what is new is kept back');
	wait_until(undef, sub { ($listen->())[1] eq 'moved' }, 'the end is heard');
	query($resume);
	stop_load($node, $load);
	is(($listen->())[0], 0, 'nothing more is heard');
	all_once('orders', $number, 'notified');
	cmp_ok(by_relay('orders'), '>', 100, 'many of them by outbox');

	# the other way, with the bytes that there were
	query("SELECT outbox.unpublish_table('orders')");
	query($function);
	query($table =~ s/.*?(?=CREATE TRIGGER)//sr);
	$node->safe_psql('postgres', "UPDATE orders SET state = 'last' WHERE id = 1", extra_params => [ '-U', 'app' ]);
	ok(wait_published($node), 'a function that emits');
	$consumer->drain or die 'not read';
	is((by_relay('orders'))[-1]->{payload}, query('SELECT row_to_json(orders) FROM orders WHERE id = 1'),
		'... has the bytes that it had notified');
	$listener->quit;
}

note "Debezium's outbox table";
{
	my ($table, $prepare, $change, $check) = scripts("From Debezium's outbox table");
	my $number = qr/"n": (\d+)/;

	# What a connector does: all that is inserted, also if it is gone again; not
	# more than some changes at a time.
	my $connect = sub {
		my @messages = split /\n/, query(<<~'END');
			SELECT encode(data, 'hex') FROM pg_logical_slot_get_binary_changes('debezium', NULL, 30,
				'proto_version', '1', 'publication_names', 'dbz_publication')
			END
		my $sent = 0;

		for my $insert (grep { /^I/ } map { pack 'H*', $_ } @messages)
		{
			my @fields = unpack 'x6 n/(x N/a)', $insert;

			kcat($mock->bootstrap, "$fields[2]:$fields[4]\n", qw(-P -X partitioner=murmur2_random -K : -t),
				"outbox.event.$fields[1]", '-H', "id=$fields[0]", '-H', "eventType=$fields[3]");
			$sent++;
		}
		return $sent;
	};

	query(<<~END);
		$table
		GRANT INSERT, DELETE, SELECT ON outboxevent TO app;
		CREATE PUBLICATION dbz_publication FOR TABLE outboxevent;
		SELECT FROM pg_create_logical_replication_slot('debezium', 'pgoutput');
		END
	my $load = writers(<<~'END');
		INSERT INTO outboxevent VALUES (gen_random_uuid(), 'order', :key::int, 'It''s "new" id[uuid]:''x''', jsonb_build_object('n', :n::int)) RETURNING id \gset
		\if :fate > 5
		DELETE FROM outboxevent WHERE id = :id;
		\endif
		END
	my $sent = 0;
	wait_until(undef, sub { ($sent += $connect->()) > 30 }, 'something is captured');
	s/\bmy_application\b/app/g for $prepare, $change;
	query($prepare);
	wait_until(undef, sub { query('SELECT sum(n) FROM counter') > $sent + 50 }, 'something is left');
	my ($taken_over) = query($change) =~ /^(\d+)$/m;
	cmp_ok($taken_over, '>', 50, 'what is not published is taken over');
	my $topic = 'outbox.event.order';
	my $records = sub { return scalar grep { $_->{topic} eq $topic } $consumer->records; };
	wait_until(undef, sub { $records->() > $sent + $taken_over + 100 }, 'new rows are published');
	stop_load($node, $load);
	all_once($topic, $number, 'captured');
	my %headers = map { join(' ', map { $_->[0] =~ /^id$/ ? $_->[0] : "@$_" } @{ $_->{headers} }) => 1 }
	  grep { $_->{topic} eq $topic } $consumer->records;
	is_deeply([ keys %headers ], [q(id eventType It's "new" id[uuid]:'x')], 'the headers are as they were');
	like(query($check), qr/^t$/m, 'and nothing is left of the connector');
	is(query('SELECT count(*) FROM pg_replication_slots'), 0, 'no slot keeps WAL');
}

$node->stop;
done_testing();
