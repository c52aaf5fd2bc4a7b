# Against a real Kafka with TLS and SASL: TLS with and without a certificate of
# ours, and each mechanism by which one logs in with a password; and what may be
# wrong with them, at first or later: each has its own words and advice, nothing
# is lost or repeated, and it goes on once it is mended.
#
# Catches properties that the relay does not hand on, or that only work until
# the connection is made again; a relay that has to be restarted when a
# certificate was renewed or a password changed; and a secret that is shown.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Secured;
use Test::More;

my $why = OutboxTest::Secured->skip_reason;
plan skip_all => $why if $why;

my $jaas = 'org.apache.kafka.common.security';
my $secured = OutboxTest::Secured->new(
	listeners => { tls => 'SSL', mtls => 'SSL', sasl => 'SASL_SSL' },
	conf => "log_min_messages = debug1\n",
	settings => {
		'listener.name.mtls.ssl.client.auth' => 'required',
		'sasl.enabled.mechanisms' => 'PLAIN,SCRAM-SHA-256,SCRAM-SHA-512',
		'listener.name.sasl.plain.sasl.jaas.config' =>
		  "$jaas.plain.PlainLoginModule required user_me=\"hush-plain\";",
		map {
			(   "listener.name.sasl.scram-sha-$_.sasl.jaas.config" =>
				  "$jaas.scram.ScramLoginModule required;")
		} 256, 512
	});
my $kafka = $secured->kafka;
my $made = $secured->made;
my $trusting = $secured->trusting;
my @tls = $secured->tls;

# two at once would be refused
for ([ 'SCRAM-SHA-256', 'hush-256' ], [ 'SCRAM-SHA-512', 'hush-512' ])
{
	my ($mechanism, $password) = @$_;

	$kafka->run('kafka.admin.ConfigCommand',
		'--bootstrap-server', $kafka->bootstrap, '--alter',
		'--entity-type', 'users', '--entity-name', 'me',
		'--add-config', "$mechanism=[password=$password]");
}
$made->authority('stranger');
$made->certificate('ours', host => 'localhost');

sub login
{
	my ($mechanism, $password) = @_;

	return ('sasl', 'security.protocol=sasl_ssl', $trusting, "sasl.mechanism=$mechanism",
		'sasl.username=me', "sasl.password=$password");
}

note 'TLS';
$secured->publishes('tls', 'tls', @tls);
$secured->refused('unknown authority', 'untrusted', qr/We do not trust Kafka's certificate/,
	qr/ssl\.ca\.location/, 'tls', $secured->tls('stranger'));
$secured->publishes('known authority', 'tls', @tls);
$secured->refused('another host', 'untrusted', qr/certificate is of another host/,
	qr/advertised\.listeners/, 'tls@127.0.0.1', @tls);
$secured->publishes('the right host', 'tls', @tls);

note 'a certificate of ours';
my $refuses = qr/Kafka refuses our certificate/;
$secured->refused('none', 'unauthenticated', qr/Kafka wants a certificate of ours/,
	qr/ssl\.certificate\.location/, 'mtls', @tls);
$secured->publishes('one', 'mtls', @tls, $secured->key('ours'));
$made->certificate('ours', host => 'localhost', expired => 1);
$secured->refused('expired, taken at a reload', 'unauthenticated', $refuses,
	qr/ssl\.certificate\.location/, 'mtls', @tls, $secured->key('ours'));
$made->certificate('ours', host => 'localhost');
$secured->publishes('renewed on disk');

note 'logins';
my @scram = ([ 'SCRAM-SHA-256', 'hush-256' ], [ 'SCRAM-SHA-512', 'hush-512' ]);
my $refuses_login = qr/Kafka refuses our credentials/;
$secured->publishes('PLAIN', login('PLAIN', 'hush-plain'));
if (OutboxTest::Secured->library >= 2.0601)
{
	$secured->publishes($_->[0], login(@$_)) for @scram;
}
else
{
	# a defect of the library, which Kafka has allowed for until 3.9
	$secured->refused("$_->[0], by an old library", 'unauthenticated',
		$refuses_login, qr/2\.6\.1/, login(@$_))
	  for @scram;
}
for my $mechanism ('PLAIN', map { $_->[0] } @scram)
{
	$secured->refused("$mechanism, a wrong password", 'unauthenticated',
		$refuses_login, qr/sasl/, login($mechanism, 'hush-wrong'));
}
$secured->publishes('the right one', login('PLAIN', 'hush-plain'));
$kafka->kill9;
$kafka->{settings}->{'listener.name.sasl.plain.sasl.jaas.config'} =~ s/hush-plain/hush-new/;
$kafka->start;
$secured->refused('changed at the broker', 'unauthenticated', $refuses_login, qr/sasl/);
$secured->publishes('and here', login('PLAIN', 'hush-new'));

note 'nothing lost, nothing repeated, no secret shown';
$secured->check('hush|PRIVATE KEY');
$secured->node->stop;
done_testing();
