# What the system tells of our processes: ps shows the state of each relay, and
# pg_stat_activity what it waits for.
#
# Catches: a title that tells of a state which is over, or that is another's.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use PostgreSQL::Test::Utils;
use Test::More;

my $mock = OutboxTest::Mock->new(topics => { t => 1 });
my $node = outbox_node('main', bootstrap => $mock->bootstrap, extension => 1);

# The title of a relay's process.
sub title
{
	my ($relay) = @_;
	my $pid = query("SELECT pid FROM outbox.stat_relay WHERE relay = '$relay'");
	return '' if $pid eq '' || !-e "/proc/$pid/cmdline";
	return slurp_file("/proc/$pid/cmdline") =~ s/\0.*//sr;
}

sub becomes
{
	my ($relay, $title, $what) = @_;
	eval { wait_until(undef, sub { title($relay) =~ $title }, $what); };
	like(title($relay), $title, $what);
	return;
}

my $default = 'outbox relay for database postgres';
query(q{SELECT outbox_emit('t', 'k', 'x')});
ok(wait_published($node), 'published');
becomes('default', qr/\Q$default\E publishing *$/, 'it publishes');
is(query(q{SELECT wait_event_type FROM pg_stat_activity WHERE backend_type = 'outbox relay'}), 'Extension', 'or waits');
query(q{SELECT outbox.create_relay('audit', topics => '{audit}')});
becomes('audit', qr/audit.* unconfigured *$/, 'another one has no brokers');
$mock->command('down');
query(q{SELECT outbox_emit('t', 'k', 'x')});
becomes('default', qr/\Q$default\E unavailable *$/, 'no broker answers');
$mock->command('up');
becomes('default', qr/\Q$default\E publishing *$/, 'they are back');
query(q{SELECT outbox.pause('default')});
becomes('default', qr/\Q$default\E paused *$/, 'it is paused');
query(q{SELECT outbox.resume('default')});
becomes('default', qr/\Q$default\E publishing *$/, 'it goes on');

$node->stop;
done_testing();
