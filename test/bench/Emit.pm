# What emitting costs the application, against an INSERT of the same rows.
package Emit;

use strict;
use warnings;

use Bench;
use FindBin;
use Report;
use Servers;

# A table like outbox.event, for the plain INSERT.
sub plain_table
{
	return 'CREATE TABLE plain (id bigserial PRIMARY KEY,
		event_id uuid NOT NULL DEFAULT gen_random_uuid(),
		emitted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
		topic text NOT NULL, key text, payload bytea, headers jsonb)';
}

# Transactions a second of four clients that do only this.
sub pgbench
{
	my $statement = shift;
	my $file = "$servers->{dir}/pgbench.sql";
	open(my $script, '>', $file) or die "$file: $!\n";
	print $script "\\set k random(1, 10000)\n$statement;\n";
	close $script or die "$file: $!\n";
	local $ENV{PGOPTIONS} = '-c synchronous_commit=off';
	my $output = Servers::output_of("$servers->{bindir}/pgbench",
		qw(-n -M prepared -c 4 -j 2 -T), size(15, 4), '-f', $file);
	my ($tps) = $output =~ /tps = ([\d.]+)/ or die "pgbench: $output\n";
	return ($tps, sprintf '%.0f tx/s', $tps);
}

# Seconds of one statement in a transaction of its own, commit included.
sub seconds
{
	my $statement = shift;
	my $output = Servers::output_of("$servers->{bindir}/psql",
		qw(-XAtq -v ON_ERROR_STOP=1 -c), '\timing on', '-c', $statement);
	my ($ms) = $output =~ /Time: ([\d.]+) ms/ or die "psql: $output\n";
	return ($ms / 1000, sprintf '%.3f s', $ms / 1000);
}

# Rounds of two measurements, each in a new database and after a checkpoint.
sub rounds_of
{
	my ($count, @named) = @_;
	my @pairs;
	$servers->relays_off;
	for my $round (1 .. $count)
	{
		$servers->new_database;
		$servers->sql(plain_table());
		push @pairs, [ alternate($round,
			map { my ($name, $code) = @$_;
				  sub {
					  $servers->sql('CHECKPOINT');
					  measure($name, $code);
				  } } @named) ];
	}
	return \@pairs;
}

# The same of two statements.
sub statements
{
	my ($count, $how, $plain, $emit) = @_;
	return rounds_of($count, [ plain => sub { $how->($plain) } ],
		[ emit => sub { $how->($emit) } ]);
}

sub emit
{
	my $row = "'emit', 'key-' || :k, '" . 'payload.' x ($payload_size / 8) . "'";
	my $pairs = statements($rounds, \&pgbench,
		"INSERT INTO plain (topic, key, payload) VALUES ($row)",
		"SELECT outbox_emit($row\::bytea)");
	compare('emit, one a transaction, relay off, tx/s', '%.0f', $pairs,
		least => 0.95);
	note 'emit, relay off: 4 clients, prepared, synchronous_commit off; '
	  . 'INSERT into a table of the same columns';
	return;
}

# Clients of either kind at work, with all that it takes to publish their rows.
sub writers
{
	my ($way) = @_;
	local $ENV{PGOPTIONS} = '-c synchronous_commit=off';
	my $line = Servers::output_of("$FindBin::RealBin/writers", $way,
		$servers->{brokers}, 'work', size(15, 4));
	my ($tps) = $line =~ /^(\d+)/ or die "writers: $line\n";
	return ($tps, $line);
}

# A relay that has published something, so that its start does not count.
sub ready_relay
{
	$servers->relay_on;
	$servers->relay_pid;
	$servers->sql("SELECT outbox_emit('work', 'key', 'x'::bytea)");
	$servers->sql('SELECT outbox.wait_published()') eq 't'
	  or die "the relay does not publish\n";
	return;
}

sub work
{
	$servers->create_topic('work', 4);
	my $emit = sub {
		ready_relay();
		my @result = writers('outbox');
		$servers->relays_off;
		return @result;
	};
	my @both = ([ plain => sub { writers('raw') } ], [ emit => $emit ]);
	rounds_of(1, @both);    # warms up
	my $pairs = rounds_of($rounds, @both);
	compare('emit, one a transaction, relay at work, tx/s', '%.0f', $pairs,
		least => 0.9);
	note 'emit, relay at work: as with the relay off, until the last event is '
	  . 'acknowledged; INSERT by clients that give the same record to librdkafka '
	  . 'after each commit';
	return;
}

sub bulk
{
	my $from = 'FROM generate_series(1, 200000) AS i';
	my $key = "'key-' || i % 10000";
	my $pairs = statements($rounds * 2, \&seconds,
		"INSERT INTO plain SELECT nextval('plain_id_seq'), gen_random_uuid(),
			clock_timestamp(), 'bulk', $key, " . payload() . ", NULL $from",
		"SELECT count(outbox_emit('bulk', $key, " . payload() . ")) $from");
	compare('emit, 200,000 a transaction, relay off, s', '%.2f', $pairs, most => 1.1);
	note 'emit, 200,000: INSERT ... SELECT of the same rows';
	return;
}

# The same events by outbox_emit(), and by rows of a view.
sub view
{
	my $view = sub {
		$servers->sql(q(SELECT outbox.create_view('events') WHERE to_regclass('events') IS NULL));
	};
	my $columns = 'events (aggregatetype, aggregateid, type, payload)';
	my $payload = 'payload.' x ($payload_size / 8);
	my $pairs = rounds_of($rounds,
		[ emit => sub { pgbench("SELECT outbox_emit('outbox.event.view', 'key-' || :k, '$payload', type => 'Placed')") } ],
		[ view => sub { $view->(); pgbench("INSERT INTO $columns VALUES ('view', 'key-' || :k, 'Placed', '$payload')") } ]);
	compare('view, a row a transaction, relay off, tx/s', '%.0f', $pairs, least => 0.7);

	my $from = 'FROM generate_series(1, 200000) AS i';
	my $key = "'key-' || i % 10000";
	$pairs = rounds_of($rounds,
		[ emit => sub { rate("SELECT count(outbox_emit('outbox.event.view', $key, '$payload', type => 'Placed')) $from") } ],
		[ view => sub { $view->(); rate("INSERT INTO $columns SELECT 'view', $key, 'Placed', '$payload' $from") } ]);
	compare('view, 200,000 rows a transaction, rows/s', '%.0f', $pairs, least => 0.7);
	note 'view: the same events by outbox_emit()';
	return;
}

# Rows a second of a statement of 200,000.
sub rate
{
	my ($seconds) = seconds(@_);
	return (200_000 / $seconds, sprintf '%.0f rows/s', 200_000 / $seconds);
}

1;
