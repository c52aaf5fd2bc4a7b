# What it costs to publish a table, against the same one that is not published.
package Capture;

use strict;
use warnings;

use Bench;
use Emit;
use POSIX ();
use Report;
use Servers;

my $rows = 100_000;
my $columns = 'id, a, b, c';
my $values = "i, 'text a ' || i, md5(i::text), i / 3.0";
my $from = "FROM generate_series(1, $rows) AS i";
my $fill = fill($rows);

# So many rows for the table %s
sub fill
{
	my ($count) = @_;

	return "INSERT INTO %s ($columns) SELECT $values FROM generate_series(1, $count) AS i";
}

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

# Rows a second of a backfill, from the relay's first to its last one.
sub backfilled
{
	my ($table) = @_;
	my $job = $servers->sql("SELECT outbox.backfill('$table')");

	return $servers->sql([ "SET statement_timeout = '5min'", <<"END",
DO \$\$ BEGIN
	WHILE (SELECT state = 'running' FROM outbox.stat_backfill WHERE id = $job) LOOP
		PERFORM pg_sleep(0.01);
	END LOOP;
END \$\$
END
		"SELECT rows_read / extract(epoch FROM finished_at - requested_at) FROM outbox.stat_backfill WHERE id = $job" ]);
}

# How long clients wait that update rows one after another; with $beside, while
# a backfill reads the table. They write to its end and its beginning alike.
sub updates
{
	my ($rows, $seconds, $beside) = @_;
	my $file = "$servers->{dir}/update.sql";
	open(my $script, '>', $file) or die "$file: $!\n";
	print $script "\\set id random(1, $rows)\nUPDATE its_rows SET big = 'x' WHERE id = :id;\n";
	close $script or die "$file: $!\n";
	unlink glob "$servers->{dir}/updates.*";
	local $ENV{PGOPTIONS} = '-c synchronous_commit=off';
	my $pid = fork // die "fork: $!\n";
	if (!$pid)
	{
		Servers::output_of("$servers->{bindir}/pgbench", qw(-n -M prepared -c 4 -j 2 -R 1000 -l),
			"--log-prefix=$servers->{dir}/updates", '-T', $seconds, '-f', $file);
		POSIX::_exit(0);
	}
	my $rate = $beside ? $beside->() : 0;
	waitpid($pid, 0) == $pid && $? == 0 or die "pgbench failed\n";
	my @ms;
	for my $log (glob "$servers->{dir}/updates.*")
	{
		open(my $lines, '<', $log) or die "$log: $!\n";
		# without the delay of the schedule
		push @ms, map { my @field = split; ($field[2] - $field[6]) / 1000 } <$lines>;
	}
	@ms = sort { $a <=> $b } @ms;
	my %figure = (p99 => $ms[ @ms * 0.99 ], max => $ms[-1], rate => $rate);
	return (\%figure, sprintf 'p99 %.2f ms, max %.2f ms, backfill %.0f rows/s',
		@figure{qw(p99 max rate)});
}

sub backfill
{
	my $rows = size(1_000_000, 200_000);
	my @pairs;

	$servers->create_topic('rows', 4);
	$servers->relays_off;
	for my $round (1 .. $rounds)
	{
		tables(", columns => '{id,a,b,c}'", fill($rows));
		$servers->relay_on;
		$servers->relay_pid;
		my $seconds = size(20, 8);
		push @pairs, [ alternate($round,
			sub { measure('alone', sub { updates($rows, $seconds) }) },
			sub { measure('beside', sub { updates($rows, $seconds, sub { backfilled('its_rows') }) }) }) ];
		$servers->relays_off;
	}
	my @p99 = map { $_->[1]{p99} } @pairs;
	bound('backfill: an UPDATE beside it, p99, ms', sprintf('%.2f', median(@p99)), '<= 10', median(@p99) <= 10);
	bound('backfill: rows/s', number('%.0f', median(map { $_->[1]{rate} } @pairs)), '>= 20,000',
		median(map { $_->[1]{rate} } @pairs) >= 20000);
	note sprintf 'backfill: beside 1,000 updates/s, whose p99 is %.2f ms without it',
		median(map { $_->[0]{p99} } @pairs);
	return;
}

1;
