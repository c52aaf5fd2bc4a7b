# outbox.health() where the server itself is not as it should be: too few
# workers or places, no launcher, the library not preloaded, a standby; its
# thresholds; who may call it. And outbox.top(), one screen of it all.
#
# Catches: a function that fails just when something is wrong; a shortage that
# shows nowhere; a command that gives shared_preload_libraries another meaning.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use PostgreSQL::Test::Cluster;
use Test::More;

my $mock = OutboxTest::Mock->new(topics => { t => 1, refused => 1 });
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1,
	allows_streaming => 1,
	conf => <<~'END');
	outbox.health_down_warning = 0
	outbox.health_down_critical = 10min
	outbox.retry_max_attempts = 0
	outbox.retry_base_delay = 10s
	END
mkdir $node->data_dir . '/outbox.d' or die;
my $file = $node->data_dir . '/outbox.d/audit.properties';
open(my $fh, '>', $file) or die "$file: $!";
print $fh 'bootstrap.servers = ', $mock->bootstrap, "\n";
close($fh) or die "$file: $!";
chmod 0600, $file or die "$file: $!";
query("SELECT outbox.create_relay('audit')");

# What is wrong, in one line for each; once it is so, or as it is in the end.
sub wrong
{
	my ($pattern, $name) = @_;
	my $is = '';
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	eval {
		wait_until(undef, sub {
			$is = query(q{SELECT concat_ws(' ', status, "check", relay, value || ':', message)
				FROM outbox.health() WHERE status <> 'ok'});
			return $is =~ $pattern;
		});
	};
	return like($is, $pattern, $name);
}

sub command_for
{
	my ($check) = @_;

	return query(qq(SELECT command FROM outbox.health() WHERE "check" = '$check' AND status <> 'ok' LIMIT 1));
}

# Does what health says, and restarts the server, as it says, too.
sub obey
{
	my ($check) = @_;
	my $command = command_for($check);

	like($command, qr/^ALTER SYSTEM .*;  -- and restart the server$/, $command);
	query($command);
	$node->restart;
	return;
}

# What SQL returns, or undef while there is no session to be had.
sub outbox_answer
{
	my ($status, $out) = $node->psql('postgres', $_[0], timeout => 10);

	return defined $status && $status == 0 ? $out : undef;
}

sub top
{
	return query('SELECT * FROM outbox.top()');
}

note 'all is well';
wrong(qr/^$/, 'nothing is wrong');
like(top(), qr/^outbox 1\.0, database postgres, .*\n\nrelay +state .*\n(?:(?:audit|default) +publishing .*\n){2}\nnothing is wrong/,
	'top shows both relays');

query(q{SELECT outbox_emit('t', 'k', 'x')});
ok(wait_until(undef, sub { top() =~ /^default +publishing +\S+ +0 /m }), 'quiet');
query(q{SELECT outbox_emit('t', 'k', 'x') FROM generate_series(1, 2000)});
ok(wait_until(undef, sub { top() =~ /^default +publishing +\S+ +200 /m }),
	'... and how many events a second, over ten of them');

query(q{CREATE FUNCTION handle(outbox.message) RETURNS void LANGUAGE sql AS ''});
query(q{SELECT outbox.subscribe('orders', '{t}', 'handle(outbox.message)', start => 'earliest')});
ok(wait_until(undef, sub { top() =~ /^subscription +state .*\norders +consuming +\S+ +\d+ +200[12] +0 +00:00:00 +0 +0$/m }),
	'subscriptions, too');
query(q{SELECT outbox.unsubscribe('orders')});

note 'too few places, too few workers';
$node->append_conf('postgresql.conf', 'outbox.max_relays = 1');
$node->restart;
wrong(qr/^warning launcher short of outbox\.max_relays: .*\nwarning relay \w+ stopped: 1 outbox relays run, and outbox\.max_relays/m,
	'outbox.max_relays is too low');
query(q{SELECT outbox.create_relay('late')});
is( query(q{SELECT status, since >= created_at FROM outbox.health() JOIN outbox.relay ON name = relay
		WHERE "check" = 'relay' AND relay = 'late'}),
	'warning|t', 'a new one is not late for longer than it is there');
query(q{SELECT outbox.drop_relay('late', discard => true)});
obey('relay');
wrong(qr/^$/, 'it is higher');
query('ALTER SYSTEM RESET ALL');
$node->append_conf('postgresql.conf', "outbox.max_relays = 100\nmax_worker_processes = 3");
$node->restart;
wrong(qr/^warning launcher short of max_worker_processes: .*\nwarning relay \w+ stopped: no background worker is free/m,
	'max_worker_processes is too low');
obey('launcher');
wrong(qr/^$/, 'it is higher');
query('ALTER SYSTEM RESET ALL');
$node->append_conf('postgresql.conf', 'max_worker_processes = 1');
$node->restart;
wrong(qr/^warning launcher not running: the launcher has not been started.*\nwarning relay audit stopped: there is no launcher/m,
	'not even the launcher has a place');
like(top(), qr/^warning  launcher .*the launcher has not been started/m, 'top shows it, too');
obey('launcher');
wrong(qr/^$/, 'it has one');

note 'not preloaded';
query('ALTER SYSTEM RESET ALL');
query(q{ALTER SYSTEM SET shared_preload_libraries = '$libdir/plpgsql'});
$node->restart;
is(query('SELECT count(*) FROM outbox.health()'), 1, 'one row');
wrong(qr/^critical launcher not preloaded: the library is not in shared_preload_libraries/, '... says so');
like(top(), qr/^critical launcher .*shared_preload_libraries/m, 'top shows it, too');
obey('launcher');
is(query('SHOW shared_preload_libraries'), '"$libdir/plpgsql", outbox', 'the others are still there');
query('ALTER SYSTEM SET max_worker_processes = 20');
$node->restart;
wrong(qr/^$/, 'it is preloaded');

note 'crashes in a row';
$node->append_conf('postgresql.conf', 'restart_after_crash = on');
$node->reload;
for (1 .. 4)
{
	my $pid = wait_until(undef, sub { (outbox_answer('SELECT pid FROM outbox.launcher_status()') // '') =~ /(\d+)/ ? $1 : 0 });

	kill 'KILL', $pid;
	wait_until(undef, sub { (outbox_answer('SELECT pid FROM outbox.launcher_status()') // $pid) ne $pid });
}
wrong(qr/^critical launcher running: the server has crashed 4 times in a row: relays start at 20/, 'they start late');
wrong(qr/^$/, 'in the end they do');

note 'thresholds';
query(q{SELECT outbox.pause('audit')});
query(q{SELECT outbox_emit('t', 'k', 'x') FROM generate_series(1, 10)});
is( query(q{SET outbox.health_lag_events_critical = 10; SET outbox.health_paused_warning = -1;
		SELECT string_agg(concat_ws(' ', status, "check", relay, threshold), ', ') FROM outbox.health() WHERE status <> 'ok'}),
	'critical lag_events audit never / 10', 'a session has its own');
conf_reload($node, 'outbox.max_pending = 12');
wrong(qr/^warning lag_events audit 10: 10 events wait .* with 12, outbox_emit\(\) fails/m, 'outbox.max_pending comes near');
query(q{SELECT outbox_emit('t', 'k', 'x') FROM generate_series(1, 2)});
wrong(qr/^critical lag_events audit 12: /m, '... and is reached');
conf_reload($node, 'outbox.max_pending = 0');
query(q{SELECT outbox.resume()});
wrong(qr/^$/, 'all is well');
is( query(q{SELECT count(*) FROM outbox.health() WHERE value IS NULL AND "check" NOT IN
		('settings', 'cluster', 'paused', 'position')}), 0, 'checks have values');

note 'top';
$mock->command('refuse refused UNKNOWN_TOPIC_OR_PART');
query(qq{SELECT outbox_emit('refused', E'a\\nkey', 'x')});
$node->poll_query_until('postgres', q{SELECT count(*) = 2 FROM outbox.blocked}) or die 'it is not blocked';
like(top(), qr/^blocked +topic .*\n(?:(?:audit|default) +refused .*Unknown topic.*\n?){2}/m, 'what is blocked');
$mock->command('allow refused');
query('SELECT outbox.discard(retrying => true, topic => $$refused$$)');
$mock->command('down');
query(q{SELECT outbox_emit('t', 'k', 'x')});
wrong(qr/cluster audit unavailable/, 'an outage');
like(top(), qr/^warning  cluster +audit .*\n(?:.*\n)*last errors\n.* (?:audit|default) +.*[Cc]onnect/m, '... and the last errors');
cmp_ok((split /\n/, top()), '<', 30, 'it fits on a screen');
$mock->command('up');

note 'who may';
query(q{CREATE ROLE watcher LOGIN; GRANT pg_monitor TO watcher; CREATE ROLE nobody LOGIN});
for my $function (qw(health top))
{
	is(($node->psql('postgres', "SELECT count(*) > 0 FROM outbox.$function()", extra_params => [ '-U', 'watcher' ]))[1],
		't', "a member of pg_monitor may call $function()");
	fails_with($node, 'postgres', "SET ROLE nobody; SELECT * FROM outbox.$function()", '42501',
		qr/permission denied/, '... others may not');
}

note 'a standby';
$node->backup('b');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'b', has_streaming => 1);
guard_node($standby);
$standby->start;
is($standby->safe_psql('postgres', q{SELECT "check", status, value FROM outbox.health()}), 'launcher|ok|standby', 'says so');
like($standby->safe_psql('postgres', 'SELECT * FROM outbox.top()'), qr/nothing is wrong/, 'top works there, too');
$standby->stop;

$node->stop;
done_testing();
