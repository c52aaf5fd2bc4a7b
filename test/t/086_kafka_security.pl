# Against a real Kafka with TLS and SASL: TLS with and without a certificate of
# ours, and each mechanism by which one logs in; and what may be wrong with
# them, at first or later: each has its own words and advice, nothing is lost
# or repeated, and it goes on once it is mended.
#
# Catches properties that the relay does not hand on, or that only work until
# the connection is made again; a relay that has to be restarted when a
# certificate was renewed or a password changed; and a secret that is shown.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Certificates;
use OutboxTest::Server;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils qw(append_to_file slurp_file);
use Test::More;

my $why = OutboxTest::Kafka->skip_reason // OutboxTest::Certificates->skip_reason;
plan skip_all => $why if $why;

# the library's version: 2.0601 is 2.6.1
my $library = qx(kcat -V) =~ /librdkafka (\d+)\.(\d+)\.(\d+)/
  ? sprintf('%d.%02d%02d', $1, $2, $3)
  : die 'which librdkafka?';
my $made = OutboxTest::Certificates->new;
my $dir = $made->dir;
$made->authority($_) for qw(ca stranger);
$made->certificate($_, host => 'localhost') for qw(broker ours);

my %port = map { $_ => PostgreSQL::Test::Cluster::get_free_port() } qw(tls mtls sasl);
my $kafka = OutboxTest::Kafka->new(start => 0);
my $jaas = 'org.apache.kafka.common.security';
$kafka->{settings} = {
	'listeners' => join(',',
		"PLAINTEXT://127.0.0.1:$kafka->{port}",
		"CONTROLLER://127.0.0.1:$kafka->{controller_port}",
		map { uc($_) . "://127.0.0.1:$port{$_}" } sort keys %port),
	'advertised.listeners' => join(',',
		"PLAINTEXT://127.0.0.1:$kafka->{port}",
		map { uc($_) . "://localhost:$port{$_}" } sort keys %port),
	'listener.security.protocol.map' =>
	  'PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,TLS:SSL,MTLS:SSL,SASL:SASL_SSL',
	'ssl.keystore.type' => 'PEM',
	'ssl.keystore.location' => "$dir/broker.both",
	'ssl.truststore.type' => 'PEM',
	'ssl.truststore.location' => "$dir/ca.pem",
	'listener.name.mtls.ssl.client.auth' => 'required',
	'sasl.enabled.mechanisms' => 'PLAIN,SCRAM-SHA-256,SCRAM-SHA-512',
	'listener.name.sasl.plain.sasl.jaas.config' =>
	  "$jaas.plain.PlainLoginModule required user_me=\"hush-plain\";",
	map {
		(   "listener.name.sasl.scram-sha-$_.sasl.jaas.config" =>
			  "$jaas.scram.ScramLoginModule required;")
	} 256, 512
};
$kafka->start;

sub set_password
{
	my ($mechanism, $password) = @_;

	$kafka->run('kafka.admin.ConfigCommand',
		'--bootstrap-server', $kafka->bootstrap, '--alter',
		'--entity-type', 'users', '--entity-name', 'me',
		'--add-config', "$mechanism=[password=$password]");
	return;
}
set_password('SCRAM-SHA-256', 'hush-256');
set_password('SCRAM-SHA-512', 'hush-512');
$kafka->create_topic('t', 2);

my $consumer = OutboxTest::Consumer->new(bootstrap => $kafka->bootstrap);
my $node = outbox_node('main',
	extension => 1,
	conf => <<~'END');
		outbox.kafka_properties_file = 'kafka.properties'
		log_connections = on
		log_min_messages = debug1
		END
my $file = $node->data_dir . '/kafka.properties';

sub query { return $node->safe_psql('postgres', $_[0]); }
sub emit { return query(q{SELECT count(outbox_emit('t', i % 7, i::text)) FROM generate_series(1, 100) i}); }

# Reloads with other properties, and returns where the log was.
sub use_properties
{
	my ($listener, @properties) = @_;
	my $host = $listener =~ s/@(.*)// ? $1 : 'localhost';
	my $from = log_end($node);

	unlink $file;
	append_to_file($file, join "\n", 'broker.address.family=v4', @properties, '');
	chmod 0600, $file;
	conf_reload($node, "outbox.bootstrap_servers = '$host:$port{$listener}'");
	return $from;
}

# Where the log was when it last published: a broker that comes back may refuse
# before we look.
my $published = 0;

sub publishes
{
	my ($name, @properties) = @_;

	use_properties(@properties) if @properties;
	emit();
	wait_until(undef, sub { relay_state($node) eq 'publishing' }, $name);
	ok(wait_published($node), "$name: published");
	$published = log_end($node);
	return;
}

# Nothing goes out, for a reason that is told: since the properties were
# changed, or since it last published.
sub refused
{
	my ($name, $state, $words, $hint, @properties) = @_;
	my $from = @properties ? use_properties(@properties) : $published;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	emit();
	wait_until(undef, sub { relay_state($node) eq $state }, "$name: $state");
	wait_until(undef, sub { log_lines($node, $from, $words) }, "$name: its words");
	ok(log_lines($node, $from, $hint), "$name: its advice");
	return;
}

my $trusting = "ssl.ca.location=$dir/ca.pem";
my @tls = ('security.protocol=ssl', $trusting);
sub key { return ("ssl.certificate.location=$dir/$_[0].pem", "ssl.key.location=$dir/$_[0].key"); }

sub login
{
	my ($mechanism, $password) = @_;

	return ('sasl', 'security.protocol=sasl_ssl', $trusting, "sasl.mechanism=$mechanism",
		'sasl.username=me', "sasl.password=$password");
}

note 'TLS';
publishes('tls', 'tls', @tls);
refused('unknown authority', 'untrusted', qr/we do not trust Kafka's certificate/,
	qr/ssl\.ca\.location/, 'tls', 'security.protocol=ssl', "ssl.ca.location=$dir/stranger.pem");
publishes('known authority', 'tls', @tls);
refused('another host', 'untrusted', qr/certificate is of another host/,
	qr/advertised\.listeners/, 'tls@127.0.0.1', @tls);
publishes('the right host', 'tls', @tls);

note 'a certificate of ours';
refused('none', 'unauthenticated', qr/Kafka refuses our certificate/,
	qr/ssl\.certificate\.location/, 'mtls', @tls);
publishes('one', 'mtls', @tls, key('ours'));
$made->certificate('ours', host => 'localhost', expired => 1);
$kafka->kill9;
$kafka->start;
refused('expired', 'unauthenticated', qr/Kafka refuses our certificate/,
	qr/ssl\.certificate\.location/, 'mtls', @tls, key('ours'), 'client.id=other');
$made->certificate('ours', host => 'localhost');
publishes('renewed on disk');

note 'logins';
my @scram = ([ 'SCRAM-SHA-256', 'hush-256' ], [ 'SCRAM-SHA-512', 'hush-512' ]);
publishes('PLAIN', login('PLAIN', 'hush-plain'));
if ($library >= 2.0601)
{
	publishes($_->[0], login(@$_)) for @scram;
}
else
{
	# a defect of the library, which Kafka has allowed for until 3.9
	refused("$_->[0], by an old library", 'unauthenticated',
		qr/Kafka refuses our credentials/, qr/2\.6\.1/, login(@$_))
	  for @scram;
}
for my $mechanism ('PLAIN', map { $_->[0] } @scram)
{
	refused("$mechanism, a wrong password", 'unauthenticated',
		qr/Kafka refuses our credentials/, qr/sasl/, login($mechanism, 'hush-wrong'));
}
publishes('the right one', login('PLAIN', 'hush-plain'));
$kafka->kill9;
$kafka->{settings}->{'listener.name.sasl.plain.sasl.jaas.config'} =~ s/hush-plain/hush-new/;
$kafka->start;
refused('changed at the broker', 'unauthenticated', qr/Kafka refuses our credentials/, qr/sasl/);
publishes('and here', login('PLAIN', 'hush-new'));

note 'nothing lost, nothing repeated, no secret shown';
ok($consumer->drain, 'read');
my $duplicates = check_delivery([ events($node) ], [ $consumer->records ]);
is($duplicates, 0, 'nothing is repeated');
unlike(slurp_file($node->logfile), qr/hush|PRIVATE KEY/, 'no secret in the log');
is( query(q{SELECT count(*) FROM pg_settings WHERE setting ~ 'hush'}), 0, 'in a setting');
is( query(q{SELECT count(*) FROM outbox.stat_relay r WHERE r::text ~ 'hush'}), 0, 'in a view');
is( query(q{SELECT count(*) FROM pg_stat_activity a WHERE a::text ~ 'hush-' AND pid <> pg_backend_pid()}),
	0, 'in an activity');
my $pid = relay_pid($node);
unlike(slurp_file("/proc/$pid/cmdline"), qr/hush/, 'in the title');

$node->stop;
done_testing();
