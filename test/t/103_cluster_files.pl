# Where another relay than "default" publishes to: the file of its name, as
# Kafka's own clients have it.
#
# Catches: a relay that publishes without its file, or does not say which one it
# wants; a file that others can write, or that is none, taken all the same;
# Java's escapes and names misunderstood; a secret told; a change that is not
# taken at a reload; one that costs more than its process while it has nothing.

use strict;
use warnings;

use File::Copy qw(move);
use File::Path qw(make_path);
use OutboxTest;
use OutboxTest::Server;
use PostgreSQL::Test::Utils;
use Test::More;

my ($ours, $theirs, $third) = map { OutboxTest::Mock->new } 1 .. 3;
my $consumer = OutboxTest::Consumer->new(bootstrap => $theirs->bootstrap);
my $node = outbox_node('main', bootstrap => $ours->bootstrap, extension => 1,
	conf => 'max_worker_processes = 12');
my $dir = $node->data_dir . '/outbox.d';
my $file = "$dir/audit.properties";

make_path($dir);
query(q(SELECT outbox.create_relay('audit')));

sub audit { return query("SELECT $_[0] FROM outbox.stat_relay WHERE relay = 'audit'"); }

sub wait_audit
{
	my ($state, $error, $name) = @_;
	my $is = '';

	eval {
		wait_until(undef,
			sub { ($is = audit(q(format('%s: %s', state, last_error)))) =~ /^$state: .*$error/s });
	};
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return like($is, qr/^$state: .*$error/s, $name);
}

# The file has this text, and the relay looks at it.
sub file_has
{
	my ($text, $mode) = @_;

	unlink $file;
	append_to_file($file, $text);
	chmod $mode // 0600, $file or die "$file: $!";
	$node->reload;
	return;
}

wait_audit('unconfigured', qr/there is no file "\Q$file\E"/, 'it says which file it wants');
my $pid = audit('pid');
is(scalar(() = glob "/proc/$pid/task/*"), 1, '... and has no threads of a library');
is(log_lines($node, 0, qr/HINT:  Write bootstrap\.servers = host:port into that file/), 1,
	'... and tells once what to do');
query(q(SELECT outbox_emit('t', 'k', 'first')));

note 'what is refused';
my $server = 'bootstrap.servers=' . $theirs->bootstrap . "\n";
for my $case (
	[ "$server", qr/must be owned by the server's user and have mode 0600/, 0640 ],
	[ '', qr/has no bootstrap\.servers/ ],
	[ "bootstrap.servers = ,\n", qr/has no bootstrap\.servers/ ],
	[ "${server}nonsense\n", qr/Line 2 of the file is not name=value/ ],
	[ "# a\n\\\n\n${server}=x\n", qr/Line 5 of the file is not name=value/ ],
	[ "${server}client.id=\\u12\n", qr/Line 2 of the file has a \\u that is not followed/ ],
	[ "${server}client.id=\\u0000\n", qr/Line 2 of the file has a \\u that is not followed/ ],
	[ "${server}a=b\0c\n", qr/is not a text/ ],
	[ $server . '#' x (256 * 1024), qr/is larger than 256 kB/ ],
	[ "${server}acks=1\n", qr/Property "acks" can only be "all"/ ],
	[ "${server}plugin.library.paths=x\n", qr/"plugin\.library\.paths" cannot be set/ ],
	[ "${server}no.such.thing=1\n", qr/no\.such\.thing/ ],
	[ "${server}metadata.broker.list=x\n", qr/"metadata\.broker\.list" cannot be set/ ],
	[ "${server}key.serializer=x\n", qr/"key\.serializer" is one of Java's clients: leave it out/ ],
	[ "${server}ssl.truststore.location=/x.jks\n", qr/"ssl\.truststore\.location" is one of Java's.*ssl\.ca\.location/ ],
	[ "${server}ssl.keystore.type=JKS\nssl.keystore.location=/x.jks\n", qr/"ssl\.keystore\.location" is one of.*keytool/ ],
	[ "${server}sasl.jaas.config=com.evil.Module required a=\"hush\";\n", qr/names a login module that librdkafka does not know/ ],
	[ "${server}sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required password=\"hush\n",
		qr/is not written as MODULE required/ ],
	[ "${server}sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required tokenauth=\"true\";\n",
		qr/has an option "tokenauth"/ ],
	[ "${server}ssl.ca.location=/not/there.pem\n", qr{/not/there\.pem} ],
  )
{
	my ($text, $error, $mode) = @$case;

	file_has($text, $mode);
	wait_audit('unconfigured', $error, "refused: $error");
}
unlink $file;
mkdir $file;
$node->reload;
wait_audit('unconfigured', qr/is not a regular file/, 'refused: a directory');
rmdir $file;
system('mkfifo', '-m', '600', $file) == 0 or die 'mkfifo';
$node->reload;
wait_audit('unconfigured', qr/is not a regular file/, 'refused: a pipe');
unlink $file;
symlink "$dir/elsewhere", $file or die "symlink: $!";
$node->reload;
wait_audit('unconfigured', qr/there is no file "\Q$file\E"/, 'a link that leads nowhere');
is(audit('published'), 0, 'nothing has been published meanwhile');
is(audit('pid'), $pid, '... by a process that goes on');
is(scalar(() = glob "/proc/$pid/task/*"), 1, '... still without threads');
is(log_lines($node, 0, qr/hush/), 0, '... which tells no secret');

note 'what is taken';
append_to_file("$dir/elsewhere", "\xEF\xBB\xBF" . <<~"END");
	! as Java writes it
	   # so, too \\
	bootstrap.servers : \\
	    @{[ $theirs->bootstrap ]}
	security.protocol PLAINTEXT
	client.id=\\u0061ud\\
	  it\\:\\ \t
	acks = -1
	send.buffer.bytes=-1
	ssl.endpoint.identification.algorithm=
	compression.type=none
	END
chmod 0600, "$dir/elsewhere";
$node->reload;
wait_until(undef, sub { audit('state') eq 'publishing' }, 'publishing');
pass('a file with all that Java allows, behind a link');
ok($consumer->wait_for(1), 'what was emitted without the file is published');
ok(wait_published($node), 'by both');
is(log_lines($node, 0, qr/outbox relay "audit" for database "postgres": unconfigured -> publishing$/), 1,
	'and the log says so');
is(log_lines($node, 0, qr/DETAIL:  It publishes to \Q@{[ $theirs->bootstrap ]}\E\.$/), 1, '... and where to');
my $producers = log_end($node);

note 'changes';
$node->reload;
query(q(SELECT outbox_emit('t', 'k', 'second')));
ok(wait_published($node), 'published');
is(log_lines($node, $producers, qr/publishes to/), 0, 'a reload that changes nothing does nothing');
file_has("bootstrap.servers=nowhere:1\nkey.serializer=x\n");
wait_until(undef, sub { log_lines($node, $producers, qr/keeps its settings/) }, 'refused');
query(q(SELECT outbox_emit('t', 'k', 'third')));
ok(wait_published($node), 'a refused file: it goes on as before');
ok($consumer->wait_for(3), '... where it was');
is(log_lines($node, $producers, qr/HINT:  Correct file "\Q$file\E", and reload/), 1, '... and says what to do');
my $other = OutboxTest::Consumer->new(bootstrap => $third->bootstrap);
file_has('bootstrap.servers=' . $third->bootstrap . "\n");
wait_until(undef, sub { log_lines($node, $producers, qr/publishes to \Q@{[ $third->bootstrap ]}\E/) }, 'switched');
query(q(SELECT outbox_emit('t', 'k', 'fourth')));
ok($other->wait_for(1), 'another cluster at a reload');
unlink $file;
$node->reload;
wait_audit('unconfigured', qr/there is no file/, 'a file that is removed: it stops');
query(q(SELECT outbox_emit('t', 'k', 'fifth')));
make_path($node->basedir . '/clusters');
append_to_file($node->basedir . '/clusters/audit.properties', 'bootstrap.servers=' . $third->bootstrap . "\n");
chmod 0600, $node->basedir . '/clusters/audit.properties';
conf_reload($node, 'outbox.cluster_directory = \'' . $node->basedir . "/clusters'");
ok($other->wait_for(2), 'another directory at a reload');
is(join(' ', map { $_->{payload} } $other->records), 'fourth fifth', 'nothing lost, nothing twice');
is(join(' ', map { $_->{payload} } $consumer->records), 'first second third', '... nor at the one before');
is(audit('pid'), $pid, 'all of it by one process');
is(log_lines($node, 0, qr/outbox relay for database "postgres" (?:keeps|.*(?:unconfigured|stopped))/), 0, 'default has not noticed');
clean_log($node, 'no crash');
$node->stop;
done_testing();
