# What it costs to note that a message has been received, against an INSERT into
# a table with the same columns and key.
package Receive;

use strict;
use warnings;

use Bench;
use Emit;
use Report;
use Servers;

my $known = 100_000;    # in the table of before, where each is looked for
my $bulk = 500;
my %statement = (
	plain => "INSERT INTO plain_inbox VALUES ('bench', 'message-' || :id, now())",
	receive => "SELECT outbox.receive('bench', 'message-' || :id)");

# Transactions a second, of so many messages each.
sub received
{
	my ($way, $messages) = @_;
	my @lines = ("\\set id random(1, 1000000000000000)\n$statement{$way}") x $messages;

	$servers->sql([
		'CREATE TABLE plain_inbox (LIKE outbox.inbox_0 INCLUDING ALL)',
		"INSERT INTO outbox.inbox_1 SELECT 'bench', 'known-' || i, now() FROM generate_series(1, $known) AS i",
		'VACUUM ANALYZE outbox.inbox_1', 'CHECKPOINT' ])
	  unless $servers->sql(q(SELECT to_regclass('plain_inbox')));
	return Emit::pgbench(join(";\n", @lines)) if $messages == 1;
	return Emit::pgbench(join(";\n", 'BEGIN', @lines, 'END'));
}

sub receive
{
	for my $messages (1, $bulk)
	{
		compare("receive, $messages a transaction, tx/s", '%.0f',
			Emit::rounds_of($rounds * 2,
				map { my $way = $_; [ $way => sub { received($way, $messages) } ] } qw(plain receive)),
			least => 0.83);
	}
	note "receive: as emit, relay off; INSERT into a table with the same columns and key; $known known ones before";
	return;
}

1;
