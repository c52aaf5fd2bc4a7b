# A listener of a real Kafka that is secured in another way than our properties
# say, or expects another way to log in: each combination has words of its own
# and says which property is at fault; nothing is lost or repeated, and it goes
# on when that is corrected.
#
# Catches: a mistake in security.protocol that looks as if Kafka were down, or
# that is told with a number that nobody can make sense of.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Secured;
use Test::More;

my $why = OutboxTest::Secured->skip_reason;
plan skip_all => $why if $why;

my $jaas = 'org.apache.kafka.common.security';
my $secured = OutboxTest::Secured->new(
	listeners => { tls => 'SSL', mtls => 'SSL', sasl => 'SASL_SSL', open => 'SASL_PLAINTEXT' },
	settings => {
		'listener.name.mtls.ssl.client.auth' => 'required',
		'sasl.enabled.mechanisms' => 'PLAIN',
		map {
			(   "listener.name.$_.plain.sasl.jaas.config" =>
				  "$jaas.plain.PlainLoginModule required user_me=\"hush-plain\";")
		} qw(sasl open)
	});
my @login = ('sasl.mechanism=PLAIN', 'sasl.username=me', 'sasl.password=hush-plain');
my @tls = $secured->tls;
my $trusting = $secured->trusting;

my $sasl_ssl = 'security.protocol=sasl_ssl';
my $dir = $secured->dir;
my $made = $secured->made;
$made->authority('stranger');
$made->certificate($_, host => 'localhost') for qw(ours other);
$made->certificate('expired', host => 'localhost', expired => 1);
$made->certificate('strange', host => 'localhost', authority => 'stranger');
$made->protect('ours', 'hush-key');

note 'another listener';
my $hint = qr/compare security\.protocol/;
my $hangs_up = qr/Kafka hangs up on us: /;
$secured->publishes('TLS', 'tls', @tls);
$secured->refused('no TLS, to TLS', 'unavailable', $hangs_up, $hint, 'tls');
$secured->refused('TLS, to none', 'unavailable', $hangs_up, $hint, 'plain', @tls);
$secured->publishes('corrected', 'tls', @tls);
$secured->refused('no login, to logins', 'unavailable', $hangs_up, $hint, 'sasl', @tls);
$secured->refused('the same without TLS', 'unavailable', $hangs_up, $hint, 'open');
$secured->refused('a login without TLS, to TLS', 'unavailable', $hangs_up, $hint,
	'sasl', 'security.protocol=sasl_plaintext', @login);
$secured->publishes('corrected', 'sasl', $sasl_ssl, $trusting, @login);
$secured->refused('a login, to none', 'unauthenticated', qr/Kafka knows no logins/,
	qr/outbox\.bootstrap_servers name a port/, 'tls', $sasl_ssl, $trusting, @login);
my $told = $secured->refused('an unknown mechanism', 'unauthenticated',
	qr/does not know our way to log in: .*supported mechanisms: PLAIN/,
	qr/sasl\.mechanism/, 'sasl', $sasl_ssl, $trusting, @login, 'sasl.mechanism=SCRAM-SHA-256');
unlike($told, qr/2\.6\.1/, 'which is not that of an old library');
$secured->publishes('corrected', 'sasl', $sasl_ssl, $trusting, @login);

note 'a certificate of ours';
my $refuses = qr/Kafka refuses our certificate/;
my $mtls_hint = qr/ssl\.certificate\.location/;
$secured->refused('none', 'unauthenticated', qr/Kafka wants a certificate of ours/,
	$mtls_hint, 'mtls', @tls);
$secured->refused('expired', 'unauthenticated', $refuses, qr/valid now/, 'mtls', @tls,
	$secured->key('expired'));
my @ours = ($secured->key('ours'), 'ssl.key.password=hush-key');
$secured->publishes('ours', 'mtls', @tls, @ours);

note 'files that do not fit, which are not used at all';
$secured->not_taken('the key of another one', qr/private key is not that of the certificate/, 'mtls', @tls,
	"ssl.certificate.location=$dir/ours.pem", "ssl.key.location=$dir/other.key");
$secured->not_taken('a wrong password', qr/ssl\.key\.password does not open/, 'mtls', @tls,
	$secured->key('ours'), 'ssl.key.password=hush-wrong');
$secured->not_taken('a store, a wrong password', qr/ssl\.keystore\.password does not open/, 'mtls', @tls,
	"ssl.keystore.location=$dir/ours.p12", 'ssl.keystore.password=hush-wrong');
$secured->not_taken('no password', qr/ssl\.key\.password/, 'mtls', @tls, $secured->key('ours'));
$secured->publishes('a store', 'mtls', @tls, "ssl.keystore.location=$dir/ours.p12",
	'ssl.keystore.password=hush-key');

$secured->check('hush');
$secured->node->stop;
done_testing();
