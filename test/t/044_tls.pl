# Why brokers cannot be talked to: whether we do not trust their certificate,
# because of its authority, its host or its date, or they do not trust ours, or
# refuse our login; each with its own words, state and advice.
#
# Catches: a relay that says that Kafka refuses our credentials when it is we
# who refuse Kafka's; and one that, trusting nobody, does not go on by itself.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use PostgreSQL::Test::Utils;
use Test::More;

plan skip_all => 'there is no openssl' if system('openssl version >/dev/null 2>&1') != 0;

my $dir = PostgreSQL::Test::Utils::tempdir('tls');
my $hostile = OutboxTest::Hostile->new;
my $node = outbox_node('main', extension => 1,
	conf => "outbox.kafka_properties_file = 'kafka.properties'");
my $file = $node->data_dir . '/kafka.properties';

sub openssl
{
	my ($err, $out);

	IPC::Run::run([ 'openssl', @_ ], '>', \$out, '2>', \$err) or die "openssl @_: $err";
	return;
}

# A certificate of "ca", "stranger", or signed by "ca".
sub authority
{
	my ($name) = @_;

	return openssl(
		qw(req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2),
		'-subj', "/CN=$name", '-addext', 'subjectAltName=DNS:localhost',
		'-keyout', "$dir/$name.key", '-out', "$dir/$name.pem");
}

sub certificate
{
	my ($name, $host, @dates) = @_;

	append_to_file("$dir/$name.conf", "subjectAltName=DNS:$host\n");
	openssl(qw(req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes),
		'-subj', "/CN=$host", '-keyout', "$dir/$name.key", '-out', "$dir/$name.csr");
	append_to_file("$dir/ca.index", '');
	append_to_file("$dir/ca.conf", <<~END) unless -e "$dir/ca.conf";
		[ca]
		default_ca = our
		[our]
		database = $dir/ca.index
		serial = $dir/ca.serial
		new_certs_dir = $dir
		default_md = sha256
		unique_subject = no
		policy = any
		[any]
		commonName = supplied
		END
	return openssl(
		qw(ca -batch -notext -create_serial), '-config', "$dir/ca.conf",
		'-cert', "$dir/ca.pem", '-keyfile', "$dir/ca.key", '-extfile', "$dir/$name.conf",
		'-in', "$dir/$name.csr", '-out', "$dir/$name.pem", @dates);
}

authority($_) for qw(ca stranger);
certificate('fine', 'localhost', '-days', 2);
certificate('other', 'kafka.example.com', '-days', 2);
certificate('expired', 'localhost', '-startdate', '20200101000000Z',
	'-enddate', '20200102000000Z');
certificate('future', 'localhost', '-startdate', '20990101000000Z',
	'-enddate', '20990102000000Z');

# Stands in for a broker as far as its handshake, at a port of the system's
# choice.
my $servers = 0;
sub server
{
	my ($name, @options) = @_;
	my $out = "$dir/server." . ++$servers;
	my $port;
	my $process = OutboxTest::Process->new(
		command => [
			'sh', '-c', 'exec openssl s_server "$@" >"$0"', $out,
			'-accept', '127.0.0.1:0',
			'-cert', "$dir/$name.pem", '-key', "$dir/$name.key", @options
		],
		log => "$dir/$name.log",
		pipes => 1);

	wait_until(
		undef,
		sub {
			die "openssl s_server $name: " . $process->log_tail
			  unless $process->is_running;
			($port) = slurp_file($out) =~ /^ACCEPT 127\.0\.0\.1:(\d+)/m if -e $out;
			return $port;
		},
		"openssl s_server $name");
	return { process => $process, bootstrap => "localhost:$port" };
}

# The relay cannot publish to a broker, and says so once.
sub says
{
	my ($name, $bootstrap, $properties, $state, $words, $hint) = @_;
	my $from = log_end($node);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	unlink $file;
	append_to_file($file, join "\n", 'broker.address.family=v4', @$properties, '');
	chmod 0600, $file;
	$node->append_conf('postgresql.conf', "outbox.bootstrap_servers = '$bootstrap'");
	$node->reload;
	# the old one would wait for answers
	my $pid = replace_relay($node, state => $state);
	wait_until(undef, sub { log_lines($node, $from, qr/\[$pid\] DETAIL: .*$words/) }, $name);
	is(log_lines($node, $from, qr/\[$pid\] LOG: .*: publishing -> $state$/), 1, "$name: $state, told once");
	is(log_lines($node, $from, qr/\[$pid\] DETAIL: .*$words/), 1, "$name: in these words");
	is(log_lines($node, $from, qr/\[$pid\] HINT: .*$hint/), 1, "$name: with this advice")
	  if $hint;
	note $node->safe_psql('postgres', 'SELECT last_error FROM outbox.stat_relay');
	return;
}

my @tls = ('security.protocol=ssl', "ssl.ca.location=$dir/ca.pem");
# of an authority that they know: newer versions of OpenSSL do not show others
my @secrets = ("ssl.certificate.location=$dir/expired.pem",
	"ssl.key.location=$dir/expired.key");
my %server = (
	stranger => server('stranger'),
	other => server('other'),
	expired => server('expired'),
	future => server('future'),
	fine => server('fine'),
	demanding => server('fine', '-Verify', 1, '-CAfile', "$dir/ca.pem", '-verify_return_error'),
	demanding_1_2 => server('fine', '-tls1_2', '-Verify', 1, '-CAfile', "$dir/ca.pem",
		'-verify_return_error'));
$node->safe_psql('postgres', q{SELECT outbox_emit('t', 'k', 'x')});

says('another authority', $server{stranger}->{bootstrap}, \@tls, 'untrusted',
	qr/We do not trust Kafka's certificate: .*localhost.*CN=stranger.*self-signed/,
	qr/ssl.ca.location/);
says('another host', $server{other}->{bootstrap}, \@tls, 'untrusted',
	qr/certificate is of another host: .*CN=kafka.example.com.*another host/,
	qr/advertised.listeners/);
says('expired', $server{expired}->{bootstrap}, \@tls, 'untrusted',
	qr/certificate is not valid now: .*CN=localhost.*has expired/, qr/Renew/);
says('not valid yet', $server{future}->{bootstrap}, \@tls, 'untrusted',
	qr/certificate is not valid now: .*CN=localhost.*not valid yet/, qr/clock/);
says('trusted', $server{fine}->{bootstrap}, \@tls, 'unavailable',
	qr/Kafka is unavailable/);
says('no certificate of ours', $server{demanding}->{bootstrap}, \@tls, 'unauthenticated',
	qr/Kafka wants a certificate of ours: .*alert/, qr/ssl.certificate.location/);
says('one that they do not trust', $server{demanding_1_2}->{bootstrap},
	[ @tls, @secrets ], 'unauthenticated',
	qr/Kafka refuses our certificate: .*alert/, qr/ssl.certificate.location/);
$hostile->mode('http');
says('no TLS', $hostile->bootstrap, \@tls, 'unavailable',
	qr/do not agree about TLS: .*wrong version/, qr/security.protocol/);
$hostile->mode('login');
says('login', $hostile->bootstrap,
	[ qw(security.protocol=sasl_plaintext sasl.mechanism=PLAIN sasl.username=me sasl.password=hush) ],
	'unauthenticated', qr/Kafka refuses our credentials: .*Authentication failed/, qr/sasl/);

# ... and it goes on once the brokers are fine, without being told
$hostile->mode('ok');
ok(wait_published($node), 'published when the login is right');
is(relay_state($node), 'publishing', 'state');
unlike(slurp_file($node->logfile), qr/hush/, 'no secret in the log');

$node->stop;
done_testing();
