package OutboxTest::Counter;

# Load whose delivery can be checked when its events are not in the outbox any
# more: each key counts its events in the order of the commits, because its row
# of a table is locked.  And segments that are emptied meanwhile.

use strict;
use warnings;

use Exporter 'import';
use OutboxTest;
use Test::More;

our @EXPORT = qw(counter_setup counter_load counter_take counter_check
  counter_sum outbox_size segment_files wait_emptied);

my $keys = 4;
my $topic = 'count';
my $max_details = 5;

sub counter_setup
{
	my ($node) = @_;

	$node->safe_psql('postgres', <<~END);
		CREATE TABLE counter (key int PRIMARY KEY, n bigint)
			WITH (fillfactor = 10);
		INSERT INTO counter SELECT k, 0 FROM generate_series(1, $keys) k;
		END
	return;
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
