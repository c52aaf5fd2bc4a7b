# A transaction that cannot write its events to disk.  temp_file_limit stands for
# a full disk: it fails in the same place.
#
# Catches: events that are damaged or missing because an error while they were
# spilled has been caught, a savepoint that does not get a transaction out of
# it, a commit that fails because of a file that nobody needs any more, and a
# file that is left behind by PREPARE TRANSACTION.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use PostgreSQL::Test::Utils;
use Test::More;

my $mock = OutboxTest::Mock->new(topics => { spill => 1 });
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1,
	conf => <<~'END');
		work_mem = 64kB
		temp_file_limit = 1MB
		max_prepared_transactions = 2
		END

# What a session says to all these commands, as SQLSTATEs.
sub attempt
{
	my ($sql) = @_;
	my (undef, undef, $stderr) = $node->psql('postgres', $sql,
		on_error_stop => 0,
		extra_params => [ '-v', 'VERBOSITY=sqlstate' ]);

	return join ' ', $stderr =~ /(?:ERROR|WARNING):  (\S+)/g;
}

# Emits events until it fails, but not the last ones of a spill.
my $emit = q{SELECT count(outbox_emit('spill', 'k', n || ' ' || repeat('x', 1000)))
	FROM generate_series(%d, %d) n;};

sub arrived
{
	wait_published($node) && $consumer->drain or die 'nothing comes';
	return [ map { $_->{payload} =~ /^(\d+) x{1000}$/ ? $1 : $_->{payload} }
		  $consumer->records ];
}

note 'caught in a savepoint, with events before it that went to disk';
is( attempt(sprintf(<<~END, 1, 500, 501, 2000, 501, 510)),
	BEGIN; $emit
	SAVEPOINT s; $emit
	ROLLBACK TO s;
	SELECT * FROM outbox.emitted();
	ROLLBACK TO s; $emit
	ROLLBACK TO s;
	COMMIT;
	END
	'53400 25000 25000 25000',
	'nothing is accepted any more, but an abort');
is_deeply(arrived(), [], 'nothing is published');

note 'caught by an exception block';
is( attempt(<<~'END'), '25000', 'the same');
	DO $$
	BEGIN
		FOR i IN 1 .. 3000 LOOP
			BEGIN
				PERFORM outbox_emit('spill', 'k', i || ' ' || repeat('x', 1000));
			EXCEPTION WHEN configuration_limit_exceeded THEN NULL;
			END;
		END LOOP;
	END $$
	END
is_deeply(arrived(), [], 'nothing is published');

note 'rolled back to before the first event';
is( attempt(sprintf(<<~END, 1, 2000, 1, 300)),
	BEGIN;
	SAVEPOINT s; $emit
	ROLLBACK TO s; $emit
	COMMIT;
	END
	'53400',
	'the transaction goes on');
is_deeply(arrived(), [ 1 .. 300 ], 'with what comes then');
is( attempt(sprintf(<<~END, 1, 2000)),
	BEGIN;
	SAVEPOINT s; $emit
	ROLLBACK TO s;
	COMMIT;
	END
	'53400',
	'and ends, if nothing comes');
is(temp_files($node), 0, 'no file is left');

note 'PREPARE TRANSACTION';
is( attempt(sprintf(<<~END, 1, 500)),
	BEGIN;
	SAVEPOINT s; $emit
	ROLLBACK TO s;
	PREPARE TRANSACTION 'spilled';
	COMMIT PREPARED 'spilled';
	END
	'',
	'after a savepoint with events on disk');
unlike(slurp_file($node->logfile), qr/leak/, 'no file is left behind');
is(temp_files($node), 0, 'really not');

note 'savepoint after savepoint';
my $session = $node->background_psql('postgres');
my $pid = $session->query_safe('SELECT pg_backend_pid()');

sub emit_and_fail
{
	my ($times) = @_;

	$session->query_safe(<<~END);
		DO \$\$
		BEGIN
			FOR i IN 1 .. $times LOOP
				BEGIN
					PERFORM outbox_emit('spill', 'k', repeat('x', 1000))
					FROM generate_series(1, 100);
					RAISE 'fails';
				EXCEPTION WHEN raise_exception THEN NULL;
				END;
			END LOOP;
		END \$\$
		END
	return;
}

emit_and_fail(10);
my $before = memory_mb($pid);
emit_and_fail(1000);
cmp_ok(memory_mb($pid) - $before, '<', 2, 'memory does not grow');
$session->quit;
is_deeply(arrived(), [ 1 .. 300 ], 'nothing else is published');

$node->stop;
done_testing();
