package OutboxTest::Prometheus;

# Prometheus and the exporters that Debian has, on loopback, run from where
# test/setup has unpacked them, or from the PATH.
#
#	my $port = OutboxTest::Prometheus::exporter('postgres', $node, 'monitor');
#	my $prometheus = OutboxTest::Prometheus->new(config => ...);
#	$prometheus->value('outbox_up');

use strict;
use warnings;

use Carp;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use HTTP::Tiny;
use IPC::Run;
use JSON::PP qw(decode_json);
use OutboxTest::Process;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils qw(slurp_file);
use Time::HiRes qw(time usleep);

my $contrib = abs_path(dirname(__FILE__) . '/../../../contrib');
my $http = HTTP::Tiny->new(timeout => 10);
my @processes;

sub program
{
	my ($name) = @_;
	my ($path) = grep { -x } map { "$_/$name" } $ENV{OUTBOX_PROMETHEUS} // (), split /:/, $ENV{PATH};

	return $path;
}

# Why there is none of these programs for this test, or undef if all are there.
sub skip_reason
{
	my ($missing) = grep { !program($_) }
	  qw(promtool prometheus prometheus-postgres-exporter prometheus-sql-exporter);

	return $missing ? "$missing cannot be had here" : undef;
}

# Returns what promtool says, and whether it is content.
sub promtool
{
	my ($input, @arguments) = @_;
	my $output;
	my $is_content = IPC::Run::run([ program('promtool'), @arguments ], '<', \$input, '>&', \$output);

	return ($output, $is_content);
}

sub _write
{
	my ($path, $text) = @_;

	open(my $file, '>', $path) or croak "$path: $!";
	print $file $text;
	close($file) or croak "$path: $!";
	return $path;
}

sub get
{
	my ($port, $path) = @_;
	my $answer = $http->get("http://127.0.0.1:$port$path");

	return $answer->{success} ? $answer->{content} : undef;
}

# Runs a program that serves HTTP at a port, until it does.
sub _serve
{
	my ($port, $path, $dir, $environment, @command) = @_;
	my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
	local %ENV = (%ENV, %$environment);
	my $process = OutboxTest::Process->new(command => \@command, log => "$dir/log");

	push @processes, $process;
	until (defined get($port, $path))
	{
		croak "$command[0] does not start: " . $process->log_tail
		  if time > $deadline || !$process->is_running;
		usleep(50_000);
	}
	return;
}

# Starts an exporter with its file in contrib/ and returns its port. It reads
# database postgres of the server, as that role.
sub exporter
{
	my ($kind, $node, $role) = @_;
	my $dir = PostgreSQL::Test::Utils::tempdir($kind);
	my $port = PostgreSQL::Test::Cluster::get_free_port();
	my $from = sprintf 'postgres://%s@:%d/postgres?host=%s&sslmode=disable&lock_timeout=2000&statement_timeout=10000', $role, $node->port, $node->host;
	my $file = "$contrib/$kind-exporter/outbox.yml";

	if ($kind eq 'postgres')
	{
		_serve($port, '/metrics', $dir, { DATA_SOURCE_NAME => $from },
			program('prometheus-postgres-exporter'), "--extend.query-path=$file",
			"--web.listen-address=127.0.0.1:$port");
		return $port;
	}
	my $text = slurp_file($file);
	$text =~ s/- 'postgres:[^']*'/- '$from'/ or croak "$file has no connection";
	$text =~ s/interval: \w+/interval: 1s/ or croak "$file has no interval";
	_serve($port, '/metrics', $dir, {}, program('prometheus-sql-exporter'),
		'-config.file' => _write("$dir/config.yml", $text),
		'-web.listen-address' => "127.0.0.1:$port");
	return $port;
}

# A Prometheus with this configuration, and these files beside it:
# config => text, files => { name => text }
sub new
{
	my ($class, %opt) = @_;
	my $dir = PostgreSQL::Test::Utils::tempdir('prometheus');
	my $port = PostgreSQL::Test::Cluster::get_free_port();

	_write("$dir/$_", $opt{files}->{$_}) for keys %{ $opt{files} // {} };
	_serve($port, '/-/ready', $dir, {}, program('prometheus'),
		'--config.file=' . _write("$dir/prometheus.yml", $opt{config}),
		"--storage.tsdb.path=$dir/data",
		"--web.listen-address=127.0.0.1:$port");
	return bless { port => $port }, $class;
}

sub _api
{
	my ($self, $path) = @_;
	my $answer = get($self->{port}, "/api/v1/$path") // croak "no answer to $path";

	return decode_json($answer)->{data};
}

# What an expression has for values now, and the labels of each.
sub values
{
	my ($self, $expression) = @_;
	my $query = $http->www_form_urlencode({ query => $expression });

	return map { { %{ $_->{metric} }, value => $_->{value}->[1] } }
	  @{ $self->_api("query?$query")->{result} };
}

# The names of the alerts that fire, in one line.
sub firing
{
	my ($self) = @_;
	my %names = map { $_->{labels}->{alertname} => 1 }
	  grep { $_->{state} eq 'firing' } @{ $self->_api('alerts')->{alerts} };

	return join ' ', sort keys %names;
}

1;
