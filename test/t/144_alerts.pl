# The exporters that Debian has and Prometheus itself, with the files of contrib/,
# read a server in which things break: every alert fires, and clears when that is
# mended. Times in the rules are shortened, nothing else is changed.
#
# Catches: a file that an exporter or Prometheus does not take; a figure that is
# lost on its way or arrives under another name; an alert that does not fire, in
# particular when the server or the launcher is gone, or that does not clear.

use strict;
use warnings;

use FindBin;
use OutboxTest;
use OutboxTest::Prometheus;
use OutboxTest::Server;
use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;

if (my $why = OutboxTest::Prometheus::skip_reason())
{
	plan skip_all => $why;
}

my $contrib = "$FindBin::RealBin/../../contrib";
my $mock = OutboxTest::Mock->new(topics => { t => 2, never => 1, consumed => 1 });
my $node = outbox_node('main', bootstrap => $mock->bootstrap, extension => 1);
query('CREATE ROLE prometheus LOGIN IN ROLE pg_monitor');
query(q{SELECT outbox_emit('t', k::text, 'x') FROM generate_series(1, 100) k});
wait_state($node, 'publishing');
wait_published($node) or die;
query(q{CREATE FUNCTION handle(m outbox.message) RETURNS text LANGUAGE sql
	RETURN CASE WHEN outbox.payload_text(m) = 'fails' THEN 'retry' END});
query(q{SELECT outbox.subscribe('orders', '{consumed}', 'handle(outbox.message)', start => 'earliest')});
wait_rows(1, q{state = 'consuming' AND lag_seconds = 0}, 'outbox.stat_subscription');

my %port = map { $_ => OutboxTest::Prometheus::exporter($_, $node, 'prometheus') } qw(postgres sql);
my $rules = slurp_file("$contrib/prometheus/outbox.rules.yml");
$rules =~ s/for: \w+/for: 0s/g;
$rules =~ s/offset 10m/offset 3s/g;
$rules =~ s/lag_seconds > 60/lag_seconds > 1/;
$rules =~ s/\[5m\]\)\)\) > 5/[4s]))) > 0.5/;
my $relabel = slurp_file("$contrib/sql-exporter/prometheus.yml") =~ s/^.*?(?=^    metric_relabel_configs)//msr;
my $prometheus = OutboxTest::Prometheus->new(files => { 'outbox.rules.yml' => $rules }, config => <<~END . $relabel);
	global: { scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }
	rule_files: [outbox.rules.yml]
	scrape_configs:
	  - job_name: postgres
	    static_configs: [{ targets: ['127.0.0.1:$port{postgres}'] }]
	  - job_name: sql
	    static_configs: [{ targets: ['127.0.0.1:$port{sql}'] }]
	END

# What an exporter tells: 'name label="value",...' => value
sub told_by
{
	my ($job) = @_;
	my %told;

	for my $series ($prometheus->values(qq({__name__=~"outbox_.+",job="$job"})))
	{
		my ($name, $value) = delete @$series{qw(__name__ value)};
		delete @$series{qw(job instance server)};
		$told{ join ' ', $name, map { "$_=$series->{$_}" } sort keys %$series } = $value;
	}
	return \%told;
}

# Waits until these alerts fire, and no others.
sub fires
{
	my ($what, @names) = @_;
	my $expected = join ' ', sort @names;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	eval { wait_until(60, sub { $prometheus->firing eq $expected }, $what); };
	return is($prometheus->firing, $expected, $what);
}

sub clears { return fires(@_); }

note 'figures';
wait_until(undef, sub { keys %{ told_by('sql') } && keys %{ told_by('postgres') } }, 'figures arrive');
my @expected = split /\n/, query(<<~'END');
	SELECT name || (SELECT string_agg(format(' %s=%s', l.key, l.value), '' ORDER BY l.key)
		FROM jsonb_each_text(labels) l) FROM outbox.metrics_rows() ORDER BY 1
	END
my ($postgres, $sql) = map { told_by($_) } qw(postgres sql);
is_deeply([ sort keys %$sql ], [ sort @expected ], 'sql-exporter has every figure under its own name');
is_deeply([ sort keys %$postgres ], [ sort @expected ], 'postgres-exporter, too');
my @differ = grep { ($postgres->{$_} // '') ne ($sql->{$_} // '') && !/_seconds|_bytes/ } sort keys %$postgres;
is_deeply(\@differ, [], 'both tell the same');
is($sql->{'outbox_relay_published_total database=postgres relay=default'}, 100, 'and what is so');
clears('all is well');

note 'events are refused';
$mock->command('fail Produce 1 INVALID_RECORD');
query(q{SELECT outbox_emit('t', 'refused', 'x')});
wait_rows(1, q{state = 'dead'});
fires('a dead letter', 'OutboxDeadLetters');
$mock->command('refuse never UNKNOWN_TOPIC_OR_PART');
query(q{SELECT outbox_emit('never', 'k', 'x')});
wait_parked(1);
fires('and a topic that is not there', 'OutboxDeadLetters', 'OutboxRetrying');
$mock->command('allow never');
query('SELECT outbox.requeue()');
clears('both are mended');

note 'a pause';
query('SELECT outbox.pause()');
query(q{SELECT outbox_emit('t', 'waits', 'x')});
fires('paused, and no lag', 'OutboxPaused');
query('SELECT outbox.resume()');
clears('resumed');

note 'a subscription';
query(q{SELECT outbox.pause_subscription()});
fires('paused', 'OutboxSubscriptionPaused');
query(q{SELECT outbox.resume_subscription()});
query(q{SELECT outbox_emit('consumed', 'k', 'fails')});
fires('a message fails', 'OutboxSubscriptionRetrying');
query(q{SELECT outbox.alter_subscription('orders', retry_max_attempts => 1)});
fires('and is given up', 'OutboxSubscriptionDeadLetters');
query(q{SELECT outbox.inbox_discard(until => now())});
clears('discarded');

note 'checks of health';
conf_reload($node, 'outbox.health_storage_warning = 0');
fires('a warning', 'OutboxHealthWarning');
conf_reload($node, 'outbox.health_storage_critical = 0');
fires('which becomes critical', 'OutboxHealthCritical');
conf_reload($node, "outbox.health_storage_warning = -1\noutbox.health_storage_critical = -1");
clears('or is none');

note 'the brokers are slow';
$mock->command('rtt 800');
query(q{SELECT outbox_emit('t', 'slow', 'x')});
fires('acknowledged late', 'OutboxSlow');
$mock->command('rtt 0');
clears('no longer');

note 'the brokers are away';
$mock->command('down');
query(q{SELECT outbox_emit('t', 'waits', 'x')});
fires('no broker', 'OutboxLag', 'OutboxNotPublishing', 'OutboxSubscriptionNotConsuming');
$mock->command('up');
clears('they are back');

note 'the server';
$node->append_conf('postgresql.conf', 'max_worker_processes = 0');
$node->restart;
fires('no launcher', 'OutboxLauncherDown', 'OutboxNotPublishing', 'OutboxSubscriptionNotConsuming');
$node->stop;
wait_until(undef, sub { $prometheus->firing =~ /OutboxMissing/ }, 'OutboxMissing');
pass('no server');
$node->append_conf('postgresql.conf', 'max_worker_processes = 8');
$node->start;
clears('all is well again');

$node->stop;
done_testing();
