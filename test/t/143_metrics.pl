# outbox.metrics_rows() and outbox.metrics() tell what the views tell, in the
# format of Prometheus.
#
# Catches: a metric that says something else than the views, or that has a name,
# a type or a value that Prometheus refuses; labels with characters that must be
# escaped; a state that no series has; figures that vanish while there is nothing
# to tell, so that nobody is alerted; what a role of pg_monitor cannot read.

use strict;
use warnings;

use FindBin;
use OutboxTest;
use OutboxTest::Prometheus;
use OutboxTest::Server;
use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;

my $mock = OutboxTest::Mock->new(topics => { t => 2, other => 1 });
my $node = outbox_node('main', bootstrap => $mock->bootstrap, allows_streaming => 1);
my $db = 'a "quoted" \ name';

$node->safe_psql('postgres', q{CREATE DATABASE "a ""quoted"" \ name"; CREATE ROLE monitor LOGIN IN ROLE pg_monitor});
$node->safe_psql($db, $_) for 'CREATE EXTENSION outbox', q{SELECT outbox.create_relay('audit', topics => '{other}')};
wait_state($node, 'publishing', $db);
$node->safe_psql($db, $_) for
  q{CREATE FUNCTION handle(m outbox.message) RETURNS text LANGUAGE sql RETURN CASE outbox.payload_text(m) WHEN 'refused' THEN 'retry' END},
  q{SELECT outbox.subscribe('orders', '{t}', 'handle(outbox.message)', start => 'earliest', workers => 2, on_failure => 'skip', retry_max_attempts => 1)};

sub ask { return $node->safe_psql($db, $_[0], extra_params => [ '-U', 'monitor' ]); }

# The one series with this name and these labels, as it is in the text, and its
# value.
sub metric_line
{
	my ($name, %labels) = @_;
	my @lines = grep {
		my $line = $_;
		$line =~ /^\Q$name\E\{/ && !grep { $line !~ /[{,]\Q$_\E="\Q$labels{$_}\E"/ } keys %labels
	} split /\n/, ask('SELECT outbox.metrics()');

	return @lines == 1 ? $lines[0] : 'series: ' . scalar @lines;
}

sub metric { return metric_line(@_) =~ s/.*\} //r; }

sub view { return ask("SELECT $_[0] FROM outbox.stat_relay WHERE relay = 'default'"); }

$node->safe_psql($db, $_) for
  q{SELECT outbox_emit('t', k, 'x') FROM generate_series(1, 50) k},
  q{SELECT outbox_emit('t', 'late', 'x', deliver_after => '1 day')};
$node->safe_psql($db, q{SELECT outbox.wait_published()});
$mock->command('fail Produce 1 INVALID_RECORD');
$node->safe_psql($db, q{SELECT outbox_emit('t', 'k', 'refused')});
ok($node->poll_query_until($db, 'SELECT sum(dead_letters) = 1 FROM outbox.stat_relay'), 'there is a dead letter');

note 'the format';
my $text = ask('SELECT outbox.metrics()');
my @samples = grep { !/^#/ } split /\n/, $text;
like($text, qr/\{database="a \\"quoted\\" \\\\ name"\} 1$/m, 'labels are escaped');
is( join(' ', map { /^# TYPE (\S+)/ ? $1 : () } split /\n/, $text),
	ask(q{SELECT string_agg(name, ' ' ORDER BY n) FROM (
		SELECT regexp_replace(name, '_(bucket|sum|count)$', '') AS name, min(n) AS n
		FROM outbox.metrics_rows() WITH ORDINALITY AS m (name, type, help, labels, value, n) GROUP BY 1) f}),
	'each metric is described once, in the order of the rows');
is(scalar @samples, ask('SELECT count(*) FROM outbox.metrics_rows()'), 'a line for each row');
my %seen;
is_deeply([ grep { $seen{s/ \S+$//r}++ } @samples ], [], 'no series is there twice');
is(ask(q{SELECT count(*) FROM outbox.metrics_rows() WHERE type = 'counter' AND name !~ '_total$'}), 0,
	'counters are called so');
SKIP:
{
	my $why = OutboxTest::Prometheus::skip_reason();
	skip $why, 1 if $why;
	my ($says, $is_content) = OutboxTest::Prometheus::promtool($text, qw(check metrics));
	is($is_content ? $says : "refused: $says", '', 'promtool is content');
}

note 'the figures';
my %figures = (
	published_total => 'published', pending_events => 'pending_events', retrying => 'retrying',
	waiting => 'waiting', dead_letters => 'dead_letters');
for my $name (sort keys %figures)
{
	is(metric("outbox_relay_$name", relay => 'default'), view($figures{$name}), $name);
}
is(metric("outbox_relay_failures_total", relay => 'default', class => 'invalid'), 1, 'a failure');
is(metric("outbox_relay_dead_letters_made_total", relay => 'default'), 1, '... which made a dead letter');
is(metric("outbox_relay_${_}_seconds_count", relay => 'default'), view('published'), "$_: a time for each event")
  for qw(commit_to_ack sent_to_ack);
is(metric("outbox_relay_commit_to_ack_seconds_bucket", relay => 'default', le => '+Inf'), view('published'),
	'... in the last bucket, too');
like(metric("outbox_relay_commit_to_ack_seconds_bucket", relay => 'default', le => '0.131072'), qr/^\d+$/,
	'... and there are buckets that are powers of two');
for my $name (qw(published published_bytes failures dead_letters))
{
	is(metric("outbox_topic_${name}_total", relay => 'default', topic => 't'),
		ask("SELECT @{[ $name =~ s/published_//r ]} FROM outbox.stat_topic WHERE topic = 't'"), "topic: $name");
}
is(metric('outbox_delayed_events'), 1, 'delayed');
is(metric('outbox_emitted_total'), view('position'), 'emitted');
is(metric('outbox_storage_bytes'), ask('SELECT sum(bytes) FROM outbox.stat_storage'), 'storage');
cmp_ok(metric('outbox_storage_oldest_event_seconds'), '>', 0, 'age of the oldest');
cmp_ok(metric('outbox_storage_oldest_event_seconds'), '<', 180, '... which is not old');
my $times = q(SELECT string_agg(l, ' ') FROM unnest(string_to_array(outbox.metrics(), E'\n')) l
	WHERE l LIKE 'outbox_relay_%_seconds_bucket{%relay="default"%');
is(ask("SET extra_float_digits = -10; $times"), ask($times), 'numbers are the same whatever the session has set');
is(metric('outbox_up'), 1, 'up');
is(metric('outbox_relay_up', relay => 'default'), 1, 'the relay, too');
is(metric('outbox_relay_state_active', relay => 'audit', state => 'unconfigured'), 1, 'the other relay has no file');
is(metric('outbox_relay_state_active', relay => 'default', state => 'unconfigured'), 0, 'which this one has');

note 'a subscription';
# it may be about to become so
sub becomes
{
	my ($value, $name, %labels) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	eval { wait_until(undef, sub { metric("outbox_subscription_$name", %labels) eq $value }); };
	return is(metric("outbox_subscription_$name", %labels), $value, $name);
}
my %orders = (subscription => 'orders');
becomes(50, 'handled_total', %orders);
becomes($_->[0], $_->[1], %orders) for
  [ 0, 'lag_messages' ], [ 0, 'lag_seconds' ], [ 2, 'partitions' ], [ 1, 'up' ], [ 0, 'gaps' ], [ 0, 'retrying' ], [ 0, 'waiting' ];
$mock->command('clear Produce');
$node->safe_psql($db, q{SELECT outbox_emit('t', 'k', 'refused')});
becomes(1, 'dead_letters', %orders);
cmp_ok(metric('outbox_subscription_failures_total', %orders), '>=', 1, '... of an attempt that has failed');
becomes(1, 'state_active', %orders, worker => $_, state => 'consuming') for 0, 1;
$node->safe_psql($db, q{SELECT outbox.seek('orders', place => 'earliest', repeat => false)});
cmp_ok(wait_until(undef, sub { metric('outbox_subscription_repeated_total', %orders) }), '>', 0, 'repeated');
$node->safe_psql($db, q{SELECT outbox.pause_subscription('orders')});
becomes(1, 'state_active', %orders, worker => 1, state => 'paused');
becomes(0, 'state_active', %orders, worker => 1, state => 'consuming');

note 'states';
my ($names) = slurp_file("$FindBin::RealBin/../../src/shared/relay_state.c") =~ /^outbox_relay_state_name\(.*?^\}/ms ? $& : die;
my @states = $names =~ /"([a-z]+)"/g;
my %names = map { $_ => 1 } grep { $_ ne 'unknown' } @states;
is( ask(q{SELECT string_agg(labels ->> 'state', ' ' ORDER BY labels ->> 'state') FROM outbox.metrics_rows()
	WHERE name = 'outbox_relay_state_active' AND labels ->> 'relay' = 'default'}),
	join(' ', grep { !/^(?:consuming|gap)$/ } sort keys %names), 'a series for each state that there is');
is( ask(q{SELECT string_agg(labels ->> 'state', ' ' ORDER BY labels ->> 'state') FROM outbox.metrics_rows()
	WHERE name = 'outbox_subscription_state_active' AND labels ->> 'worker' = '0'}),
	join(' ', grep { !/^(?:publishing|idle)$/ } sort keys %names), '... for a subscription, too');
is(ask(q{SELECT string_agg(value::text, ' ') FROM (SELECT sum(value) AS value FROM outbox.metrics_rows()
	WHERE name ~ '^outbox_(relay|subscription)_state_active' GROUP BY labels - 'state') s}), '1 1 1 1', 'of which one is 1');

is( ask(q{SELECT string_agg(value::text, ' ' ORDER BY labels::text) FROM outbox.metrics_rows()
		WHERE name = 'outbox_health_status'}),
	ask(q{SELECT string_agg((array_position('{ok,warning,critical}', status) - 1)::text, ' '
		ORDER BY jsonb_strip_nulls(jsonb_build_object('database', current_database(), 'check', "check", 'relay', relay,
			'subscription', subscription))::text)
		FROM outbox.health()}), 'health');
is(metric('outbox_health_status', check => 'settings', relay => 'audit'), 2, 'a relay without settings is critical');

note 'a standby';
$node->backup('standby');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'standby', has_streaming => 1);
guard_node($standby);
$standby->start;
is($standby->safe_psql($db, 'SELECT outbox.metrics()') =~ s/^#.*\n//mgr,
	metric_line('outbox_health_status', check => 'launcher') . "\n", 'shows that all is well with it, and alerts nobody');
$standby->stop;

note 'when things stand still';
# all but topics and times, of which there is nothing yet after a restart
my $series = q{SELECT count(*) FROM outbox.metrics_rows() WHERE NOT labels ?| '{topic,le}'};
my $before = ask($series);
$node->safe_psql($db, q{SELECT outbox.pause('default')});
ok($node->poll_query_until($db, q{SELECT state = 'paused' FROM outbox.stat_relay WHERE relay = 'default'}), 'paused');
is(metric('outbox_relay_state_active', relay => 'default', state => 'paused'), 1, 'a pause is seen');
is(metric('outbox_relay_state_active', relay => 'default', state => 'publishing'), 0, '... as one state only');
$node->safe_psql($db, q{SELECT outbox_emit('t', 'k', 'x') FROM generate_series(1, 10)});
is(metric('outbox_relay_pending_events', relay => 'default'), 10, 'pending events are counted while nothing is published');

$node->append_conf('postgresql.conf', 'max_worker_processes = 0');
$node->restart;
is(metric('outbox_up'), 0, 'without a launcher, outbox is not up');
is(metric('outbox_relay_up', relay => 'default'), 0, '... nor is the relay');
is(metric('outbox_relay_pending_events', relay => 'default'), 10, '... and events are counted');
is(ask($series), $before, '... and every series is there');

$node->append_conf('postgresql.conf', "max_worker_processes = 8\nshared_preload_libraries = ''");
$node->restart;
is(metric('outbox_up'), 0, 'nor without the library');
is(metric('outbox_health_status', check => 'launcher'), 2, '... which is critical');

$node->stop;
done_testing();
