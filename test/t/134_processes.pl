# What the system tells of our processes: ps shows the state of each relay, and
# pg_stat_activity what it does, and what it waits for.
#
# Catches: a title or a query that tells of a state which is over, or that is
# another's; a relay that is held up, and looks as if it had nothing to do.

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

# What pg_stat_activity shows of it, when it sleeps.
sub shows
{
	my ($relay, $state, $wait) = @_;
	my $name = $node->pg_version >= 17 ? $wait : 'Extension';
	my $is = '';

	eval {
		wait_until(
			undef,
			sub {
				$is = query(<<~"END");
					SELECT a.state || ' ' || wait_event_type || ' ' || wait_event || ' ' || query
					FROM pg_stat_activity a JOIN outbox.stat_relay USING (pid) WHERE relay = '$relay'
					END
				return $is =~ /^idle Extension $name outbox: $state: /;
			},
			$state);
	};
	like($is, qr/^idle Extension $name outbox: $state: /, "$relay: $state, $wait");
	return;
}

my $default = 'outbox relay for database postgres';
query(q{SELECT outbox_emit('t', 'k', 'x')});
ok(wait_published($node), 'published');
becomes('default', qr/\Q$default\E publishing *$/, 'it publishes');
shows('default', 'publishing', 'OutboxRelayIdle');
query(q{SELECT outbox.create_relay('audit', topics => '{audit}')});
becomes('audit', qr/audit.* unconfigured *$/, 'another one has no brokers');
shows('audit', 'unconfigured', 'OutboxRelayHeld');
$mock->command('down');
query(q{SELECT outbox_emit('t', 'k', 'x')});
becomes('default', qr/\Q$default\E unavailable *$/, 'no broker answers');
shows('default', 'unavailable', 'OutboxRelayOutage');
$mock->command('up');
becomes('default', qr/\Q$default\E publishing *$/, 'they are back');
query(q{SELECT outbox.pause('default')});
becomes('default', qr/\Q$default\E paused *$/, 'it is paused');
shows('default', 'paused', 'OutboxRelayHeld');
query(q{SELECT outbox.resume('default')});
becomes('default', qr/\Q$default\E publishing *$/, 'it goes on');

$node->stop;
done_testing();
