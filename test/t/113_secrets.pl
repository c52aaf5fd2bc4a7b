# Secrets are shown nowhere: with all that PostgreSQL and librdkafka can be made
# to log, by a broker that repeats our password in its error, in errors about the
# file that has them, and after the relay has crashed.
#
# Catches: a message of the library or of a broker that is handed on as it is; a
# refused property whose value is told; a property that only some of the checks
# know to be secret.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use PostgreSQL::Test::Utils qw(append_to_file slurp_file);
use Test::More;

my $hostile = OutboxTest::Hostile->new;
my $node = outbox_node('main', bootstrap => $hostile->bootstrap, extension => 1,
	conf => <<~'END');
		outbox.kafka_properties_file = 'kafka.properties'
		log_min_messages = debug5
		log_statement = all
		log_error_verbosity = verbose
		log_connections = on
		restart_after_crash = on
		END
my $file = $node->data_dir . '/kafka.properties';

# Reloads with other properties.
sub use_properties
{
	my (@properties) = @_;

	unlink $file;
	append_to_file($file, join "\n", @properties, '');
	chmod 0600, $file;
	conf_taken($node);
	return;
}

# Wherever anybody could look. The password has the characters of which Base64
# makes what is searched for, too.
sub is_hidden
{
	my ($name) = @_;
	my $secret = 'hush|aHVz|h1c2|odXNo';
	my $pid = outbox_pid($node, 'postgres');
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	unlike(slurp_file($node->logfile), qr/$secret/, "$name: in the log");
	for my $view (qw(pg_settings pg_file_settings outbox.stat_relay outbox.relay
		outbox.dead_letter outbox.blocked))
	{
		is(query("SELECT count(*) FROM $view v WHERE v::text ~ 'hus[h]'"), 0, "$name: $view");
	}
	is( query(q{SELECT count(*) FROM pg_stat_activity a WHERE a::text ~ 'hus[h]'}),
		0, "$name: an activity");
	unlike(slurp_file("/proc/$pid/cmdline"), qr/hush/, "$name: the title");
	unlike(slurp_file("/proc/$pid/environ"), qr/hush/, "$name: the environment");
	is(qx(grep -rl hush '${\ $node->data_dir }/outbox' '${\ $node->data_dir }/pg_stat' 2>/dev/null), '',
		"$name: a file of ours");
	return;
}

my @login = ('security.protocol=sasl_plaintext', 'sasl.mechanism=PLAIN', 'sasl.username=me',
	'sasl.password=hush');
query("SELECT outbox_emit('t', 'k', 'x')");
$hostile->mode('login_echo');
use_properties(@login, 'debug=all');
wait_state($node, 'unauthenticated');
my $told = wait_until(undef,
	sub { query('SELECT last_error FROM outbox.stat_relay') =~ /(Authentication failed.*)/ && $1 },
	'refused');
like($told, qr/Authentication failed: me \[\.\.\.\]/, 'the broker repeats it, and it is cut off');
ok(log_lines($node, 0, qr/librdkafka: .*\[thrd:/), 'what the library debugs is logged');
is_hidden('a login');

# Refused, one way or another
for my $properties (
	[ 'sasl.password=hush', 'no.such.property=hush' ],
	[ 'ssl.key.password=hush', 'ssl.keystore.password=hush', 'acks=hush' ],
	[ 'ssl.key.pem=hush', 'security.protocol=ssl' ],
	[ 'sasl.oauthbearer.client.secret=hush', 'sasl.mechanism=OAUTHBEARER' ],
	[ 'sasl.password=hush', 'hush' ],
	[ 'enable.sasl.oauthbearer.unsecure.jwt=hush', 'sasl.password=hush' ])
{
	my $from = log_end($node);

	use_properties(@$properties);
	ok(log_lines($node, $from, qr/keeps its settings/), "refused: @$properties");
}
is_hidden('refused');

$hostile->mode('ok');
use_properties(@login, 'debug=all');
ok(wait_published($node), 'published');
is_hidden('published');

# A crash leaves a note.
my $pid = relay_pid($node);
kill 'SEGV', $pid;
$node->poll_query_until('postgres', "SELECT pid <> $pid FROM outbox.stat_relay WHERE pid IS NOT NULL")
  or die 'no other relay';
query("SELECT outbox_emit('t', 'k', 'y')");
ok(wait_published($node), 'it goes on after a crash');
is_hidden('a crash');

$node->stop;
done_testing();
