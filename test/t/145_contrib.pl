# The files of contrib/ are valid and are about figures that there are: the query
# files are what contrib/generate makes, the alerts pass their unit tests, every
# expression of the dashboard is one, and the textfile of node_exporter can be read.
#
# Catches: a figure that is renamed, or has other labels, in one place only; a file
# that is forgotten when outbox.metrics_rows() gets a new one; an alert that never
# fires or fires for anything; a dashboard that Grafana cannot import, or that shows
# nothing; a query that a role of pg_monitor cannot run, or that gives nulls.

use strict;
use warnings;

use FindBin;
use IPC::Run;
use JSON::PP qw(decode_json);
use OutboxTest;
use OutboxTest::Prometheus;
use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;

my $contrib = "$FindBin::RealBin/../../contrib";
my $mock = OutboxTest::Mock->new(topics => { t => 1 });
my $node = outbox_node('main', bootstrap => $mock->bootstrap, extension => 1);
query('CREATE ROLE monitor LOGIN IN ROLE pg_monitor');
query(q{SELECT outbox_emit('t', 'k', 'x') FROM generate_series(1, 10)});
wait_published($node) or die;
query(q{CREATE FUNCTION handle(outbox.message) RETURNS void LANGUAGE sql AS ''});
query(q{SELECT outbox.subscribe('orders', '{t}', 'handle(outbox.message)', start => 'earliest')});
wait_rows(1, q{state = 'consuming' AND handled = 10 AND lag_seconds = 0}, 'outbox.stat_subscription');
my $umlaut = "gr\xc3\xbcn";
query(qq{CREATE DATABASE "$umlaut" TEMPLATE template0 ENCODING 'UTF8'});
$node->safe_psql($umlaut, 'CREATE EXTENSION outbox');
my $lock = $node->background_psql('postgres');

local %ENV = (%ENV, PGHOST => $node->host, PGPORT => $node->port, PGDATABASE => 'postgres', PGUSER => 'monitor');

sub run
{
	my (@command) = @_;
	my ($output, $errors);
	my $is_done = IPC::Run::run(\@command, '>', \$output, '2>', \$errors);

	return ($is_done, $output, $errors);
}

sub write_file
{
	my ($path, $text) = @_;

	open(my $file, '>', $path) or die "$path: $!";
	print $file $text;
	close($file) or die "$path: $!";
	return;
}

note 'query files';
my $made = PostgreSQL::Test::Utils::tempdir('contrib');
mkdir "$made/$_" for qw(postgres-exporter opentelemetry);
{
	local $ENV{OUTBOX_CONTRIB} = $made;
	my ($is_done, undef, $errors) = run("$contrib/generate");
	ok($is_done, 'contrib/generate') or diag $errors;
}
for my $file (map { "$_/outbox.yml" } qw(postgres-exporter opentelemetry))
{
	is(slurp_file("$contrib/$file"), slurp_file("$made/$file"), "$file is what contrib/generate makes");
}

my $opentelemetry = slurp_file("$contrib/opentelemetry/outbox.yml");
my $metrics = 0;
while ($opentelemetry =~ /- sql: \|\n(.*?)        metrics:\n(.*?)(?=^      - sql|\z)/msg)
{
	my ($sql, $its) = ($1, $2);
	my @columns = $its =~ /value_column: (\w+)/g;
	my @labels = split /, /, ($its =~ /attribute_columns: \[(.*)\]/)[0];
	my $columns = join ', ', map { qq("$_" IS NULL) } @columns, @labels;

	$sql =~ s/;?\s*$//;
	is($node->safe_psql('postgres', "SELECT count(*) > 0, count(*) FILTER (WHERE true IN ($columns)) FROM ($sql) q",
			extra_params => [ '-U', 'monitor' ]), 't|0', "query of $columns[0]: rows, and no nulls");
	$metrics += @columns;
}
is($metrics, query(q{SELECT count(DISTINCT name) FROM outbox.metrics_rows() WHERE name !~ '_bucket$'}),
	'each figure goes to OpenTelemetry');

note 'node_exporter';
my ($is_done, undef, $errors) = run("$contrib/node-exporter/outbox-metrics", $made, 'postgres');
ok($is_done, 'the script runs') or diag $errors;
like(slurp_file("$made/outbox-postgres.prom"), qr/^outbox_up\{database="postgres"\} 1$/m, 'and writes a file');
{
	local $ENV{PGCLIENTENCODING} = 'LATIN1';
	run("$contrib/node-exporter/outbox-metrics", $made, $umlaut);
}
like(slurp_file("$made/outbox-$umlaut.prom"), qr/^outbox_up\{database="$umlaut"\} 1$/m, '... in UTF-8');
unlink "$made/outbox-$umlaut.prom";
$lock->query_safe('BEGIN; LOCK TABLE outbox.parked');
($is_done, undef, $errors) = run("$contrib/node-exporter/outbox-metrics", $made, 'postgres');
ok(!$is_done, 'one that is kept waiting gives up');
like($errors, qr/lock timeout/, '... and says why');
$lock->quit;
($is_done) = run("$contrib/node-exporter/outbox-metrics", $made, 'postgres', 'template1');
ok(!$is_done, 'a database without outbox is an error');
is_deeply([ map { s/.*\///r } glob "$made/*.prom*" ], ['outbox-postgres.prom'], 'that leaves no file');

note 'the dashboard';
my $dashboard = decode_json(slurp_file("$contrib/grafana/outbox.json"));
is_deeply([ grep { !defined $dashboard->{$_} } qw(title uid schemaVersion panels templating time) ], [], 'is one');
ok(exists $dashboard->{id} && !defined $dashboard->{id}, 'without an id of somebody else\'s Grafana');
my @panels = @{ $dashboard->{panels} };
my (%ids, %cells, @wrong, @expressions);
for my $panel (@panels)
{
	my ($x, $y, $w, $h) = @{ $panel->{gridPos} }{qw(x y w h)};

	push @wrong, "$panel->{title}: id" if $ids{ $panel->{id} }++;
	push @wrong, "$panel->{title}: type" if $panel->{type} !~ /^(?:stat|table|timeseries|state-timeline)$/;
	push @wrong, "$panel->{title}: place" if $x + $w > 24;
	for my $cell (map { my $row = $_; map { "$_ $row" } $x .. $x + $w - 1 } $y .. $y + $h - 1)
	{
		push @wrong, "$panel->{title}: covers another" if $cells{$cell}++;
	}
	my %refs;
	for my $target (@{ $panel->{targets} })
	{
		push @wrong, "$panel->{title}: target" if !$target->{refId} || $refs{ $target->{refId} }++;
		push @expressions, $target->{expr};
	}
	push @wrong, "$panel->{title}: data source"
	  if grep { $_->{datasource}->{uid} ne '${datasource}' } $panel, @{ $panel->{targets} };
}
is_deeply(\@wrong, [], 'its panels have places and targets of their own');
my @variables = map { $_->{name} } @{ $dashboard->{templating}->{list} };
my %used = map { $_ => 1 } map { /\$\{?(\w+)/g } @expressions;
delete $used{__rate_interval};
is_deeply([ sort keys %used ], [ grep { $_ ne 'datasource' } sort @variables ], 'its variables are those that it uses');

note 'names';
my %there = map { $_ => 1 } split /\n/, query(q{SELECT DISTINCT name FROM outbox.metrics_rows()});
my %drawn;
$drawn{$_}++ for map { /\b(outbox_\w+)/g } @expressions;
is_deeply([ grep { !$there{$_} } sort keys %drawn ], [], 'the dashboard draws what there is');
is_deeply([ grep { !$drawn{$_} && !/_(?:sum|count)$|^outbox_(?:relay|subscription)_up$|^outbox_topic_/ } sort keys %there ], [],
	'... all of it');
my $rules = slurp_file("$contrib/prometheus/outbox.rules.yml");
is_deeply([ grep { !$there{$_} } map { /\b(outbox_\w+)/g } $rules =~ s/^\s*#.*|outbox_health_…//mgr =~ s/description:.*?(?=^\s*- alert|\z)//msgr ], [],
	'alerts are about what there is');
my $readme = slurp_file("$contrib/README.md");
is_deeply([ grep { index($readme, $_) < 0 } map { s/_(?:bucket|sum|count)$//r } sort keys %there ], [],
	'README.md names every figure');
is_deeply([ grep { index($readme, "`$_`") < 0 } $rules =~ /- alert: (\w+)/g ], [], '... and every alert');
is_deeply([ grep { !-e "$contrib/$_" } $readme =~ m{^\| .*?`([\w-]+/[\w.]*)`}mg ], [], '... and files that are there');

SKIP:
{
	my $why = OutboxTest::Prometheus::skip_reason();
	skip $why, 3 if $why;

	my ($says, $is_content) = OutboxTest::Prometheus::promtool('', 'test', 'rules', "$contrib/prometheus/outbox.test.yml");
	ok($is_content, 'the alerts pass their tests') or diag $says;
	my @untested = grep { slurp_file("$contrib/prometheus/outbox.test.yml") !~ /alertname: $_\n/ } $rules =~ /- alert: (\w+)/g;
	is_deeply(\@untested, [], 'and each has one');

	my @records;
	for my $expression (@expressions)
	{
		my $promql = $expression =~ s/\$__rate_interval/1m/gr =~ s/\$\w+/.*/gr;
		push @records, sprintf "  - record: r%d\n    expr: '%s'\n", scalar @records, $promql =~ s/'/''/gr;
	}
	write_file("$made/dashboard.yml", join '', "groups:\n- name: dashboard\n  rules:\n", @records);
	($says, $is_content) = OutboxTest::Prometheus::promtool('', 'check', 'rules', "$made/dashboard.yml");
	ok($is_content && $says =~ /SUCCESS: @{[ scalar @records ]} rules/, 'expressions of the dashboard are valid')
	  or diag $says;
}

$node->stop;
done_testing();
