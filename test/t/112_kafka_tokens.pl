# OAUTHBEARER against a real Kafka, with tokens of a token server (OIDC): tokens
# that expire are renewed while events are published; one that Kafka refuses, a
# server that refuses us, or is down, are told with words of their own, and it
# goes on by itself, or when the properties are corrected.
#
# Catches: a relay that stops when its first token has expired, or stops while
# its token is still good because the next one could not be had; one that
# repeats in its log what a token server answers, which may be all that it has
# been sent; and one that waits forever for a token that nobody fetches.
#
# Where librdkafka has been built without OIDC, as in Debian 12, it must say so.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Secured;
use OutboxTest::Server;
use Test::More;

my $why = OutboxTest::Secured->skip_reason;
plan skip_all => $why if $why;

my $dir = PostgreSQL::Test::Utils::tempdir('tokens');
my $jwks = "file://$dir/jwks";
system("openssl genrsa -out $dir/key.pem 2048 2>/dev/null") == 0 or die 'openssl';
my $tokens = OutboxTest::Process->new(
	command => [ OutboxTest::Mock::program('tokens'), 'me', 'hush-client', "$dir/key.pem", "$dir/jwks" ],
	log => "$dir/log",
	pipes => 1);
my ($port) = readline($tokens->{out}) =~ /^port (\d+)$/ or die 'no token server';

sub ask
{
	my ($line) = @_;

	print { $tokens->{in} } "$line\n" or die "the token server is gone: $!";
	chomp(my $answer = readline $tokens->{out});
	return $answer;
}

my $jaas = 'org.apache.kafka.common.security.oauthbearer';
local $ENV{OUTBOX_KAFKA_JAVA} =
  "-Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dorg.apache.kafka.sasl.oauthbearer.allowed.urls=$jwks";
my $secured = OutboxTest::Secured->new(
	listeners => { sasl => 'SASL_SSL' },
	conf => "log_min_messages = debug2\n",
	settings => {
		'sasl.enabled.mechanisms' => 'OAUTHBEARER',
		# unless it is told so, Kafka looks at no signature
		'sasl.oauthbearer.jwt.validator.class' => "$jaas.BrokerJwtValidator",
		'sasl.oauthbearer.jwks.endpoint.url' => $jwks,
		'sasl.oauthbearer.expected.audience' => 'kafka',
		'sasl.oauthbearer.expected.issuer' => 'tokens',
		map { ("listener.name.sasl.oauthbearer.$_->[0]" => $_->[1]) }
		[ 'sasl.jaas.config' => "$jaas.OAuthBearerLoginModule required;" ],
		[ 'sasl.server.callback.handler.class' => "$jaas.OAuthBearerValidatorCallbackHandler" ],
		[ 'connections.max.reauth.ms' => 3600000 ]
	});
my @with = ('sasl', 'security.protocol=sasl_ssl', $secured->trusting, 'sasl.mechanism=OAUTHBEARER');
my @oidc = (@with, 'sasl.oauthbearer.method=oidc', 'sasl.oauthbearer.client.id=me',
	"sasl.oauthbearer.token.endpoint.url=http://127.0.0.1:$port/token");
my @right = (@oidc, 'sasl.oauthbearer.client.secret=hush-client');

$secured->publishes('with TLS', 'plain');
$secured->not_taken('nobody fetches a token', qr/sasl\.oauthbearer\.method" must be "oidc"/, @with);
if (qx(kcat -V) !~ m{builtin\.features=\S*\boidc\b})
{
	$secured->not_taken('no OIDC here', qr/needs a librdkafka that was built with OIDC/, @right);
	$secured->not_taken('the secret first', qr/needs a librdkafka that was built with OIDC/,
		'sasl', 'sasl.oauthbearer.client.secret=hush-client', @right[ 1 .. $#right ]);
	$secured->check('hush');
	$secured->node->stop;
	done_testing();
	exit;
}

ask('mode ok 6');
$secured->publishes('a token', @right);

# Tokens for 6 s, for some time
my $from = log_end($secured->node);
my $script = q{SELECT outbox_emit('t', 'k' || (random() * 10)::int, clock_timestamp()::text);};
pgbench($secured->node, $script, clients => 2, rate => 50, duration => 15);
ok(wait_published($secured->node), 'tokens expire, and are renewed');
cmp_ok(ask('stats'), '>=', 3, 'by the token server');
# a login on an open connection may fail in the library, when a request crosses
# it; then there is another connection at once
is(log_lines($secured->node, $from, qr/Kafka (?:refuses|knows)|no token/), 0,
	'nobody is refused');

# One is still good when the next one cannot be had.
ask('mode down');
ask('mode down');
my $hint = qr/sasl\.oauthbearer\.token\.endpoint\.url/;
$secured->publishes('down, and the token is good');
wait_until(undef,
	sub { $secured->emit; return relay_state($secured->node) ne 'publishing' },
	'its time is over');
$secured->refused('down, and it has expired', 'unauthenticated', qr/There is no token to log in with/, $hint);
ask('mode ok');
$secured->publishes('up again, by itself');

$secured->refused('a wrong secret', 'unauthenticated',
	qr/no token to log in with: .*invalid_client/, $hint,
	@oidc, 'sasl.oauthbearer.client.secret=hush-wrong');
ask('mode wordy');
my $told = $secured->refused('all that we have sent comes back', 'unauthenticated',
	qr/no token to log in with: .*you have sent/, $hint, @right);
unlike($told, qr/Basic \w|hush/, 'and is not told');
ask('mode forged');
$secured->refused('a forged token', 'unauthenticated', qr/Kafka refuses our token/,
	qr/audience/, @right, 'client.id=other');
ask('mode ok');
$secured->publishes('a good one, by itself');

# the client's id and secret, and the beginning of each token, in Base64
$secured->check('hush|bWU6aHVz|eyJ');
$secured->node->stop;
done_testing();
