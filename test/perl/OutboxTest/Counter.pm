package OutboxTest::Counter;

# Load whose delivery can be checked when its events are not in the outbox any
# more: each key counts its events in the order of the commits, because its row
# of a table is locked.  And segments that are emptied meanwhile.

use strict;
use warnings;

use Exporter 'import';
use OutboxTest;
use Test::More;

our @EXPORT = qw(counter_node counter_load counter_take counter_check
  counter_sum counter_goes_on outbox_size segment_files wait_emptied);

my $keys = 4;
my $topic = 'count';
my $max_details = 5;

# A server for such load, with the fewest segments, used in turn as fast as can
# be; its brokers, and a consumer of what is counted.
sub counter_node
{
	my ($conf) = @_;
	my $mock = OutboxTest::Mock->new(topics => { $topic => 3 });
	my $consumer = OutboxTest::Consumer->new(
		bootstrap => $mock->bootstrap,
		topics => [$topic]);
	my $node = outbox_node('main',
		bootstrap => $mock->bootstrap,
		extension => 1,
		conf => <<~END . ($conf // ''));
			outbox.retention = 1s
			outbox.segments = 3
			autovacuum_naptime = 1s
			END

	query(<<~END);
		CREATE TABLE counter (key int PRIMARY KEY, n bigint)
			WITH (fillfactor = 10);
		INSERT INTO counter SELECT k, 0 FROM generate_series(1, $keys) k;
		END
	return ($mock, $consumer, $node);
}

# pgbench in the background, with its options; one of ten transactions fails.
sub counter_load
{
	my ($node, %opt) = @_;

	return pgbench($node, <<~END,
		\\set key random(1, $keys)
		\\set fate random(1, 10)
		BEGIN;
		UPDATE counter SET n = n + 1 WHERE key = :key RETURNING n \\gset
		SELECT outbox_emit('$topic', :key, :n::text);
		\\if :fate = 1
		ROLLBACK;
		\\else
		COMMIT;
		\\endif
		END
		clients => 8,
		rate => 300,
		duration => 86400,
		background => 1,
		%opt);
}

# How many events have been committed.
sub counter_sum
{
	my ($node) = @_;

	return $node->safe_psql('postgres', 'SELECT sum(n) FROM counter');
}

# Events go on to be committed and published, or committed only if
# not_published => 1.
sub counter_goes_on
{
	my ($node, $name, %opt) = @_;
	my $published = $opt{not_published} ? 0 : published($node) + 200;
	my $committed = counter_sum($node) + 200;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	wait_until(
		undef,
		sub {
			return counter_sum($node) >= $committed
			  && ($opt{not_published} || published($node) >= $published);
		},
		$name);
	return ok(1, $name);
}

# What arrived of each key counts from 1 to what is committed, but for what
# comes twice.  counter_take() looks at it as it comes, so that a long run needs
# no memory.
my (%arrived, @wrong);

sub counter_take
{
	my ($consumer) = @_;

	for my $record (grep { $_->{topic} eq $topic } $consumer->take)
	{
		my $n = \$arrived{ $record->{key} };

		$$n //= 0;
		push @wrong, "key $record->{key}: $record->{payload} after $$n"
		  if $record->{payload} > $$n + 1 && @wrong < $max_details;
		$$n = $record->{payload} if $record->{payload} > $$n;
	}
	return;
}

sub counter_check
{
	my ($node, $consumer, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	ok(wait_published($node), "$name: published");
	ok($consumer->drain, "$name: read");
	counter_take($consumer);
	is_deeply(\@wrong, [], "$name: nothing lost, every key in order");
	is_deeply(
		\%arrived,
		{
			map { split /\|/ } split /\n/,
			$node->safe_psql('postgres', 'TABLE counter')
		},
		"$name: up to the last one");
	return;
}

# How many bytes the tables of the outbox take, with all that belongs to them.
sub outbox_size
{
	my ($node) = @_;

	return $node->safe_psql('postgres', <<~'END');
		SELECT sum(pg_total_relation_size(oid)) FROM pg_class
		WHERE relnamespace = 'outbox'::regnamespace AND relkind = 'r'
		END
}

# The files of the segments; a segment has another one when it has been emptied.
sub segment_files
{
	my ($node) = @_;

	return split /\n/, $node->safe_psql('postgres', <<~'END');
		SELECT pg_relation_filenode(format('outbox.event_%s', s)::regclass)
		FROM generate_series(0, 7) s
		END
}

# Waits until each of these segments has been emptied so many times.
sub wait_emptied
{
	my ($node, $times, @segments) = @_;
	my @old = segment_files($node);
	my @changes = map { 0 } @old;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	wait_until(
		undef,
		sub {
			my @new = segment_files($node);

			$changes[$_] += ($old[$_] != $new[$_]) for 0 .. $#old;
			@old = @new;
			return !grep { $changes[$_] < $times } @segments;
		},
		'segments are emptied');
	return ok(1, "segments @segments are emptied, times: $times");
}

1;
