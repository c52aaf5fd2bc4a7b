# The recipe of doc/tracing.md, run as it stands there, with the libraries of
# OpenTelemetry for Python and Confluent's consumer: one trace from the request
# to the consumer; through PgBouncer, where there is one.
#
# Catches: a recipe that does not work, or whose consumer is in a trace of its
# own; a comment as the instrumentation of psycopg writes it that is not
# understood; a trace that stays on a pooled connection for the next client.

use strict;
use warnings;

use FindBin;
use IPC::Run;
use JSON::PP;
use OutboxTest;
use OutboxTest::Bouncer;
use Test::More;

my $python = $ENV{OUTBOX_TRACING_PYTHON} // '';
plan skip_all => 'OpenTelemetry for Python is not installed'
  unless IPC::Run::run(
	[ $python, '-c', 'import confluent_kafka, opentelemetry.instrumentation.psycopg, psycopg' ],
	'<', \undef, '>', \my $nothing, '2>', \my $errors);

my $mock = OutboxTest::Mock->new(topics => { orders => 1, t => 1 });
my $node = outbox_node('main', bootstrap => $mock->bootstrap, extension => 1);
query(<<~'END');
	CREATE TABLE orders (id int, item text);
	CREATE ROLE app LOGIN;
	GRANT ALL ON orders TO app;
	SELECT outbox.grant_emit('app');
	END

my $through = $node;
my $bouncer;
$ENV{PGPASSWORD} = 'secret';
if (!OutboxTest::Bouncer::skip_reason())
{
	$bouncer = OutboxTest::Bouncer->new($node,
		users => { app => 'secret', admin => 'admin' },
		databases => { postgres => 'dbname=postgres pool_mode=transaction pool_size=1' });
	$through = $bouncer->node;
}
note 'through ' . ($bouncer ? 'PgBouncer' : 'no pooler: there is no PgBouncer');

note 'the recipe';
my ($out, $err);
IPC::Run::run(
	[ $python, "$FindBin::RealBin/../consumers/trace_request.py", "$FindBin::RealBin/../../doc/tracing.md",
		$mock->bootstrap, $through->connstr('postgres') . ' user=app' ],
	'<', \undef, '>', \$out, '2>', \$err)
  or BAIL_OUT($err);
my @lines = map { decode_json($_) } split /\n/, $out;
my %order = map { $_->{order} => $_->{headers} } grep { $_->{order} } @lines;
my @spans = grep { $_->{span} } @lines;
my %span = map { $_->{span} . ($_->{message} ? " $_->{message}" : '') => $_ } grep { $_->{span} ne 'send orders' } @spans;
my ($send) = grep { $_->{span} eq 'send orders' } @spans;
my %consumed = map { $_ => $span{"process orders $order{$_}->{event_id}"} } keys %order;
is(join(' ', sort keys %order), '1 3 4', 'what was committed has arrived');

my $trace = '4bf92f3577b34da6a3ce929d0e0e4736';
is("$send->{trace} $send->{parent} $send->{kind}", "$trace $span{'request 1'}->{id} PRODUCER", 'a request sends an order');
is($order{1}->{traceparent}, "00-$trace-$send->{id}-01", '... whose record tells it');
is($order{1}->{tracestate}, 'congo=t61rcWkgMzE', '... with what came with the trace');
is("$consumed{1}->{trace} $consumed{1}->{parent} $consumed{1}->{kind}", "$trace $send->{id} CONSUMER",
	'... and whose consumer is its child');

my ($statement) = grep { $_->{parent} && $_->{parent} eq $span{'request 3'}->{id} } @spans;
is($order{3}->{traceparent}, "00-$trace-$statement->{id}-01", 'sqlcommenter: the trace of the statement');
is($order{3}->{tracestate}, 'congo=t61rcWkgMzE', '... with all that it has');
is("$consumed{3}->{trace} $consumed{3}->{parent}", "$trace $statement->{id}", '... which the consumer goes on with');
my ($last) = grep { $_->{span} eq 'send orders' && !$_->{parent} } @spans;
is($consumed{4}->{parent}, $last->{id}, 'outside of a request, a trace of its own');

SKIP:
{
	note 'clients that take turns';
	skip 'there is no PgBouncer', 1 unless $bouncer;
	my @clients = map { $through->background_psql('postgres', extra_params => [ '-U', 'app' ]) } 1 .. 2;
	my $emit = q{SELECT outbox_emit('t', 'k', 'x')};
	my $parent = "00-$trace-00f067aa0ba902b7-01";

	$clients[0]->query_safe("BEGIN; SET LOCAL outbox.traceparent = '$parent'; $emit; COMMIT");
	$clients[1]->query_safe($emit);
	$clients[0]->query_safe("BEGIN; SET LOCAL outbox.trace_from_comment = on; $emit /*traceparent='$parent'*/; COMMIT");
	$clients[1]->query_safe("BEGIN; SET LOCAL outbox.trace_from_comment = on; $emit; COMMIT");
	$clients[1]->query_safe("BEGIN; SET LOCAL outbox.traceparent = '$parent'; $emit; ROLLBACK; $emit");
	is( query(q{SELECT string_agg(coalesce(headers ->> 'traceparent', 'none'), ' ' ORDER BY id) FROM outbox.event WHERE topic = 't'}),
		"$parent none $parent none none", 'each has its own trace, or none');
	$_->quit for @clients;
	$bouncer->stop;
}

$node->stop;
done_testing();
