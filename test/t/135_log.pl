# What the server's log tells of relays: each change of a state is one line, in
# one form, and lines about an event have its event_id, topic and key. csvlog and
# jsonlog can be read whatever events and brokers contain.
#
# Catches: a change that is told twice, or not at all, or with the reason of an
# earlier one; a state that comes and goes and fills the log; a line that an event
# or a broker's message breaks, or forges; a message with bytes of no encoding in
# the log or in a table.

use strict;
use warnings;

use JSON::PP;
use OutboxTest;
use OutboxTest::Server;
use PostgreSQL::Test::Utils;
use Test::More;

my $mock = OutboxTest::Mock->new(topics => { t => 1 });
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	start => 0,
	conf => <<~'END');
		log_destination = 'csvlog,jsonlog'
		logging_collector = on
		log_directory = 'log'
		log_filename = 'all.log'
		log_rotation_size = 0
		log_rotation_age = 0
		END
my $lies = PostgreSQL::Test::Utils::tempdir('lies');
my $log = $node->data_dir . '/log/all';

sub start
{
	local $ENV{LD_PRELOAD} = OutboxTest::Mock::program('liar.so');
	local $ENV{OUTBOX_TEST_LIES} = $lies;
	$node->start;
	return;
}

# Every line of jsonlog, which must be JSON in UTF-8.
sub lines
{
	my $json = JSON::PP->new->utf8;

	return map { $json->decode($_) } split /\n/, slurp_file("$log.json");
}

# The messages of one relay that match.
sub messages
{
	my ($pattern) = @_;
	return grep { $_->{message} =~ $pattern } lines();
}

sub changes
{
	my ($relay) = @_;
	my $who = $relay eq 'default' ? '' : "\"$relay\" ";
	return messages(qr/^outbox relay ${who}for database "postgres": \w+ -> \w+$/);
}

sub last_change
{
	my ($relay) = @_;
	my $line = (changes($relay))[-1] or return '';
	return join "\n", $line->{message} =~ s/.*: //r, $line->{detail} // '', $line->{hint} // '';
}

# The last change in the log becomes this one, for that reason and with that hint.
sub told
{
	my ($change, $detail, $hint, $relay) = @_;
	my $is = '';
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$relay //= 'default';
	eval { wait_until(undef, sub { ($is = last_change($relay)) =~ /^\Q$change\E$/m }, $change) };
	like($is, qr/^\Q$change\E\n$detail\n$hint$/, "$relay: $change");
	return;
}

sub activities
{
	return $node->safe_psql('postgres', <<~'END');
		SELECT string_agg(query, ', ' ORDER BY application_name) FROM pg_stat_activity
		WHERE backend_type LIKE 'outbox %'
		END
}

# That is what they do: they say so again after each transaction, which says
# what it is for.
sub become_active
{
	my ($expected, $name) = @_;
	my $is = '';
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	eval { wait_until(undef, sub { ($is = activities()) =~ $expected }, $name) };
	like($is, $expected, $name);
	return;
}

start();
$node->safe_psql('postgres', 'CREATE EXTENSION outbox');
my $publishes = quotemeta 'It publishes to ' . $mock->bootstrap;
my $where = "$publishes\\.";
told('stopped -> publishing', $where, '');
become_active(qr/^outbox: looking after relays, outbox: publishing: $publishes$/,
	'pg_stat_activity tells what they do');

note 'a state that comes and goes';
$node->safe_psql('postgres', q{SELECT outbox.create_relay('busy', topics => '{none}')});
told('stopped -> unconfigured', qr/there is no file ".*busy\.properties"\./, qr/Write bootstrap.*/, 'busy');
$node->safe_psql('postgres', <<~'END');
	SET statement_timeout = '60s';
	CREATE FUNCTION state() RETURNS text LANGUAGE sql AS
		$$SELECT state FROM outbox.stat_relay WHERE relay = 'busy'$$;
	DO $$
	BEGIN
		FOR i IN 1 .. 45 LOOP
			PERFORM outbox.pause('busy');
			COMMIT;
			WHILE state() <> 'paused' LOOP PERFORM pg_sleep(0.002); END LOOP;
			PERFORM outbox.resume('busy');
			COMMIT;
			WHILE state() = 'paused' LOOP PERFORM pg_sleep(0.002); END LOOP;
		END LOOP;
		RAISE LOG 'all is told before this';
	END $$
	END
wait_until(undef, sub { messages(qr/^all is told before this$/) }, 'all is told');
# it ends in the other state than the log has
my $untold = last_change('busy') =~ /-> paused/ ? 'unconfigured' : 'paused';
$node->safe_psql('postgres', q{SELECT outbox.pause('busy')}) if $untold eq 'paused';

note 'each state';
$mock->command('down');
$node->safe_psql('postgres', q{SELECT outbox_emit('t', 'k', 'x')});
told('publishing -> unavailable', qr/Kafka is unavailable: .*\./, '');
become_active(qr/, outbox: unavailable: Kafka is unavailable: \w/, 'and pg_stat_activity, too');
$mock->command('up');
told('unavailable -> publishing', qr/Kafka is available again after \d+ s\./, '');
$node->safe_psql('postgres', q{SELECT outbox.pause('default')});
told('publishing -> paused', qr/Events are kept.*/, qr/outbox\.paused tells.*/);
$node->safe_psql('postgres', q{SELECT outbox.resume('default')});
told('paused -> publishing', $where, '');
conf_reload($node, "outbox.bootstrap_servers = ''");
told('publishing -> unconfigured', qr/outbox\.bootstrap_servers is not set\./, qr/Set .*, and reload\./);
conf_reload($node, "outbox.bootstrap_servers = '@{[ $mock->bootstrap ]}'");
told('unconfigured -> publishing', $where, '');

# an error: what is retried cannot be read
$node->safe_psql('postgres', <<~'END');
	CREATE TABLE forbidden (i int CHECK (i > 0));
	CREATE RULE forbid AS ON DELETE TO outbox.parked DO ALSO INSERT INTO forbidden VALUES (0);
	ALTER TABLE outbox.parked ENABLE ALWAYS RULE forbid;
	SELECT outbox_emit('t', 'error', 'later');
	END
told('publishing -> failing', qr/Retrying parked events has failed, and is tried again in 100 ms\./, '');
$node->safe_psql('postgres', q{DROP RULE forbid ON outbox.parked});
$node->reload;
told('failing -> publishing', 'What has failed goes well again.', '');

$node->safe_psql('postgres', 'SELECT pg_terminate_backend(pid) FROM outbox.stat_relay WHERE relay = \'default\'');
wait_until(undef, sub { last_change('default') =~ /^stopped -> publishing/ }, 'it comes back');
conf_reload($node, 'outbox.enabled = off');
told('publishing -> disabled', qr/outbox\.enabled is off: .*/, '');
conf_reload($node, 'outbox.enabled = on');
told('disabled -> publishing', $where, '');

note 'what an event or a broker contains';
my $odd = q{E'a "b", c;\n2026-01-01 LOG:  forged\t\x01' || U&'\00FC'};
my $ids = $node->safe_psql('postgres', <<~"END");
	SELECT outbox_emit('t', $odd, '"\\n', expires_at => now() - interval '1 s');
	SELECT outbox_emit('t', 'long' || repeat('x', 500), 'x', expires_at => now() - interval '1 s');
	SELECT outbox_emit('t', $odd, '\\xff00'::bytea, headers => '{"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}',
		expires_at => now() - interval '1 s');
	SELECT outbox_emit('t', $odd, 'ugly'::bytea);
	SELECT outbox_emit('t', 'blocks', 'later'::bytea);
	END
my @ids = split /\n/, $ids;
ok(wait_published($node), 'published or parked');
my $quoted = quotemeta q{"a \"b\", c;\n2026-01-01 LOG:  forged\t\u0001} . "\x{fc}\"";
my $relay = 'outbox relay for database "postgres"';
for my $case (
	[ "$quoted\\) is a dead letter: expired before it was published" ],
	[ 'longx{96}"\.\.\.\) is a dead letter: expired before it was published' ],
	[ "$quoted, trace 4bf92f3577b34da6a3ce929d0e0e4736\\) is a dead letter: expired before it was published" ],
	[ "$quoted\\) is a dead letter: \"ugly\", 'it'; gr\\?\\?n 2026-01-01 LOG:  forged  \\?\\? end" ],
	[ '"blocks"\) is parked, and blocks its key: refused' ])
{
	my $id = shift @ids;
	my ($rest) = @$case;
	is(scalar(messages(qr/^$relay: event $id \(id \d+, topic "t", key "?$rest$/)), 1, "one line: $rest");
}
is($node->safe_psql('postgres', q{SELECT count(*) FROM outbox.dead_letter WHERE error LIKE '%gr??n%forged%'}), 1,
	'what is stored is in the encoding of the database');
append_to_file("$lies/postgres.new", "stream ugly\n");
rename "$lies/postgres.new", "$lies/postgres" or die "rename: $!";
$node->safe_psql('postgres', q{SELECT outbox_emit('t', 'k', 'x')});
ok(wait_published($node), 'published');
ok(wait_until(undef, sub { messages(qr/^outbox: librdkafka: "ugly", 'it'; gr\?\?n 2026-01-01 LOG:  forged  \?\? end$/) }, 'told'),
	'a line of the client library is one, too');

note 'the states of a relay that has come and gone, when there is room for lines again';
my ($is, $n) = ('', 0);
eval { wait_until(60, sub { ($n) = ($is = last_change('busy')) =~ /-> $untold.*Changes in between, not told: (\d+)\./s }, 'told at last') };
cmp_ok($n // 0, '>', 10, 'many changes were left out') or diag $is;

$node->stop;
for my $relay ('default', 'busy')
{
	my @changes = map { $_->{message} =~ s/.*: //r } changes($relay);
	my $at = 'stopped';
	my @broken;

	for my $change (@changes)
	{
		my ($from, $to) = $change =~ /(\w+) -> (\w+)/;
		push @broken, $change if $from ne $at || $to eq $at;
		$at = $to;
	}
	is("@broken", '', "$relay: each line begins where the one before has ended");
	is($at, 'stopped', '... and the last one is the end') if $relay eq 'default';
	$n = @changes;
}
cmp_ok($n, '<', 75, "busy: $n changes are told");
is(scalar(messages(qr/publishing -> stopped/)), 2, 'two ends: pg_terminate_backend(), and that of the server');
my @others = grep { !/tried again in [248]00 ms$/ } map { $_->{message} } messages(qr/outbox relay (?!.*(?: -> |: event ))/);
is("@others", '', 'and no other line says the same');

# csvlog by the rules of CSV: the same messages.
my $csv = slurp_file("$log.csv");
my @records = ([]);
while ($csv =~ /\G(?:"((?:[^"]|"")*)"|([^",\n]*))([,\n])/gc)
{
	my ($quoted, $plain, $end) = ($1, $2, $3);
	push @{ $records[-1] }, defined $quoted ? $quoted =~ s/""/"/gr : $plain;
	push @records, [] if $end eq "\n";
}
is(pos($csv) // 0, length $csv, 'csvlog is CSV to its end');
pop @records;
is(scalar(grep { @$_ != 26 } @records), 0, '... of 26 columns');
utf8::decode($_->[13]) for @records;
is_deeply([ map { $_->[13] } @records ], [ map { $_->{message} } lines() ], '... and tells the same as jsonlog');

done_testing();
