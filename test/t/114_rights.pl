# Who may what: every function, view and table of ours, as every kind of user,
# really called; and what users could do to those who may more.
#
# Catches: an object that is open to somebody without having been granted, or
# closed to somebody who has been; one that was added without asking who may
# use it; a function that runs as its owner and finds the objects of others.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Server;
use Test::More;

my $node = outbox_node('main', conf => "outbox.enabled = off\nmax_connections = 60");

# The owner of the extension is no superuser any more.
my @roles = qw(super owner dbowner operator emitter orders monitor nobody);
query("CREATE ROLE $_ LOGIN") for @roles;
query('ALTER ROLE super SUPERUSER; ALTER ROLE owner SUPERUSER; GRANT pg_monitor TO monitor');
query('CREATE DATABASE app OWNER dbowner');

sub admin { return query($_[0], 'app'); }

admin('SET ROLE owner; CREATE EXTENSION outbox');
admin('ALTER ROLE owner NOSUPERUSER');
admin(<<~'END');
	SET ROLE owner;
	SELECT outbox.grant_operate('operator');
	SELECT outbox.grant_emit('emitter');
	SELECT outbox.grant_emit('orders', '{orders.*}');
	END

# A session of each role
my %sessions = map {
	my $session = $node->background_psql('app', on_error_stop => 0);

	$session->query_safe("\\set VERBOSITY verbose\nSET SESSION AUTHORIZATION $_");
	($_ => $session);
} @roles;

# Runs SQL as a role and undoes it; returns 'yes', 'no' (42501), or the error.
sub try
{
	my ($role, $sql) = @_;
	my $session = $sessions{$role};

	$session->query("BEGIN; $sql; ROLLBACK");
	my $err = $session->{stderr};
	$session->{stderr} = '';
	return 'yes' if $err !~ /(?:ERROR|FATAL):  (\w{5}): (.*)/;
	return $1 eq '42501' ? 'no' : "$1 $2";
}

# The roles who can do it; the first error that is none of privileges.
sub who
{
	my ($sql, $expected_error) = @_;
	my @can;

	for my $role (@roles)
	{
		my $answer = try($role, $sql);

		$answer = 'yes' if defined $expected_error && $answer =~ $expected_error;
		return "$role: $answer" if $answer !~ /^(?:yes|no)$/;
		push @can, $role if $answer eq 'yes';
	}
	return "@can";
}

sub expected
{
	my %can = map { $_ => 1 } qw(super owner), @_;
	return join ' ', grep { $can{$_} } @roles;
}

my $as_trigger = qr/^(?:0A000 trigger functions can only|39P01 .* must be called as a trigger)/;
my @emitters = qw(emitter orders);
my @watchers = qw(operator monitor);

# What is called, by whom, and the error that means that it could be called
my %functions = (
	alter_relay => [ "outbox.alter_relay('other', on_failure => 'skip')", 'operator' ],
	alter_subscription => [ "outbox.alter_subscription('other', workers => 2)", 'operator' ],
	backfill => [ "outbox.backfill('public.published')" ],
	cancel_backfill => [ 'outbox.cancel_backfill(1)', 'operator' ],
	cancel_delayed => [ 'outbox.cancel_delayed(gen_random_uuid())', 'operator' ],
	cancel_replay => [ 'outbox.cancel_replay(1)', 'operator' ],
	capture => [ 'outbox.capture()', { error => $as_trigger } ],
	capture_changed => [ 'outbox.capture_changed()', { error => $as_trigger } ],
	check_attribute => [ "outbox.check_attribute('type', 'x')" ],
	check_backfill => [ "outbox.check_backfill('public.published', '{}', NULL)" ],
	check_capture => [ "outbox.check_capture(1, 'outbox.relay')", { error => qr/^55000/ } ],
	check_patterns => [ "outbox.check_patterns('x', '{a}', 'x', NULL)" ],
	check_handler => [ "outbox.check_handler('public.handle(outbox.message)', 'owner', 'owner')" ],
	check_place => [ "outbox.check_place('start', 'latest')" ],
	check_subscription => [ "outbox.check_subscription(s) FROM outbox.subscription s" ],
	check_relay => [ 'outbox.check_relay(r) FROM outbox.relay r' ],
	create_view => [ 'outbox.create_view(NULL)', @emitters, { error => qr/^22023/ } ],
	create_relay => [ "outbox.create_relay('new', topics => '{a}')", 'operator' ],
	discard => [ 'outbox.discard(until => now())', 'operator' ],
	drop_topic_rule => [ "outbox.drop_topic_rule('a')" ],
	drop_relay => [ "outbox.drop_relay('other', discard => true)", 'operator' ],
	drop_capture => [ "outbox.drop_capture(0, 'public.listed')" ],
	emitted => [ '* FROM outbox.emitted()', @emitters ],
	event_view => [ 'outbox.event_view()', @emitters, { error => $as_trigger } ],
	event_view_rows => [ "* FROM outbox.event_view_rows('x')", @emitters ],
	grant_emit => [ "outbox.grant_emit('nobody')" ],
	grant_operate => [ "outbox.grant_operate('nobody')" ],
	health => [ '* FROM outbox.health()', @watchers ],
	health_of_relays => [ '* FROM outbox.health_of_relays()' ],
	health_of_server => [ '* FROM outbox.health_of_server()' ],
	health_thresholds => [ '* FROM outbox.health_thresholds()' ],
	health_of_storage => [ '* FROM outbox.health_of_storage()' ],
	health_of_subscriptions => [ '* FROM outbox.health_of_subscriptions()' ],
	horizon => [ 'outbox.horizon()' ],
	inbox_discard => [ "outbox.inbox_discard(subscription => 'other')", 'operator' ],
	inbox_requeue => [ 'outbox.inbox_requeue()', 'operator' ],
	keep_relay_away => [ 'outbox.keep_relay_away()', { error => $as_trigger } ],
	key_text => [ q{outbox.key_text('\xff')}, @watchers ],
	launcher_status => [ '* FROM outbox.launcher_status()', @watchers ],
	merge_relay => [ 'outbox.merge_relay()', { error => $as_trigger } ],
	metrics => [ 'outbox.metrics()', @watchers ],
	metric_labels => [ q{outbox.metric_labels('{"a": "b"}')}, @watchers ],
	metrics_rows => [ '* FROM outbox.metrics_rows()', @watchers ],
	note_caller => [ 'outbox.note_caller()', 'operator' ],
	noted_caller => [ 'outbox.noted_caller()', { error => qr/^22023/ } ],
	parked_changed => [ 'outbox.parked_changed()' ],
	pause => [ "outbox.pause('other', 'why')", 'operator' ],
	pause_subscription => [ "outbox.pause_subscription('other', 'why')", 'operator' ],
	payload_json => [ "outbox.payload_json(NULL)", @emitters, @watchers ],
	payload_text => [ "outbox.payload_text(NULL)", @emitters, @watchers ],
	pause_topic => [ "outbox.pause_topic('a', 'other', 'why')", 'operator' ],
	publish_table => [ "outbox.publish_table('public.listed', 'a')" ],
	relay_figures => [ "* FROM outbox.relay_figures('default')", @watchers ],
	relay_histogram => [ "* FROM outbox.relay_histogram('default', 'sent')", @watchers ],
	relay_status => [ '* FROM outbox.relay_status()', @watchers ],
	relay_troubles => [ "* FROM outbox.relay_troubles('default')" ],
	refused_settings => [ 'outbox.refused_settings()' ],
	relays_changed => [ 'outbox.relays_changed()' ],
	replay => [ 'outbox.replay(first_id => 1)', 'operator' ],
	report_no_relay => [ "outbox.report_no_relay('x')", { error => qr/^42704/ } ],
	report_no_subscription => [ "outbox.report_no_subscription('x')", { error => qr/^42704/ } ],
	require_relay => [ "outbox.require_relay('default')" ],
	requeue => [ 'outbox.requeue()', 'operator' ],
	reset_figures => [ "outbox.reset_figures('default')" ],
	resume_backfill => [ 'outbox.resume_backfill(1)', 'operator' ],
	resume => [ "outbox.resume('other')", 'operator' ],
	resume_subscription => [ "outbox.resume_subscription('other')", 'operator' ],
	resume_topic => [ "outbox.resume_topic('a', 'other')", 'operator' ],
	revoke_emit => [ "outbox.revoke_emit('orders')" ],
	revoke_operate => [ "outbox.revoke_operate('operator')" ],
	rights_changed => [ 'outbox.rights_changed()', { error => $as_trigger } ],
	receive => [ "outbox.receive('consumer', 'id')" ],
	grant_receive => [ "outbox.grant_receive('nobody')" ],
	revoke_receive => [ "outbox.revoke_receive('nobody')" ],
	seek => [ "outbox.seek('other', place => 'latest')", 'operator', { error => qr/^42704/ } ],
	segment_status => [ '* FROM outbox.segment_status()', @watchers ],
	set_right => [ "outbox.set_right('nobody', 'emit', true)" ],
	set_topic_rule => [ "outbox.set_topic_rule('a', type => 'x')" ],
	skip_replicated => [ 'outbox.skip_replicated()', { error => $as_trigger } ],
	stat_reset => [ 'outbox.stat_reset()', 'operator' ],
	subscribe => [ "outbox.subscribe('new', '{a}', 'public.handle(outbox.message)')", 'operator' ],
	subscriber_status => [ "* FROM outbox.subscriber_status('other', 0)", @watchers ],
	subscriptions_changed => [ 'outbox.subscriptions_changed()' ],
	top => [ '* FROM outbox.top()', @watchers ],
	topic_figures => [ "* FROM outbox.topic_figures('default')", @watchers ],
	topic_matches => [ "outbox.topic_matches('a', '{a}', NULL)", @watchers ],
	unsubscribe => [ "outbox.unsubscribe('other')", 'operator' ],
	unpublish_table => [ "outbox.unpublish_table('public.published')" ],
	wait_published => [ "outbox.wait_published('0')", @watchers ],
	write_audit => [ "outbox.write_audit('x', '{}', 1)" ]);

# Each signature of outbox_emit() and outbox.emit(), by what is in its place
my %of_type = (text => "'text'::text", any => '7::bigint', payload => q('{}'::jsonb));

my %views = (
	audit => \@watchers,
	blocked => \@watchers,
	dead_letter => ['operator'],
	emit_rights => \@watchers,
	event_status => \@watchers,
	granted_consumer => [],
	granted_topic => [],
	inbox_dead_letter => ['operator'],
	inbox_retry => \@watchers,
	paused => \@watchers,
	published_table => \@watchers,
	receive_rights => \@watchers,
	right_object => [],
	stat_backfill => \@watchers,
	stat_relay => \@watchers,
	stat_replay => \@watchers,
	stat_storage => \@watchers,
	stat_topic => \@watchers,
	stat_subscription => \@watchers,
	subscription_partition => \@watchers,
	topic_rule => \@watchers);

my $members = <<~'END';
	SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
	WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'outbox'
	END

admin("SELECT outbox.create_relay('other')");
admin("CREATE FUNCTION public.handle(m outbox.message) RETURNS void LANGUAGE sql AS ''");
admin("SELECT outbox.subscribe('other', '{a}', 'public.handle(outbox.message)')");
admin("CREATE TABLE public.$_ (id integer PRIMARY KEY); ALTER TABLE public.$_ OWNER TO owner") for qw(listed published);
admin("SET ROLE owner; SELECT outbox.publish_table('public.published', 'a')");

note 'functions';
my %called;
for my $line (split /\n/, admin(<<~END))
	SELECT p.proname, p.oid::regprocedure FROM pg_proc p JOIN ($members) m
		ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid ORDER BY 2::text
	END
{
	my ($name, $signature) = split /\|/, $line, 2;

	if ($name =~ /^(?:outbox_)?emit(?:_now)?$/)
	{
		# nobody runs here who could take an event
		my $error = $name =~ /now$/ ? qr/^55000 could not emit the event/ : undef;
		my ($full, $key, $payload) = $signature =~ /^([\w.]+)\(text,"?(\w+)"?,"?(\w+)"?,/ or die $signature;
		my $arguments = join ', ', $of_type{$key}, $payload eq 'any' ? $of_type{payload} : $of_type{text};

		is(who("SELECT $full('orders.x', $arguments)", $error), expected(@emitters), $signature);
		is(who("SELECT $full('other', $arguments)", $error), expected('emitter'), '... to another topic');
		$called{$signature} = 1;
		next;
	}
	my ($call, @who) = @{ $functions{$name} // [] };
	my $error = ref $who[-1] ? (pop @who)->{error} : undef;

	ok(defined $call, "$signature is in the matrix") or next;
	is(who("SELECT $call", $error), expected(@who), $signature);
	ok(!$called{$name}++, "... is the only one of its name");
}
is(grep({ /emit\(/ } keys %called), 8, 'all signatures of emit');

note 'tables, views and sequences';
for my $line (split /\n/, admin(<<~END))
	SELECT c.relname, c.relkind FROM pg_class c JOIN ($members) m
		ON m.classid = 'pg_class'::regclass AND m.objid = c.oid ORDER BY 1
	END
{
	my ($name, $kind) = split /\|/, $line;
	my $all = $kind eq 'S' ? 'USAGE, SELECT, UPDATE' : 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER';
	my $has = $kind eq 'S' ? 'has_sequence_privilege' : 'has_table_privilege';
	my @who;

	if ($kind eq 'v')
	{
		ok(defined $views{$name}, "view $name is in the matrix") or next;
		@who = @{ $views{$name} };
	}
	is(who($kind eq 'S' ? "SELECT nextval('outbox.$name')" : "SELECT * FROM outbox.$name"), expected(@who), $name);
	is(admin(<<~END), expected(), '... which nobody else may do more with');
		SELECT string_agg(r.name, ' ' ORDER BY r.n) FROM unnest('{@{[ join ',', @roles ]}}'::name[]) WITH ORDINALITY r (name, n)
		WHERE $has(r.name, 'outbox.$name', '$all')
		END
	next if $kind ne 'r';
	is(who("LOCK TABLE ONLY outbox.$name IN ACCESS SHARE MODE"), expected(), '... nor lock');
	is(admin("SELECT bool_or(has_any_column_privilege(r, 'outbox.$name', 'SELECT, INSERT, UPDATE, REFERENCES')) FROM unnest('{dbowner,operator,emitter,orders,monitor,nobody}'::name[]) r"),
		'f', '... nor a column of it');
}

note 'the rest';
is(who("SELECT 'outbox.relay'::regclass; CREATE TEMP TABLE t (r outbox.relay)"),
	expected('operator', @emitters, 'monitor'), 'the schema');
is(who('CREATE TABLE outbox.mine ()'), expected(), '... in which nobody else can create');
is(admin(<<~END), "pg_proc\npg_class\npg_namespace", 'nothing else is in the extension: no type, cast or operator');
	SELECT DISTINCT classid::regclass FROM ($members) m
	-- since PostgreSQL 17, those of rows are, too
	WHERE NOT (classid = 'pg_type'::regclass AND EXISTS (
		SELECT FROM pg_type t LEFT JOIN pg_type e ON e.oid = t.typelem
		WHERE t.oid = m.objid AND (t.typrelid <> 0 OR e.typrelid <> 0)))
	ORDER BY 1
	END
is(admin(<<~END), '', 'what runs as its owner finds nothing of others');
	SELECT p.oid::regprocedure FROM pg_proc p JOIN ($members) m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
	WHERE (p.prosecdef OR p.prolang <> (SELECT oid FROM pg_language WHERE lanname = 'c'))
		AND NOT COALESCE(p.proconfig, '{}') @> '{"search_path=pg_catalog, pg_temp"}'
	END
is(admin(<<~END), "payload_json\npayload_text", 'everybody who gets into the schema has what reads no table');
	SELECT p.proname FROM ($members) m JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid,
		aclexplode(p.proacl) WHERE grantee = 0 ORDER BY 1
	END
is(admin(<<~END), '', 'nobody but who was granted it has anything else');
	SELECT objid, grantee::regrole FROM ($members) m
		LEFT JOIN pg_proc p ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid
		LEFT JOIN pg_class c ON m.classid = 'pg_class'::regclass AND c.oid = m.objid
		LEFT JOIN pg_namespace n ON m.classid = 'pg_namespace'::regclass AND n.oid = m.objid,
		aclexplode(COALESCE(p.proacl, c.relacl, n.nspacl, '{=X/owner}'))
	WHERE classid <> 'pg_type'::regclass AND COALESCE(p.proname, '') NOT LIKE 'payload\\_%' AND grantee NOT IN ('owner'::regrole, 'operator'::regrole, 'emitter'::regrole, 'orders'::regrole, 'pg_monitor'::regrole)
	END

note 'operators do their work';
my $operator = $sessions{operator};
admin(<<~'END');
	INSERT INTO outbox.parked (relay, id, event_id, emitted_at, topic, key, payload, state, blocking, class, last_failed_at)
		SELECT 'default', n, gen_random_uuid(), now(), 't', 'k', 'x', 'dead', true, 'event', now() FROM generate_series(1, 3) n;
	END
is($operator->query(q{SELECT count(*) FROM outbox.requeue(event_id => (SELECT event_id FROM outbox.dead_letter WHERE id = 1))}),
	1, 'requeue');
is($operator->query(q{SELECT count(*) FROM outbox.discard(event_id => (SELECT event_id FROM outbox.dead_letter WHERE id = 2))}),
	1, 'discard');
$operator->query_safe("SELECT outbox.replay(topic => 't')");
is($operator->query('SELECT requested_by FROM outbox.stat_replay'), 'operator', 'replay, which tells by whom');
is(admin('SELECT state FROM outbox.parked WHERE id = 1'), 'waiting', 'as they wanted');

note 'traps of those who may a little';
admin(<<~'END');
	CREATE TABLE public.caught (who name, what text);
	GRANT INSERT ON public.caught TO PUBLIC;
	CREATE SCHEMA trap AUTHORIZATION operator;
	GRANT USAGE ON SCHEMA trap TO PUBLIC;
	GRANT TEMPORARY ON DATABASE app TO operator;
	SET ROLE operator;
	CREATE FUNCTION trap.caught(what text) RETURNS void LANGUAGE plpgsql AS
		$$ BEGIN IF current_user <> 'operator' THEN INSERT INTO public.caught VALUES (current_user, what); END IF; END $$;
	END
my $trap = 0;
for my $operator_of (
	[ '=', 'text', 'text' ], [ '=', 'uuid', 'uuid' ], [ '=', 'bigint', 'bigint' ], [ '=', 'name', 'text' ],
	[ '=', 'oid', 'regrole' ], [ '>=', 'timestamptz', 'timestamptz' ],
	[ '<', 'timestamptz', 'timestamptz' ], [ '!~', 'text', 'text' ], [ '~', 'text', 'text' ])
{
	my ($name, @types) = @$operator_of;

	$trap++;
	admin(<<~END);
		SET ROLE operator;
		CREATE FUNCTION trap.t$trap($types[0], $types[1]) RETURNS boolean LANGUAGE plpgsql AS
			\$\$ BEGIN PERFORM trap.caught('$name'); RETURN true; END \$\$;
		CREATE OPERATOR trap.$name (leftarg = $types[0], rightarg = $types[1], function = trap.t$trap);
		END
}
for my $function ('now()', 'clock_timestamp()', 'format(text, VARIADIC "any")', 'current_setting(text, boolean)',
	'count(text)', 'nextval(regclass)', 'concat(text, text)', 'unnest(text[])')
{
	my ($name) = $function =~ /^(\w+)/;
	my $arguments = $function =~ s/^\w+//r;

	$arguments = '(text, text)' if $arguments =~ /any/;
	admin("SET ROLE operator; CREATE FUNCTION trap.$name$arguments RETURNS text LANGUAGE plpgsql AS"
		  . " \$\$ BEGIN PERFORM trap.caught('$name'); RETURN NULL; END \$\$");
}
$operator->query_safe('SET search_path = trap, pg_temp, outbox, pg_catalog');
for my $table (split /\n/, admin("SELECT relname FROM pg_class WHERE relnamespace = 'outbox'::regnamespace AND relkind IN ('r', 'v')"))
{
	$operator->query_safe("CREATE TEMP TABLE $table (LIKE pg_catalog.pg_class)");
}
my @done;
for my $name (sort keys %functions)
{
	my ($call, @who) = @{ $functions{$name} };

	next if !grep({ $_ eq 'operator' } @who) || !admin("SELECT 1 FROM pg_proc WHERE pronamespace = 'outbox'::regnamespace AND proname = '$name'");
	$operator->{stderr} = '';
	$operator->query("SELECT $call");
	push @done, $name if $operator->{stderr} eq '';
	diag "$name: $operator->{stderr}" if $operator->{stderr} ne '';
}
cmp_ok(@done, '>=', 8, "an operator does his work: @done");
$operator->{stderr} = '';
$operator->quit;
admin(<<~'END');
	SET search_path = trap, pg_catalog;
	SELECT outbox.grant_emit('nobody', '{a,b}'); SELECT outbox.revoke_emit('nobody', '{a}');
	SELECT count(*) FROM outbox.emit_rights, outbox.stat_relay, outbox.event_status, outbox.blocked;
	SELECT public.outbox_emit('t', 'k', 'v'), public.outbox_emit('t', 1, '{}'::pg_catalog.jsonb, '{"a": 1}');
	END
is(admin("SELECT string_agg(format('%s as %s', what, who), ', ') FROM public.caught"), '',
	'and nothing of his has run as another user');

note 'a schema of the same name elsewhere';
query('CREATE DATABASE fake OWNER nobody');
query('SET ROLE nobody; CREATE SCHEMA outbox; CREATE TABLE outbox.relay (name text); CREATE SEQUENCE outbox.event_id_seq; CREATE TABLE outbox.event (id bigint); CREATE TABLE outbox.parked (id bigint)', 'fake');
fails_with($node, 'fake', 'CREATE EXTENSION outbox', '42P06', qr/schema "outbox" already exists/, 'is no place for ours');
conf_reload($node, "outbox.enabled = on\noutbox.bootstrap_servers = '127.0.0.1:1'");
wait_state($node, 'unavailable', 'app');
is(query(q{SELECT string_agg(datname, ' ') FROM pg_stat_activity WHERE backend_type = 'outbox relay' AND datname = 'fake'}),
	'', '... and has no relay');

$node->stop;
done_testing();
