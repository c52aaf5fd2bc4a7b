# The position cannot be written: a constraint stands for a full disk, or for an
# index that is broken.  Then nothing more is published, and the state says why,
# until it can be written; neither this process nor the next one, however it has
# come about, publishes what has been published.  The same for parked events
# that have been published, and cannot be removed.
#
# Catches: a relay that ends by such an error and begins again where it was,
# each time.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use PostgreSQL::Test::Utils;
use Test::More;

my $mock = OutboxTest::Mock->new(topics => { events => 1 });
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1,
	conf => "outbox.retry_base_delay = 50ms\noutbox.retry_max_delay = 100ms");
my $constraint = 'ALTER TABLE outbox.position_0 %s CONSTRAINT full_disk';

sub forbid { return query(sprintf("$constraint CHECK (false) NOT VALID", 'ADD')); }
sub allow { return query(sprintf($constraint, 'DROP')); }

sub emit
{
	my ($name, $count) = @_;

	return query(
		"SELECT count(outbox_emit('events', 'k', '$name ' || n)) FROM generate_series(1, $count) n"
	);
}

# How many have arrived, and how many more than once
sub arrived
{
	my ($name) = @_;
	my %arrived;

	$consumer->drain or die 'not read';
	$arrived{ $_->{payload} }++
	  for grep { $_->{payload} =~ /^$name / } $consumer->records;
	return scalar(keys %arrived) . ' '
	  . scalar(grep { $_ > 1 } values %arrived);
}

emit('first', 10);
ok(wait_published($node), 'published');
wait_until(
	undef,
	sub { query('SELECT position = written_position FROM outbox.stat_relay') eq 't' },
	'written');

note 'it cannot be written';
my $pid = relay_pid($node);
forbid();
emit('second', 10);
wait_state($node, 'failing');
like(query('SELECT last_error FROM outbox.stat_relay'),
	qr/^writing the position: .*full_disk/, 'the view says why');
emit('third', 10);
my @tries = wait_until(
	undef,
	sub {
		my @lines = log_lines($node, 0, qr/[Ww]riting the position has failed/);
		@lines >= 4 ? @lines : undef;
	},
	'it is tried again and again');
is(arrived('second'), '10 0', 'what had been handed over is there once');
is(arrived('third'), '0 0', 'nothing more is published');
is(relay_pid($node), $pid, 'the process goes on');

note 'another process';
replace_relay($node, state => 'failing');
is(arrived('second'), '10 0', 'publishes nothing again');
is(arrived('third'), '0 0', 'and nothing more');

note 'crashes of the server';
for (1 .. 2)
{
	crash($node);
	$node->start;
	wait_state($node, 'failing');
}
is(arrived('second'), '10 0', 'publish nothing again');

note 'it can be written';
allow();
ok(wait_published($node), 'published');
is(arrived('third'), '10 0', 'the rest is published once');
wait_state($node, 'publishing');
my ($all, $twice) = split / /, arrived('second');
is($all, 10, 'nothing is lost');
note "$twice are published twice, after crashes";

note 'parked events that cannot be removed';
$mock->command('fail Produce 1 INVALID_RECORD');
emit('parked', 1);
wait_until(undef, sub { query('SELECT dead_letters FROM outbox.stat_relay') == 1 },
	'a dead letter');
query(<<~'END');
	CREATE TABLE forbidden (n int CHECK (n > 0));
	CREATE RULE forbid AS ON DELETE TO outbox.parked
		DO ALSO INSERT INTO forbidden VALUES (0);
	ALTER TABLE outbox.parked ENABLE ALWAYS RULE forbid;
	SELECT count(*) FROM outbox.requeue();
	END
wait_until(
	undef,
	sub { log_lines($node, 0, qr/[Rr]etrying parked events has failed/) >= 4 },
	'it is tried again and again');
is(relay_state($node), 'failing', 'the state tells it');
is(arrived('parked'), '1 0', 'it is published once');
query(<<~'END');
	DROP RULE forbid ON outbox.parked;
	DROP TABLE forbidden;
	END
wait_parked(0, 'it is not parked any more');
is(arrived('parked'), '1 0', 'once still');
$node->stop;
done_testing();
