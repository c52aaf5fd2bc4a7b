# Memory, threads and files stay what they are, however much is emitted,
# published, reloaded and listed.
#
# Catches: a few bytes lost for each transaction of a session, for each event
# or each reload of a relay, or each look of the launcher at the databases;
# producers that are not destroyed.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;

my $mock = OutboxTest::Mock->new;
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1);

sub threads { return scalar(my @t = glob("/proc/$_[0]/task/*")); }

# What a process holds: memory contexts as it tells them itself, its own
# memory in kB, threads, and open files.
sub held
{
	my ($pid) = @_;
	my $from = log_end($node);
	my $total;

	query("SELECT pg_log_backend_memory_contexts($pid)");
	wait_until(
		undef,
		sub {
			($total) = map { /Grand total: (\d+) bytes/ }
			  log_lines($node, $from, qr/\[$pid\].*Grand total:/);
			defined $total;
		},
		"memory contexts of $pid");
	my ($rss) = slurp_file("/proc/$pid/status") =~ /^RssAnon:\s+(\d+)/m;
	return {
		contexts => $total,
		memory => $rss,
		threads => threads($pid),
		files => scalar(my @f = glob("/proc/$pid/fd/*"))
	};
}

# Not more than before, but for so much of contexts (bytes) and memory (kB).
sub flat
{
	my ($before, $after, $contexts, $memory, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	note "$name: " . join ', ',
	  map { "$_ $before->{$_} to $after->{$_}" } sort keys %$before;
	cmp_ok($after->{contexts}, '<=', $before->{contexts} + $contexts,
		"$name: memory contexts");
	cmp_ok($after->{memory}, '<=', $before->{memory} + $memory,
		"$name: memory");
	for my $what (grep { exists $before->{$_} } qw(threads files))
	{
		cmp_ok($after->{$what}, '<=', $before->{$what} + 2, "$name: $what");
	}
	return;
}

# Transactions of every kind in one session.
my $thousand =
  join "\n",
  ("SELECT outbox_emit('t', 'k', 'plain');") x 700,
  ("SELECT outbox_emit('t', n, to_jsonb(n), '{\"a\": \"b\"}') FROM generate_series(1, 2) n;") x 100,
  ("BEGIN; SELECT outbox_emit('t', 'k', 'v'); SAVEPOINT s; SELECT outbox_emit('t', 'k', 'v'); ROLLBACK TO s; COMMIT;") x 100,
  ("BEGIN; SELECT outbox_emit('t', 'k', 'v'); ROLLBACK;") x 50,
  ("SELECT outbox_emit(NULL, 'k', 'v');") x 40,
  # kept on disk until the commit
  ("SELECT count(outbox_emit('t', 'k', repeat('x', 1000))) FROM generate_series(1, 200);") x 10;
my $measure = <<~'END';
	\o
	SELECT sum(total_bytes), substring(pg_read_file('/proc/self/status') FROM 'RssAnon:\s+(\d+)')
	FROM pg_backend_memory_contexts;
	\o /dev/null
	END
my ($status, $out) = $node->psql(
	'postgres',
	"SET work_mem = '64kB'; SET client_min_messages = fatal;\n$measure"
	  . join('', (("$thousand\n") x 5, $measure) x 4),
	on_error_stop => 0);
my @session =
  map { my ($c, $m) = split /\|/; { contexts => $c, memory => $m } }
  split /\n/, $out;
is(@session, 5, 'a session with 20000 transactions');
flat($session[1], $session[4], 65_536, 1024, 'session');

# Events through a relay.
my $relay = relay_pid($node);
my @relay;
for (0 .. 20)
{
	query("SELECT count(outbox_emit('t' || n % 3, n, repeat('x', n % 400), '{\"a\": \"b\"}')) FROM generate_series(1, 20000) n");
	ok(wait_published($node), '20000 events');
	push @relay, held($relay);
}
cmp_ok(published($node), '>=', 420_000, 'events published');
# Threads of the library keep more of what they have freed at one time than at
# another, up to 10 MB: so the least of some is held against the least of others.
my ($before, $after) = map {
	my ($least) = sort { $a->{memory} <=> $b->{memory} } @$_;
	$least
} [ @relay[ 1 .. 10 ] ], [ @relay[ 11 .. 20 ] ];
flat($before, $after, 65_536, 5 * 1024, 'relay, 200000 events');

# Producers that come and go, and settings that are refused. One that takes more
# than a moment to end is left to itself, so it is waited until all have.
sub reloads
{
	my ($threads) = @_;

	for my $i (1 .. 6)
	{
		conf_reload($node, 'outbox.window_events = ' . (1000 + $i % 2));
		conf_reload($node, "outbox.kafka_properties = '"
			  . ($i % 2 ? 'max.in.flight=6' : "client.id=c$i") . "'");
	}
	query("SELECT outbox_emit('t', 'k', 'v')");
	ok(wait_published($node), 'reloads');
	wait_until(undef, sub { threads($relay) <= $threads }, 'closed producers end');
	return;
}
my $threads = $relay[5]->{threads};
reloads($threads);
$before = held($relay);
reloads($threads) for 1 .. 2;
flat($before, held($relay), 65_536, 2048, 'relay, reloads');
is(relay_pid($node), $relay, 'all by one relay');

# Databases that are looked at again and again.
my $launcher = outbox_pid($node);
sub lists
{
	query('ALTER DATABASE postgres CONNECTION LIMIT -1;' x 200);
	return held($launcher);
}
lists();
flat(lists(), lists(), 8_192, 512, 'launcher');
clean_log($node, 'nothing unclean in the log', also => qr/exited with exit code|was not closed/);
$node->stop;
done_testing();
