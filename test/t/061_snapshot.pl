# A transaction that is open for the whole run, with a snapshot and an id of its
# own, costs nothing: while segments are used in turn and emptied, the tables
# stay as small, and the relay as quick, as at the beginning.
#
# Catches: rows that are updated or deleted again and again, dead versions of
# which nobody can remove; a relay that has to step over them; a segment that is
# not emptied because somebody might still see its rows.

use strict;
use warnings;

use List::Util qw(max min);
use OutboxTest;
use OutboxTest::Counter;
use OutboxTest::Server;
use Test::More;
use Time::HiRes qw(time usleep);

my $rounds = 4;    # of the whole ring
my $emits = 50;    # that are timed in each round

my ($mock, $consumer, $node) = counter_node();

# What the relay, and nobody else, has read of the primary keys of the segments:
# entries, and rows that it could see
sub rows_read
{
	return split /\|/, query(<<~'END');
		SELECT sum(idx_tup_read), sum(idx_tup_fetch) FROM pg_stat_user_indexes
		WHERE indexrelname ~ '^event_.*_pkey$'
		END
}

# How long an emit, its commit, and its being published take together: the time
# that a tenth of them keep to, as a busy machine holds up the others
sub latency
{
	my ($round) = @_;

	query(<<~END);
		DO \$\$
		DECLARE
			start timestamptz;
		BEGIN
			FOR i IN 1 .. $emits LOOP
				start := clock_timestamp();
				PERFORM outbox_emit('latency', NULL, 'x');
				COMMIT;
				IF NOT outbox.wait_published('20 s') THEN
					RAISE 'event % is not published', i;
				END IF;
				INSERT INTO latency VALUES ($round, clock_timestamp() - start);
				COMMIT;
			END LOOP;
		END \$\$
		END
	return query(<<~END);
		SELECT extract(epoch FROM percentile_cont(0.1) WITHIN GROUP (ORDER BY took))
		FROM latency WHERE round = $round
		END
}

# The files and the size of the segments, as wait_until() asks for them
sub look
{
	my ($emptied, $old) = @_;
	my ($size, @new) = (outbox_size($node), segment_files($node));

	$old->[$_] != $new[$_] && $emptied->{$_}++ for 0 .. 2;
	usleep(200_000);
	return $size;
}

query('CREATE TABLE plain (n int); CREATE TABLE latency (round int, took interval)');
my $held = $node->background_psql('postgres');
$held->query_safe(<<~'END');
	BEGIN ISOLATION LEVEL REPEATABLE READ;
	END
$held->query_safe('INSERT INTO plain VALUES (1)');
my $load = counter_load($node, rate => 500);
wait_emptied($node, 1, 0 .. 2);

my @read = rows_read();
my (@size, @latency);
for my $round (0 .. $rounds - 1)
{
	my @old = segment_files($node);
	my %emptied;

	$latency[$round] = latency($round);
	wait_until(
		undef,
		sub {
			$size[$round] = max($size[$round] // 0, look(\%emptied, \@old));
			return keys %emptied == 3;
		},
		'the segments are emptied');
	note sprintf 'round %d: %.1f MB, %.2f ms', $round,
	  $size[$round] / 1024 / 1024, 1000 * $latency[$round];
}
my @now = rows_read();
my ($entries, $rows) = map { $now[$_] - $read[$_] } 0, 1;
note "the relay has read $rows rows by $entries entries of indexes";

is( query(<<~'END'), 't', 'the snapshot was held all the time');
	SELECT age(backend_xmin) > 1000 AND age(backend_xid) > 1000
	FROM pg_stat_activity WHERE query LIKE 'INSERT INTO plain%'
	END
cmp_ok(max(@size[ 1 .. $rounds - 1 ]), '<', 1.7 * $size[0], 'the tables do not grow');
cmp_ok($rows, '>', 1000, 'the relay reads rows');
cmp_ok($entries, '<', 1.1 * $rows, '... and steps over few that it cannot see');
cmp_ok(min(@latency[ -2, -1 ]), '<', 3 * $latency[0] + 0.005, 'publishing does not get slower');

stop_load($node, $load);
counter_check($node, $consumer, 'with a snapshot');
is( query(<<~'END'), '0|0|0', 'no row was updated or deleted, none is dead');
	SELECT sum(n_tup_upd), sum(n_tup_del), sum(n_dead_tup) FROM pg_stat_user_tables
	WHERE schemaname = 'outbox'
	END
cmp_ok(query(q(SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'counter')),
	'>', 1000, '... while rows of others are');
ok( $node->poll_query_until('postgres',
		'SELECT count(last_id) = 0 FROM outbox.segment_status()'),
	'in the end all segments are empty');

$held->quit;
$node->stop;
done_testing();
