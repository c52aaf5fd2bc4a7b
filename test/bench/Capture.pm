# What it costs to publish a table, against the same one that is not published.
package Capture;

use strict;
use warnings;

use Bench;
use Emit;
use Report;
use Servers;

my $rows = 100_000;
my $columns = 'id, a, b, c';
my $values = "i, 'text a ' || i, md5(i::text), i / 3.0";
my $from = "FROM generate_series(1, $rows) AS i";
my $fill = "INSERT INTO %s ($columns) SELECT $values $from";

# Two tables, of which the second is published.
sub tables
{
	my ($arguments, @prepare) = @_;

	$servers->new_database;
	for my $table (qw(plain_rows its_rows))
	{
		$servers->sql("CREATE TABLE $table (id integer PRIMARY KEY, a text, b text, c numeric, big text)");
		$servers->sql(sprintf $_, $table) for @prepare;
	}
	$servers->sql("SELECT outbox.publish_table('its_rows', 'rows'$arguments)");
	return;
}

# Compares one statement with each of them, in which %s is the table.
sub statement
{
	my ($what, $statement, $arguments, @prepare) = @_;
	my @pairs;

	for my $round (1 .. $rounds)
	{
		tables($arguments, @prepare);
		push @pairs, [ alternate($round, map {
			my $table = $_;
			sub {
				$servers->sql('CHECKPOINT');
				measure($table, sub { Emit::seconds(sprintf $statement, $table) });
			}
		} qw(plain_rows its_rows)) ];
	}
	compare("published table: $what of $rows rows, s", '%.2f', \@pairs, most => 2.0);
	return;
}

sub capture
{
	my $file = "$servers->{dir}/rows.csv";

	$servers->relays_off;
	$servers->sql("COPY (SELECT $values $from) TO '$file'");
	statement('INSERT', $fill, '');
	statement('COPY', "COPY %s ($columns) FROM '$file'", '');
	statement('UPDATE', 'UPDATE %s SET c = c + 1', '', $fill);
	statement('UPDATE of a column that is not published',
		"UPDATE %s SET big = 'x'", ", columns => '{id,a,b}'", $fill);
	note 'published table: the same statement on one that is not, commit included';
	return;
}

1;
