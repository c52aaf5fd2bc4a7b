# outbox.max_pending and outbox.max_pending_size: they count all that is kept
# unpublished, in the stream, parked, delayed, and in the own transaction, and
# let events through again when it is gone.
#
# Catches: a limit that one transaction passes by any number, or that knows only
# one kind of waiting, or forgets at a restart what is waiting, or never comes
# down.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use Test::More;

my $mock = OutboxTest::Mock->new(topics => { t => 2, missing => 1 });
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1,
	conf => <<~'END');
		outbox.max_pending = 10
		outbox.retry_base_delay = 200ms
		outbox.retry_max_delay = 500ms
		outbox.retry_max_attempts = 0
		END

# What an emit raises, or '' if it is accepted.
sub refusal
{
	my ($sql) = @_;
	my ($status, $out, $err) = $node->psql('postgres', $sql,
		extra_params => [ '-v', 'VERBOSITY=verbose' ]);

	return $err =~ /(?:ERROR|FATAL):  (\S+): / ? $1 : '';
}

sub emit
{
	my ($topic, $count, $bytes, $more) = @_;

	return "SELECT count(outbox_emit('$topic', 'k' || i, repeat('x', $bytes)"
	  . ($more ? ", $more" : '')
	  . ")) FROM generate_series(1, $count) i";
}

sub accepted_again
{
	my ($name, $sql) = @_;

	$sql //= emit('t', 1, 10);
	wait_until(undef, sub { refusal($sql) eq '' }, $name);
	ok(wait_published($node), $name);
	return;
}

sub published_all
{
	ok(wait_published($node), 'published');
	wait_until(undef,
		sub { query('SELECT retrying + waiting + delayed + pending_events FROM outbox.stat_relay') == 0 },
		'nothing waits');
	return;
}

query(emit('t', 1, 10));
published_all();

note 'in one transaction';
is(refusal(emit('t', 10, 10)), '', 'as many as the limit');
published_all();
is(refusal(emit('t', 11, 10)), '53400', 'one more than the limit');
is( refusal(<<~'END'), '', 'what is rolled back does not count');
	BEGIN;
	SELECT count(outbox_emit('t', 'k', 'x')) FROM generate_series(1, 4);
	SAVEPOINT s;
	SELECT count(outbox_emit('t', 'k', 'x')) FROM generate_series(1, 6);
	ROLLBACK TO s;
	SELECT count(outbox_emit('t', 'k', 'x')) FROM generate_series(1, 6);
	COMMIT;
	END
published_all();

note 'delayed';
query(emit('t', 10, 10, q{deliver_after => '1 h'}));
is(refusal(emit('t', 1, 10)), '53400', 'delayed events count');
query('SELECT outbox.cancel_delayed(event_id) FROM outbox.delayed');
accepted_again('not when they are cancelled');

note 'parked';
$mock->command('refuse missing UNKNOWN_TOPIC_OR_PART');
query(emit('missing', 10, 10));
wait_until(undef,
	sub { query(q{SELECT count(*) FROM outbox.parked}) == 10 }, 'parked');
is(refusal(emit('t', 1, 10)), '53400', 'parked events count');
$mock->command('allow missing');
accepted_again('not when they are published');
published_all();

note 'bytes';
conf_reload($node, "outbox.max_pending = 0\noutbox.max_pending_size = 1MB");
is(refusal(emit('t', 9, 100_000)), '', 'less than the limit');
published_all();
is(refusal(emit('t', 11, 100_000)), '53400', 'more than the limit');
query(emit('t', 9, 100_000, q{deliver_after => '1 h'}));
wait_until(undef, sub { refusal(emit('t', 2, 100_000)) eq '53400' },
	'delayed events count');
query('SELECT outbox.cancel_delayed(event_id) FROM outbox.delayed');
accepted_again('not when they are cancelled', emit('t', 9, 100_000));

note 'an outage, and a restart';
$mock->command('down');
my $before = query('SELECT count(*) FROM outbox.event');
for (1 .. 30)
{
	last if refusal(emit('t', 1, 100_000)) eq '53400';
}
my $kept = query('SELECT count(*) FROM outbox.event') - $before;
cmp_ok($kept, '>=', 8, "not too early: $kept");
cmp_ok($kept, '<=', 11, "not too late: $kept");
$node->restart;
$node->poll_query_until('postgres',
	q{SELECT position IS NOT NULL FROM outbox.stat_relay});
wait_until(undef, sub { refusal(emit('t', 4, 100_000)) eq '53400' },
	'what waits is known after a restart');
$mock->command('up');
accepted_again('until it is published');
is(refusal(emit('t', 9, 100_000)), '', 'all of the limit is free again');
published_all();

$node->stop;
done_testing();
