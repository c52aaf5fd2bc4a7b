# Settings that change while the relay publishes.
#
# Catches: events lost, repeated or out of order when publishing is turned off
# and on, or moves to other brokers; a working producer given up for settings
# that cannot be used; a log that fills up with the same refusal; properties
# that break the promises or load code; secrets in the log or in a view.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use PostgreSQL::Test::Utils ();
use Test::More;

my $secret = 'M4rkedS3cret';
my ($mock_a, $mock_b) = map { OutboxTest::Mock->new } 1 .. 2;
my ($a, $b) =
  map { OutboxTest::Consumer->new(bootstrap => $_->bootstrap) } $mock_a, $mock_b;
my $node = outbox_node('main',
	bootstrap => $mock_a->bootstrap,
	extension => 1);
my $file = $node->data_dir . '/kafka.properties';

sub last_error { return query('SELECT last_error FROM outbox.stat_relay'); }

sub write_file
{
	my ($text, $mode) = @_;

	unlink $file;
	PostgreSQL::Test::Utils::append_to_file($file, $text);
	chmod $mode // 0600, $file;
	return;
}

# A line of postgresql.conf, in which quotes are doubled.
sub setting
{
	my ($name, $value) = @_;

	$value =~ s/'/''/g;
	return "outbox.$name = '$value'";
}

# Off and on, under load.
my $script = <<~'END';
	\set k random(1, 20)
	SELECT outbox_emit('t', 'k' || :k, :client_id || ' ' || clock_timestamp());
	END
my $load = pgbench($node, $script, clients => 3, rate => 400, duration => 600,
	background => 1);
wait_until(undef, sub { $a->count > 100 }, 'traffic');
conf_reload($node, 'outbox.enabled = off');
wait_until(undef, sub { outbox_pid($node, 'postgres') eq '' }, 'off');
is(relay_state($node), 'disabled', 'off');
ok($a->drain, 'drained');
my $count = $a->count;
ok( stays(1, sub { outbox_pid($node, 'postgres') eq '' && $a->count == $count }),
	'nothing is published while it is off');
conf_reload($node, 'outbox.enabled = on');
wait_until(undef, sub { $a->count > $count + 300 }, 'traffic again');
pass('on again');

# To other brokers, under load.
conf_reload($node, setting('bootstrap_servers', $mock_b->bootstrap));
wait_until(undef, sub { $b->count > 200 }, 'traffic at B');
stop_load($node, $load);
ok(wait_published($node), 'published');
ok($_->drain, 'drained') for $a, $b;
my @records = ($a->records, $b->records);
is(check_delivery([ events($node) ], \@records, 'A, then B'),
	0, 'nothing repeated');
my @told = log_lines($node, 0,
	qr/exited with exit code|ERROR|WARNING|FATAL:  (?!connection to client lost)/);
is(scalar(@told), 0, 'quietly');
is(log_lines($node, 0, qr/: publishing -> disabled$/), 1, '... but for the change of its state');

# What cannot be used: refused once, and the producer goes on.
my $relay = relay_pid($node);

sub goes_on
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	query("SELECT outbox_emit('t', 'k', 'going on')");
	return ok(wait_published($node) && relay_pid($node) eq $relay,
		"$name: the producer goes on");
}

# Refused when the server reads the file: by the postmaster, at each reload.
for (
	[ 'deny-listed', 'acks=0', qr/Property "acks" can only be "all"/ ],
	[ 'not name=value', "nonsense $secret", qr/must be written as name=value/ ],
	[ 'no closing quote', "client.id='$secret", qr/"client.id" has no closing quote/ ],
	[ 'secret', "sasl.password=$secret", qr/"sasl.password".*kafka_properties_file/ ])
{
	my ($name, $value, $pattern) = @$_;
	my $from = log_end($node);

	conf_reload($node, setting('kafka_properties', $value)) for 1 .. 2;
	is(log_lines($node, $from, qr/invalid value for parameter "outbox.kafka_properties"/),
		2, "$name: refused at each reload");
	is(log_lines($node, $from, $pattern), 2, "$name: with the reason");
	goes_on($name);
}
conf_reload($node, setting('kafka_properties', ''));

# Refused by the relay: once, and seen in the view.
sub refused
{
	my ($name, $pattern, $lines) = @_;
	my $from = log_end($node);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	conf_reload($node, $lines) for 1 .. 3;
	is(log_lines($node, $from, qr/keeps its settings/), 1, "$name: told once");
	is(log_lines($node, $from, qr/keeps its settings.*$pattern/),
		1, "$name: with the reason");
	like(last_error(), $pattern, "$name: in last_error");
	return goes_on($name);
}
my $use_file = setting('kafka_properties_file', 'kafka.properties');
refused('unknown', qr/No such configuration property: "no.such"/,
	setting('kafka_properties', 'no.such=1'));
refused('value', qr/compression\.codec/,
	setting('kafka_properties', 'compression.codec=nonsense'));
refused('combination', qr/max\.in\.flight/,
	setting('kafka_properties', 'max.in.flight=6'));
conf_reload($node, setting('kafka_properties', ''));
refused('missing file', qr/Could not open file "kafka.properties"/, $use_file);
write_file("sasl.password=$secret\n", 0640);
refused('mode', qr/must be owned by the server's user and have mode 0600/, $use_file);
write_file("# comment\n\nsasl.password $secret\n");
refused('line', qr/Line 3 of the file is not name=value/, $use_file);
write_file("sasl.password=$secret\nacks=1\n");
refused('deny-listed in the file', qr/Property "acks" can only be "all"/, $use_file);
write_file("security.protocol=ssl\nssl.key.pem=$secret\n");
refused('secret value', qr/ssl[. ]/i, $use_file);
unlink $file;

# The same again, after settings that are fine, is news.
conf_reload($node, setting('kafka_properties_file', ''));
refused('unknown again', qr/No such configuration property: "no.such"/,
	setting('kafka_properties', 'no.such=1'));
conf_reload($node, setting('kafka_properties', ''));
refused('unknown after all', qr/No such configuration property: "no.such"/,
	setting('kafka_properties', 'no.such=1'));
conf_reload($node, setting('kafka_properties', ''));

# Every property that must not be set, by name, however written.
my @refused = qw(acks background_event_cb bootstrap.servers connect_cb
  delivery.report.only.error delivery.timeout.ms dr_cb dr_msg_cb
  enable.gapless.guarantee enable.idempotence error_cb interceptors
  internal.termination.signal log.queue log_cb message.send.max.retries
  message.timeout.ms metadata.broker.list msg_order_cmp opaque open_cb
  partitioner_cb plugin.library.paths queue.buffering.max.kbytes
  queue.buffering.max.messages queuing.strategy request.required.acks retries
  sasl.kerberos.kinit.cmd socket_cb ssl.engine.location ssl.providers
  statistics.interval.ms stats_cb test.mock.broker.rtt test.mock.num.brokers
  throttle_cb topic.blacklist transaction.timeout.ms transactional.id ACKS
  Plugin.Library.Paths);
my ($status, $out, $err) = $node->psql(
	'postgres',
	join('', map { "ALTER SYSTEM SET outbox.kafka_properties = '$_=1';\n" } @refused),
	on_error_stop => 0,
	extra_params => [ '-v', 'VERBOSITY=verbose' ]);
my @missed =
  grep { $err !~ /ERROR:  22023: invalid value for parameter [^\n]*\nDETAIL:  Property "\Q$_\E" can/ } @refused;
is("@missed", '', 'refused by name');
is(query("SELECT count(*) FROM pg_file_settings WHERE sourcefile LIKE '%auto.conf'"),
	0, '... and not kept');

# Good ones take effect: a partitioner can be seen.
my @keys = 'a' .. 't';

sub partitions
{
	my ($topic) = @_;

	query("SELECT outbox_emit('$topic', k, k) FROM unnest(string_to_array('@keys', ' ')) k");
	ok(wait_published($node), "$topic: published");
	ok($b->drain, "$topic: drained");
	my %partition = map { $_->{key} => $_->{partition} }
	  grep { $_->{topic} eq $topic } $b->records;
	return join '', map { $partition{$_} } @keys;
}
my $murmur = partitions('default');
write_file("partitioner = fnv1a\n");
conf_reload($node, $use_file);
my $fnv1a = partitions('file');
isnt($fnv1a, $murmur, 'properties of the file');
write_file("  partitioner=consistent  \nsasl.password=$secret\n");
conf_reload($node);
my $crc = partitions('changed');
isnt($crc, $fnv1a, 'a changed file');
isnt($crc, $murmur, '... which is not ignored');
conf_reload($node, join "\n", setting('kafka_properties_file', ''),
	setting('kafka_properties', "client.id='it''s mine' partitioner='fnv1a'"));
is(partitions('quotes'), $fnv1a, 'properties with quotes');

# Settings that are fine, but do not lead to the broker.
conf_reload($node, setting('kafka_properties', 'security.protocol=ssl'));
query("SELECT outbox_emit('t', 'k', 'waits')");
wait_state($node, 'unavailable');
pass('a wrong protocol is seen');
conf_reload($node, setting('kafka_properties', ''));
ok(wait_published($node), 'published when it is corrected');
is(relay_pid($node), $relay, 'all by one relay');

# Who may look.
query('CREATE ROLE reader LOGIN; GRANT pg_monitor TO reader; CREATE ROLE nobody LOGIN');
for my $name ('kafka_properties', 'kafka_properties_file')
{
	fails_with($node, 'postgres', "SHOW outbox.$name", '42501', qr/outbox.$name/,
		"SHOW outbox.$name", connstr => $node->connstr('postgres') . ' user=nobody');
}
unlike(query('SET ROLE reader; TABLE outbox.stat_relay'), qr/\Q$secret/, 'view');
unlike(PostgreSQL::Test::Utils::slurp_file($node->logfile), qr/\Q$secret/,
	'no secret in the log');
ok($_->drain, 'drained') for $a, $b;
$node->stop;
done_testing();
