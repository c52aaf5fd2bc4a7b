# Many databases in one server: all of them publish soon after a start, and
# one whose relay fails each time does not delay the others.
#
# Catches: databases that are looked into one after the other for as long as
# the slowest takes; a launcher that is busy with, or waits for, a relay that
# fails at each start; a figure that grows with each database.
#
# DATABASES=200 in the environment: as many, for a measurement.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use Test::More;
use Time::HiRes qw(time);

my $databases = $ENV{DATABASES} // 40;
my $mock = OutboxTest::Mock->new;
my $consumer = OutboxTest::Consumer->new(bootstrap => $mock->bootstrap);
my $node = outbox_node('main', bootstrap => $mock->bootstrap, start => 0, conf => <<~END);
	max_worker_processes = @{[ $databases + 10 ]}
	outbox.max_databases = @{[ $databases + 2 ]}
	outbox.max_relays = @{[ $databases + 2 ]}
	outbox.enabled = off
	fsync = off
	END
my @names = map { "db$_" } 1 .. $databases;

$node->start;
query('CREATE DATABASE model', 'template1');
query('CREATE EXTENSION outbox', 'model');
query("SELECT outbox_emit('t', 'k', 'of the model')", 'model');
query(join(";\n", map { "CREATE DATABASE $_ TEMPLATE model STRATEGY file_copy" } @names), 'template1');
$node->append_conf('postgresql.conf', 'outbox.enabled = on');

# One of them fails each time it is started.
my $broken = $names[ $databases / 2 ];
query('DELETE FROM outbox.relay', $broken);
$node->stop;
my $from = log_end($node);
my $start = time;
$node->start;
my $up = time - $start;
ok($consumer->wait_for($databases), 'all the others publish');
my $took = time - $start;
note sprintf('%d databases: the server takes %.1f s to start, all have published after %.1f s',
	$databases, $up, $took);
my @pids = split /\n/, query("SELECT pid FROM pg_stat_activity WHERE backend_type = 'outbox relay'",
	'template1');
my $memory = 0;
$memory += memory_mb($_) for @pids;
note sprintf('%d relays have %.1f MB each of their own', scalar @pids, $memory / @pids);
cmp_ok($took, '<', 60 + $databases / 4, 'all publish soon');

# Others come and go as if the broken one was not there.
my $error = qr/ERROR:  there is no relay "default"/;
wait_until(undef, sub { log_lines($node, $from, $error) >= 3 }, 'it fails');
my $other = $names[0];
replace_relay($node, db => $other);
query("SELECT outbox_emit('t', 'k', 'beside')", $other);
ok(wait_published($node, $other, 20), 'another is started meanwhile');
query('CREATE DATABASE late TEMPLATE template1', 'template1');
query('CREATE EXTENSION outbox', 'late');
query("SELECT outbox_emit('t', 'k', 'late')", 'late');
ok(wait_published($node, 'late', 20), '... and one that is new');
cmp_ok(log_lines($node, $from, $error), '<', 14, 'it is tried less and less');
query("INSERT INTO outbox.relay (name, number) VALUES ('default', 0)", $broken);
ok(wait_published($node, $broken), 'mended, it publishes');
clean_log($node, 'no crash');
$node->stop;
done_testing();
