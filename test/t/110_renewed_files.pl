# Certificates, keys and all other files that properties name, renewed on disk:
# a reload takes them, though not a word of the settings has changed; one that is
# missing or unreadable leaves what runs running.
#
# Catches: a relay that goes on with a certificate until it expires, because
# only the settings were compared; one that stops because a reload came while a
# file was being replaced, or that tells so at each reload; one that opens new
# connections at each reload though nothing has changed.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Certificates;
use OutboxTest::Server;
use PostgreSQL::Test::Utils qw(append_to_file slurp_file);
use Test::More;

my $why = OutboxTest::Certificates->skip_reason;
plan skip_all => $why if $why;

my $mock = OutboxTest::Mock->new;
my $made = OutboxTest::Certificates->new;
my $dir = $made->dir;
my $node = outbox_node('main', bootstrap => $mock->bootstrap, extension => 1,
	conf => "outbox.kafka_properties_file = 'kafka.properties'");
my $file = $node->data_dir . '/kafka.properties';

sub write_file
{
	my ($path, $text) = @_;

	unlink $path;
	append_to_file($path, $text);
	chmod 0600, $path;
	return;
}

# Reloads, and returns what the relay says: taken, or why not, and the advice.
sub reload
{
	my $from = log_end($node);

	conf_taken($node);
	my ($said) = log_lines($node, $from, qr/(?:publishes to|keeps its settings)/);
	my ($hint) = log_lines($node, $from, qr/HINT/);
	return ($said // 'nothing', $hint // 'nothing');
}

sub is_taken { my ($said) = reload(); return like($said, qr/publishes to/, $_[0]); }
sub is_silent { my ($said) = reload(); return is($said, 'nothing', $_[0]); }

sub is_refused
{
	my ($name, $pattern) = @_;
	my ($said, $hint) = reload();
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	like($said, qr/keeps its settings: .*$pattern/, $name);
	like($hint, qr/Put a file there/, "$name: its advice");
	is_silent("$name: told once");
	query("SELECT outbox_emit('t', 'k', 'going on')");
	return ok(wait_published($node), "$name: it goes on");
}

# The mock broker has no TLS: the library reads none of these, but it is told
# to, and whether we notice is what counts.
write_file($file, "client.id=x\n");
reload();
my @tried;
for my $property (qw(https.ca.location sasl.kerberos.keytab
	sasl.oauthbearer.assertion.file sasl.oauthbearer.assertion.jwt.template.file
	sasl.oauthbearer.assertion.private.key.file ssl.ca.location
	ssl.certificate.location ssl.crl.location ssl.key.location
	ssl.keystore.location))
{
	my $path = "$dir/$property";

	write_file($path, 'old');
	write_file($file, "ssl.keystore.password=x\n$property=$path\n");
	my ($said) = reload();
	if ($said =~ /No such configuration property|not supported in this build/)
	{
		note "this librdkafka has no $property";
		next;
	}
	push @tried, $property;
	like($said, qr/publishes to/, "$property: set");
	is_silent("$property: nothing has changed");

	# of the same size, with the dates of the old one
	my ($atime, $mtime) = (stat $path)[ 8, 9 ];
	write_file("$path.new", 'new');
	utime $atime, $mtime, "$path.new";
	rename "$path.new", $path or die "rename: $!";
	is_taken("$property: renewed");

	unlink $path;
	is_refused("$property: missing", qr/"\Q$path\E".*"$property" names: No such file/);
	write_file($path, 'new');
	chmod 0, $path;
	is_refused("$property: unreadable", qr/"$property" names: Permission denied/);
	chmod 0600, $path;
	is_taken("$property: readable again");
}
cmp_ok(scalar @tried, '>=', 6, 'properties that this librdkafka has');

# In place, behind a link, in a directory; and what is not in use
mkdir "$dir/certs" or die "mkdir: $!";
mkdir "$dir/$_" for qw(1 2);
append_to_file("$dir/$_/ca.pem", $_) for 1, 2;
append_to_file("$dir/certs/ca.pem", 'old');
symlink '1', "$dir/current" or die "symlink: $!";
write_file($file, "ssl.ca.location=$dir/certs\nssl.crl.location=$dir/nowhere\n"
	  . "ssl.crl.location=$dir/current/ca.pem\n");
is_taken('a directory, a link, and a file that a later line replaces');
append_to_file("$dir/certs/ca.pem", 'new');
is_taken('appended to, in a directory');
append_to_file("$dir/certs/more.pem", 'new');
is_taken('another one, in a directory');
symlink '2', "$dir/next" or die "symlink: $!";
rename "$dir/next", "$dir/current" or die "rename: $!";
is_taken('the link leads to another one');
is_silent('and nothing has changed');

# What a broker sees: our certificate, as it is on disk at the last reload.
$made->authority('ca');
$made->certificate('broker', host => 'localhost');
$made->certificate('ours', host => 'first.example.com');
my $out = "$dir/server.out";
my $server = OutboxTest::Process->new(
	command => [
		'sh', '-c', 'exec openssl s_server "$@" >"$0" 2>&1', $out,
		'-accept', '127.0.0.1:0', '-tls1_2', '-Verify', 1, '-CAfile', "$dir/ca.pem",
		'-cert', "$dir/broker.pem", '-key', "$dir/broker.key"
	],
	log => '/dev/null',
	pipes => 1);
my ($port) = @{ wait_until(undef,
	sub { -e $out && slurp_file($out) =~ /^ACCEPT 127\.0\.0\.1:(\d+)/m && [$1] },
	'openssl s_server') };

sub shows { my ($host) = @_; return wait_until(undef, sub { slurp_file($out) =~ /CN ?= ?\Q$host\E/ }, $host); }

write_file($file, join "\n", 'broker.address.family=v4', 'security.protocol=ssl',
	"ssl.ca.location=$dir/ca.pem", "ssl.certificate.location=$dir/ours.pem",
	"ssl.key.location=$dir/ours.key", '');
conf_reload($node, "outbox.bootstrap_servers = 'localhost:$port'");
ok(shows('first.example.com'), 'the broker sees our certificate');
# told a moment later, and not to be taken for what the next reload says
wait_until(undef, sub { log_lines($node, 0, qr/publishes to localhost:$port/) }, 'told');
rename "$dir/ours.key", "$dir/first.key" or die "rename: $!";
$made->certificate('ours', host => 'second.example.com');
rename "$dir/ours.key", "$dir/second.key" or die "rename: $!";
write_file("$dir/ours.key", slurp_file("$dir/first.key"));
my ($said) = reload();
like($said, qr/keeps its settings: .*ssl\.key\.location/, 'half renewed: it goes on with the old one');
rename "$dir/second.key", "$dir/ours.key" or die "rename: $!";
is_taken('renewed');
ok(shows('second.example.com'), 'the broker sees the new one');

$node->stop;
done_testing();
