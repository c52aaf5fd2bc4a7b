# Properties that break a promise, hide a secret, or make the relay wait.
#
# Catches: a refused property that passes under another name (librdkafka strips
# "topic."), in other letters, or with a value in other letters; secrets by
# names that nobody has listed, in a setting that monitors can read; harmless
# ones that are refused; a file that is a pipe, which nobody writes to; a server
# that starts with settings that cannot be used, and publishes by the defaults.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use POSIX qw(mkfifo);
use PostgreSQL::Test::Utils ();
use Test::More;

my $secret = 'M4rkedS3cret';
my $mock = OutboxTest::Mock->new;
my $node = outbox_node('main', bootstrap => $mock->bootstrap, extension => 1);
my $dir = $node->data_dir;

# What ALTER SYSTEM says to a property; '' if nothing.
sub alter
{
	my ($property) = @_;
	my ($status, $out, $err) = $node->psql('postgres',
		"ALTER SYSTEM SET outbox.kafka_properties = '$property'");

	return $err =~ /DETAIL:  (.*)/ ? $1 : $err;
}

sub all_said
{
	my ($pattern, $name, @properties) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my @other = map { my $said = alter($_); $said =~ $pattern ? () : "$_: $said" } @properties;

	return is(join("\n", @other), '', $name);
}

all_said(qr/can(not| only) be/, 'under other names, in other letters',
	qw(topic.partitioner=random partitioner=RANDOM Topic.Partitioner=Random
	  topic.acks=1 topic.request.required.acks=0 TOPIC.acks=0 topic.retries=0
	  topic.message.timeout.ms=1000 topic.delivery.timeout.ms=1 topic.dr_cb=1
	  topic.queuing.strategy=lifo topic.partitioner_cb=1 topic.msg_order_cmp=1
	  topic.plugin.library.paths=x topic.topic.blacklist=x topic.opaque=1
	  ut_handle_ProduceResponse=x topic.ut_anything=1));
all_said(qr/can(not| only) be/, 'what would make a subscription miss messages, or join a group',
	qw(auto.offset.reset=earliest topic.auto.offset.reset=latest isolation.level=read_uncommitted
	  check.crcs=false enable.auto.commit=true topic.auto.commit.enable=true
	  enable.auto.offset.store=true enable.partition.eof=false group.id=g Topic.Group.Id=g
	  group.instance.id=g allow.auto.create.topics=true queued.max.messages.kbytes=1
	  offset_commit_cb=1));
all_said(qr/holds a secret/, 'secrets, known and unknown',
	qw(sasl.password=x ssl.key.password=x ssl.keystore.password=x ssl.key.pem=x
	  sasl.oauthbearer.client.secret=x SASL.OAuthBearer.Client.Secret=x
	  sasl.oauthbearer.client.credentials.client.secret=x
	  sasl.oauthbearer.assertion.private.key.passphrase=x
	  sasl.oauthbearer.assertion.private.key.pem=x sasl.oauthbearer.config=x
	  topic.sasl.password=x sasl.jaas.config=x some.new.passphrase=x
	  any.access.token=x basic.auth.credentials=x my.passwd=x
	  sasl.oauthbearer.token.endpoint.url=https://me:hush@idp/token
	  security.protocol=sasl_ssl;sasl.password=x client.id=a;b=c;;sasl.password=x));
all_said(qr/^$/, 'harmless ones',
	qw(sasl.oauthbearer.token.endpoint.url=https://idp.example.com/token?a=b@c
	  sasl.oauthbearer.assertion.private.key.file=/etc/key.pem
	  sasl.oauthbearer.assertion.claim.iss=me ssl.ca.location=/etc/ca.pem
	  sasl.oauthbearer.client.credentials.client.id=me topic.partitioner=murmur2
	  isolation.level=read_committed fetch.wait.max.ms=100 client.rack=a
	  ssl.key.location=/etc/key.pem topic.acks=all sasl.username=me));
query('ALTER SYSTEM RESET outbox.kafka_properties');

# What has passed by name is looked at again by what the library makes of it.
sub refused
{
	my ($name, $pattern, $lines) = @_;
	my $from = log_end($node);
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	conf_taken($node, $lines);
	is(log_lines($node, $from, qr/keeps its settings: .*$pattern/), 1, "$name: refused");
	query("SELECT outbox_emit('t', 'k', 'going on')");
	return ok(wait_published($node), "$name: it goes on with the old ones");
}
conf_reload($node, "outbox.kafka_properties = 'message.max.bytes=1000'");
query("SELECT outbox_emit('t', 'k', repeat('x', 100000))");
ok(wait_published($node), 'message.max.bytes does not refuse an event');
is(query('SELECT count(*) FROM outbox.dead_letter'), 0, '... nor make it a dead letter');

# Files, and what only looks like one. Nobody writes to the pipe.
mkfifo("$dir/pipe", 0600) or die "mkfifo: $!";
PostgreSQL::Test::Utils::append_to_file("$dir/large", "#\n" x 200_000);
PostgreSQL::Test::Utils::append_to_file("$dir/binary", "client.id=x\n\0acks=1\n");
mkdir "$dir/directory", 0700;
symlink 'loop', "$dir/loop";
chmod 0600, map { "$dir/$_" } qw(large binary);
my $file = 'outbox.kafka_properties_file';
refused('pipe', qr/"pipe" is not a regular file/, "$file = 'pipe'");
refused('device', qr/is not a regular file/, "$file = '/dev/zero'");
refused('directory', qr/is not a regular file/, "$file = 'directory'");
refused('loop', qr/Could not open file "loop"/, "$file = 'loop'");
refused('large', qr/"large" is larger than 256 kB/, "$file = 'large'");
refused('binary', qr/"binary" is not a text/, "$file = 'binary'");
conf_reload($node, "$file = ''");
refused($_, qr/"$_" names is neither a file nor a directory/,
	"outbox.kafka_properties = 'security.protocol=ssl $_=$dir/pipe'")
  for qw(ssl.ca.location ssl.crl.location ssl.key.location
  ssl.certificate.location ssl.keystore.location);
conf_reload($node, "outbox.kafka_properties = ''");

# The server starts with properties that are refused.
$node->append_conf('postgresql.conf',
	"outbox.kafka_properties = 'partitioner=fnv1a sasl.password=$secret'");
my $from = log_end($node);
$node->restart;
$node->poll_query_until('postgres',
	"SELECT state = 'unconfigured' AND last_error IS NOT NULL FROM outbox.stat_relay")
  or die 'it publishes by the defaults';
is(log_lines($node, $from, qr/WARNING:  invalid value for parameter "outbox.kafka_properties"/),
	1, 'refused at the start: told');
query("SELECT outbox_emit('t', 'k', 'waits')");
is(query("SELECT outbox.wait_published('200 ms')"), 'f', '... and nothing is published');
unlike(query('SHOW outbox.kafka_properties'), qr/\Q$secret/, '... nor the secret shown');
conf_reload($node, "outbox.kafka_properties = 'partitioner=fnv1a'");
ok(wait_published($node), '... until it is corrected');
unlike(PostgreSQL::Test::Utils::slurp_file($node->logfile), qr/\Q$secret/,
	'no secret in the log');

$node->append_conf('postgresql.conf', "outbox.databases = 'a,,b'");
$node->restart;
$node->poll_query_until('postgres', "SELECT state = 'disabled' FROM outbox.stat_relay")
  or die 'a list that cannot be read means all databases';
pass('outbox.databases refused at the start: no database is allowed');

$node->stop;
done_testing();
