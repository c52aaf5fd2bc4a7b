package OutboxTest::Secured;

# A real Kafka with a listener for each way to be secured, and a server that
# publishes to it; and what tests ask of them.
#
#	my $secured = OutboxTest::Secured->new(
#		listeners => { tls => 'SSL', sasl => 'SASL_SSL' },
#		settings => { 'sasl.enabled.mechanisms' => 'PLAIN' });
#	$secured->publishes('with TLS', 'tls', $secured->trusting, ...);
#	$secured->refused('without', 'unavailable', qr/words/, qr/hint/, 'tls');
#	$secured->check;

use strict;
use warnings;

use Carp;
use OutboxTest;
use OutboxTest::Certificates;
use OutboxTest::Server;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils qw(append_to_file slurp_file);
use Test::More;

# Why there is none for this test, or undef if there can be
sub skip_reason
{
	return OutboxTest::Kafka->skip_reason // OutboxTest::Certificates->skip_reason;
}

# The version of librdkafka as a number: 2.0601 is 2.6.1
sub library
{
	return qx(kcat -V) =~ /librdkafka (\d+)\.(\d+)\.(\d+)/
	  ? sprintf('%d.%02d%02d', $1, $2, $3)
	  : croak 'which librdkafka?';
}

# listeners: protocols by names in lower case; settings of Kafka; conf: lines of
# postgresql.conf. The authority is "ca", and the broker's certificate "broker".
sub new
{
	my ($class, %opt) = @_;
	my $made = OutboxTest::Certificates->new;
	my $dir = $made->dir;
	my @names = sort keys %{ $opt{listeners} };
	my %port = map { $_ => PostgreSQL::Test::Cluster::get_free_port() } @names;
	my $kafka = OutboxTest::Kafka->new(start => 0);

	$made->authority('ca');
	$made->certificate('broker', host => 'localhost');
	$kafka->{settings} = {
		'num.partitions' => 2,
		'listeners' => join(',',
			"PLAINTEXT://127.0.0.1:$kafka->{port}",
			"CONTROLLER://127.0.0.1:$kafka->{controller_port}",
			map { uc($_) . "://127.0.0.1:$port{$_}" } @names),
		'advertised.listeners' => join(',',
			"PLAINTEXT://127.0.0.1:$kafka->{port}",
			map { uc($_) . "://localhost:$port{$_}" } @names),
		'listener.security.protocol.map' => join(',',
			'PLAINTEXT:PLAINTEXT', 'CONTROLLER:PLAINTEXT',
			map { uc($_) . ":$opt{listeners}->{$_}" } @names),
		'ssl.keystore.type' => 'PEM',
		'ssl.keystore.location' => "$dir/broker.both",
		'ssl.truststore.type' => 'PEM',
		'ssl.truststore.location' => "$dir/ca.pem",
		%{ $opt{settings} // {} }
	};
	$kafka->start;
	$kafka->create_topic('t', 2);
	my $node = outbox_node('main', extension => 1, conf => <<~END . ($opt{conf} // ''));
		outbox.kafka_properties_file = 'kafka.properties'
		log_connections = on
		END

	return bless {
		made => $made, port => { %port, plain => $kafka->{port} },
		kafka => $kafka, node => $node, published => 0,
		consumer => OutboxTest::Consumer->new(bootstrap => $kafka->bootstrap),
	}, $class;
}

sub made { return $_[0]->{made}; }
sub kafka { return $_[0]->{kafka}; }
sub node { return $_[0]->{node}; }
sub dir { return $_[0]->{made}->dir; }

# Properties: of TLS, with our authority, or another one
sub tls
{
	my ($self, $authority) = @_;

	return ('security.protocol=ssl', $self->trusting($authority));
}

sub trusting
{
	my ($self, $authority) = @_;

	return 'ssl.ca.location=' . $self->dir . '/' . ($authority // 'ca') . '.pem';
}

# ... and of a certificate of ours
sub key
{
	my ($self, $name) = @_;
	my $path = $self->dir . "/$name";

	return ("ssl.certificate.location=$path.pem", "ssl.key.location=$path.key");
}

sub emit { return query(q{SELECT count(outbox_emit('t', i % 7, i::text)) FROM generate_series(1, 100) i}); }

# Reloads with other properties; the listener may be 'name@host', to connect to
# it by another name. Returns where the log was.
sub use_properties
{
	my ($self, $listener, @properties) = @_;
	my $host = $listener =~ s/@(.*)// ? $1 : 'localhost';
	my $file = $self->node->data_dir . '/kafka.properties';
	my $from = log_end($self->node);

	unlink $file;
	append_to_file($file, join "\n", 'broker.address.family=v4', @properties, '');
	chmod 0600, $file;
	conf_reload($self->node, "outbox.bootstrap_servers = '$host:$self->{port}->{$listener}'");
	return $from;
}

# All that is emitted goes out, with these properties or those of before.
sub publishes
{
	my ($self, $name, @properties) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$self->use_properties(@properties) if @properties;
	$self->emit;
	wait_until(undef, sub { relay_state($self->node) eq 'publishing' }, $name);
	ok(wait_published($self->node), "$name: published");
	$self->{published} = log_end($self->node);
	return;
}

# Nothing goes out, for a reason that is told: since the properties were
# changed, or since it last published (a broker that comes back may refuse
# before we look). Returns the reason.
sub refused
{
	my ($self, $name, $state, $words, $hint, @properties) = @_;
	my $node = $self->node;
	my $from = @properties ? $self->use_properties(@properties) : $self->{published};
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$self->emit;
	eval {
		wait_until(undef,
			sub { relay_state($node) eq $state && log_lines($node, $from, $words) }, $name);
	} or croak "$name: " . query('SELECT state, last_error FROM outbox.stat_relay');
	ok(log_lines($node, $from, $hint), "$name: its advice");
	my ($told) = log_lines($node, $from, $words);
	note $told;
	return $told;
}

# New properties are not taken at all.
sub not_taken
{
	my ($self, $name, $words, @properties) = @_;
	my $from = $self->use_properties(@properties);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	conf_reload($self->node);
	my ($told) = log_lines($self->node, $from, qr/keeps its settings/);
	like($told, $words, "$name: refused");
	$self->emit;
	ok(wait_published($self->node), "$name: it goes on with the old ones");
	return;
}

# All has arrived once, and no secret (a pattern) is shown anywhere.
sub check
{
	my ($self, $secret) = @_;
	my $node = $self->node;
	my $pid = relay_pid($node);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	ok($self->{consumer}->drain, 'read');
	is(check_delivery([ events($node) ], [ $self->{consumer}->records ]), 0,
		'nothing is lost or repeated');
	unlike(slurp_file($node->logfile), qr/$secret/, 'no secret in the log');
	is( query("SELECT count(*) FROM pg_settings s WHERE s::text ~ '$secret'"),
		0, 'in a setting');
	is( query("SELECT count(*) FROM outbox.stat_relay r WHERE r::text ~ '$secret'"),
		0, 'in a view');
	is( query("SELECT count(*) FROM pg_stat_activity a WHERE a::text ~ '$secret' AND pid <> pg_backend_pid()"),
		0, 'in an activity');
	unlike(slurp_file("/proc/$pid/cmdline"), qr/$secret/, 'in the title');
	return;
}

1;
