# Who may emit to which topics, while rights, roles and their owners change.
#
# Catches: a right that a session remembers when it is gone, or does not see
# when it has come; another role's rights that are taken for the user's own;
# a right that is lost when its role is renamed, or that another role inherits
# from one that was dropped; a dump that brings them to the wrong role, or none
# because one role is missing; emitters or the relay that wait for who grants.

use strict;
use warnings;

use IPC::Run;
use OutboxTest;
use OutboxTest::Server;
use PostgreSQL::Test::Utils ();
use Test::More;

my $mock = OutboxTest::Mock->new;
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1,
	conf => 'max_prepared_transactions = 2');
my $dir = PostgreSQL::Test::Utils::tempdir('dump');

sub rights
{
	my ($at, $db) = @_;

	return $at->safe_psql($db // 'postgres', <<~'END');
		SELECT string_agg(format('%s %s %s', role, topic, granted_to), ', ' ORDER BY role COLLATE "C", topic COLLATE "C")
		FROM outbox.emit_rights WHERE granted_to IS NOT NULL
		END
}

# Sessions that live as long as the test, and remember what they have seen.
my %sessions = map {
	my $session = $node->background_psql('postgres', on_error_stop => 0);
	$session->query_safe("SET SESSION AUTHORIZATION $_") if $_ ne 'admin';
	($_ => $session);
} map { query($_ eq 'admin' ? 'SELECT' : "CREATE ROLE $_"); $_ } qw(admin app member owner stranger);

# What a session answers, and the error.
sub answer
{
	my ($who, $sql) = @_;
	my $session = $sessions{$who};
	my $answer = $session->query($sql);
	my $error = $session->{stderr};

	$session->{stderr} = '';
	return ($answer, $error);
}

# Is it allowed to emit to the topic, in a session of this role?
sub allowed
{
	my ($who, $topic) = @_;
	my ($answer, $error) = answer($who, "SELECT outbox_emit('$topic', 'k', 'v') IS NOT NULL");

	return 1 if $answer eq 't';
	return 0 if $error =~ /ERROR:  permission denied for topic "\Q$topic\E"/;
	die "$who, $topic: $answer $error";
}

sub is_allowed
{
	my ($who, $topic, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is(allowed($who, $topic), 1, $name);
}

sub is_refused
{
	my ($who, $topic, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is(allowed($who, $topic), 0, $name);
}

my $emit = 'outbox_emit(text, text, text, jsonb, timestamptz, interval, timestamptz, uuid, text, text, text)';
my @execute = map { "GRANT EXECUTE ON FUNCTION $emit TO $_" } qw(app member owner stranger);
query($_) for @execute;

note 'transactions';
is_refused('app', 'a', 'EXECUTE alone is not enough');
my $admin = $sessions{admin};
$admin->query_safe("BEGIN; SELECT outbox.grant_emit('app', '{a,b*}')");
is($admin->query("SET LOCAL ROLE app; SELECT outbox_emit('a', 'k', 'v') IS NOT NULL; RESET ROLE"),
	't', 'who grants can use it at once');
my $from = log_end($node);
is_refused('app', 'a', 'others cannot, and do not wait');
query("SELECT outbox_emit('free', 'k', 'v')");
ok(wait_published($node), '... nor does the relay');
nobody_waited($node, $from, '... for any lock');
$admin->query_safe('ROLLBACK');
is_refused('app', 'a', 'rolled back');
$admin->query_safe("BEGIN; SAVEPOINT s; SELECT outbox.grant_emit('app', '{a}')");
$admin->query_safe("SET LOCAL ROLE app; SELECT outbox_emit('a', 'k', 'v'); RESET ROLE");
$admin->query_safe('ROLLBACK TO s; SET LOCAL ROLE app');
like((answer('admin', "SELECT outbox_emit('a', 'k', 'v')"))[1],
	qr/permission denied for topic "a"/, 'rolled back to a savepoint');
$admin->query('ROLLBACK');
$admin->query_safe("SELECT outbox.grant_emit('app', '{a,b*}')");
is_allowed('app', 'a', 'committed');
is_allowed('app', 'bee', 'a pattern');
is_refused('app', 'ab', '... from its beginning on');
$sessions{app}->query_safe("PREPARE emit AS SELECT outbox_emit('a', 'k', 'v'); EXECUTE emit");
$admin->query_safe("BEGIN; SELECT outbox.revoke_emit('app', '{a}')");
is_allowed('app', 'a', 'what is revoked is allowed until that commits');
$admin->query_safe('COMMIT');
is_refused('app', 'a', '... and then no more');
like((answer('app', 'EXECUTE emit'))[1], qr/permission denied for topic "a"/,
	'... nor by a prepared statement');
is_allowed('app', 'b', 'the rest stays');
query("BEGIN; SELECT outbox.grant_emit('app', '{prepared}'); PREPARE TRANSACTION 'p'");
is_refused('app', 'prepared', 'prepared');
query("COMMIT PREPARED 'p'");
is_allowed('app', 'prepared', '... and committed');
query("BEGIN; SELECT outbox.grant_emit('app', '{never}'); PREPARE TRANSACTION 'p'");
query("ROLLBACK PREPARED 'p'");
is_refused('app', 'never', '... or rolled back');

note 'members';
query('GRANT app TO member');
is_allowed('member', 'b', 'a member has what the role has');
is(rights($node), 'app b* app, app prepared app, member b* app, member prepared app', '... as the view tells');
query('REVOKE app FROM member');
is_refused('member', 'b', 'no member any more');
query('ALTER ROLE member NOINHERIT; GRANT app TO member');
is_refused('member', 'b', 'NOINHERIT');
$sessions{member}->query_safe('SET ROLE app');
is_allowed('member', 'b', '... until SET ROLE');
$sessions{member}->query_safe('RESET ROLE');
is_refused('member', 'b', '... and back');
query('ALTER ROLE member SUPERUSER');
is_allowed('member', 'anything', 'a superuser may');
query('ALTER ROLE member NOSUPERUSER');
is_refused('member', 'anything', '... while he is one');
query(<<~'END');
	CREATE TABLE orders (id int);
	GRANT INSERT ON orders TO stranger;
	CREATE FUNCTION emit_order() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS
		$$ BEGIN PERFORM public.outbox_emit('b' || NEW.id, 'k', NEW::text); RETURN NEW; END $$;
	ALTER FUNCTION emit_order OWNER TO app;
	CREATE TRIGGER emit_order AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION emit_order();
	SELECT outbox.grant_emit('app', '{b*}');
	END
is_refused('stranger', 'b1', 'a stranger');
$sessions{stranger}->query_safe('INSERT INTO orders VALUES (1)');
is(query("SELECT count(*) FROM outbox.event WHERE topic = 'b1'"), 1, '... emits by a trigger of SECURITY DEFINER');
is_refused('stranger', 'b1', '... and only by that');
query('ALTER FUNCTION emit_order OWNER TO stranger');
fails_with($node, 'postgres', 'INSERT INTO orders VALUES (2)', '42501', qr/Role "stranger" has no right/,
	'... whose owner counts, even for a superuser');

note 'many at once';
query(<<~'END');
	DO $$
	BEGIN
		FOR i IN 1 .. 30 LOOP
			EXECUTE format('CREATE ROLE many_%s', i);
			PERFORM outbox.grant_emit(format('many_%s', i)::regrole, ARRAY[format('m%s', i), format('m%s.*', i)]);
		END LOOP;
	END $$
	END
is(query(<<~'END'), '60|1740', 'each role has its own topics, and no other');
	CREATE FUNCTION try(topic text) RETURNS boolean LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM outbox_emit(topic, 'k', 'v');
		RETURN true;
	EXCEPTION WHEN insufficient_privilege THEN
		RETURN false;
	END $$;
	CREATE TABLE tried (own boolean, done boolean);
	DO $$
	BEGIN
		FOR i IN 1 .. 30 LOOP
			FOR j IN 1 .. 30 LOOP
				EXECUTE format('SET LOCAL ROLE many_%s', i);
				DECLARE
					first boolean := public.try(format('m%s', j));
					second boolean := public.try(format('m%s.x', j));
				BEGIN
					RESET ROLE;
					INSERT INTO public.tried VALUES (i = j, first), (i = j, second);
				END;
			END LOOP;
		END LOOP;
	END $$;
	SELECT count(*) FILTER (WHERE own AND done), count(*) FILTER (WHERE NOT own AND NOT done) FROM tried
	END

note 'roles come and go';
query('ALTER ROLE many_1 RENAME TO renamed');
like(rights($node), qr/renamed m1 renamed, renamed m1\.\* renamed/, 'renamed');
query('CREATE ROLE many_1');
is(query(<<~'END'), '2|0', 'and who gets its name gets nothing else');
	SELECT count(*) FILTER (WHERE role = 'renamed'), count(*) FILTER (WHERE role = 'many_1') FROM outbox.emit_rights
	END
fails_with($node, 'postgres', 'DROP ROLE renamed', '2BP01', qr/privileges for function outbox_emit/,
	'a role with a right cannot be dropped');
query('REASSIGN OWNED BY renamed TO many_1');
is(query("SELECT count(*) FROM outbox.emit_rights WHERE role = 'renamed'"), 2, 'REASSIGN OWNED leaves it');
query('DROP OWNED BY renamed; DROP ROLE renamed');
is(query("SELECT count(*) FROM outbox.granted_topic WHERE topic LIKE 'm1' OR topic LIKE 'm1.%'"), 0,
	'DROP OWNED takes it');
query('DROP OWNED BY ' . join(', ', map { "many_$_" } 2 .. 30));
fails_with($node, 'postgres', "SELECT outbox.revoke_emit('app', '{b}')", '42704',
	qr/has not been granted topic "b"/, 'a part of a pattern cannot be revoked');
query("SELECT outbox.revoke_emit('app')");
is_refused('app', 'b', 'revoked') if query($execute[0]) eq '';
is(rights($node), '', 'nobody has any');

note 'EXECUTE and a right are both needed, by the same role';
query("SELECT outbox.grant_emit('app', '{a}')");
is_allowed('app', 'a', 'both');
query("REVOKE EXECUTE ON FUNCTION $emit FROM app; GRANT app TO stranger");
is_refused('stranger', 'a', 'EXECUTE by one role, the right by another');
is(rights($node), 'app a app, stranger a app', 'the view is about all signatures');
query("GRANT EXECUTE ON FUNCTION $emit TO app");
is_allowed('stranger', 'a', 'both by one role');
query('REVOKE app FROM stranger; DROP OWNED BY app');
query($execute[0]);
query("SELECT outbox.grant_emit('stranger', '{never}'); SELECT outbox.revoke_emit('stranger')");
query($_) for @execute;

note 'changes of the table itself';
for (
	[ "INSERT INTO outbox.emit_right VALUES ('stranger', 'x')", 'x' ],
	[ "UPDATE outbox.emit_right SET topic = 'y'", 'y' ],
	[ "MERGE INTO outbox.emit_right USING (VALUES ('z')) AS v (topic) ON true WHEN MATCHED THEN UPDATE SET topic = v.topic", 'z' ],
	[ 'DELETE FROM outbox.emit_right', undef ],
	[ "COPY outbox.emit_right FROM PROGRAM 'echo stranger,x' CSV", 'x' ],
	[ 'TRUNCATE outbox.emit_right', undef ],
	[ "SET session_replication_role = replica; INSERT INTO outbox.emit_right VALUES ('stranger', 'y')", 'y' ])
{
	my ($sql, $topic) = @$_;

	query($sql);
	is(join(' ', grep { allowed('stranger', $_) } qw(x y z)), $topic // '', $sql);
}
query('TRUNCATE outbox.emit_right');
fails_with($node, 'postgres', "INSERT INTO outbox.emit_right VALUES ('stranger', 'a b')", '23514', qr/check constraint/,
	'no topic');
fails_with($node, 'postgres', 'ALTER TABLE outbox.emit_right DISABLE TRIGGER rights', '0A000', qr/cannot change objects/,
	'the trigger stays');
is_refused('owner', 'a', 'not the owner');
query('ALTER TABLE outbox.emit_right OWNER TO owner');
is_allowed('owner', 'a', 'the owner');
query('GRANT owner TO app');
is_allowed('app', 'a', '... and his members');
query('REVOKE owner FROM app');
is_refused('app', 'a', '... no more');
query('ALTER TABLE outbox.emit_right OWNER TO pg_database_owner; ALTER DATABASE postgres OWNER TO owner');
is_allowed('owner', 'a', 'who owns the database');
query('ALTER DATABASE postgres OWNER TO stranger');
is_refused('owner', 'a', '... has changed');
query('ALTER DATABASE postgres OWNER TO CURRENT_USER; ALTER TABLE outbox.emit_right OWNER TO CURRENT_USER');

note 'what is on its way';
query("SELECT outbox.grant_emit('app', '{late}')");
query("SET ROLE app; SELECT outbox_emit('late', 'k', 'v', deliver_after => '1 s')");
query("SELECT outbox.revoke_emit('app')");
$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM outbox.event WHERE topic = 'late'") or die;
ok(wait_published($node), 'delayed events are published, whatever has been revoked');

note 'another outbox';
query("SELECT outbox.grant_emit('app')");
is_allowed('app', 'a', 'before');
query('DROP EXTENSION outbox; CREATE EXTENSION outbox');
query($execute[0]);
is_refused('app', 'a', 'after');

note 'dump and restore';
query(q{SELECT outbox.grant_emit('app', '{orders.*,a_b}'); SELECT outbox.grant_emit('stranger')});
query(q{CREATE ROLE "Odd ""role'"; SELECT outbox.grant_emit('"Odd ""role''"', '{odd}')});
my $all = q{Odd "role' odd Odd "role', app a_b app, app orders.* app, stranger * stranger};
is(rights($node), $all, 'the source');
query("INSERT INTO outbox.emit_right VALUES (4000000000::oid, 'orders.*')");
my $copy = outbox_node('copy', conf => 'outbox.enabled = off');
# other OIDs, of which some are those of other roles in the source
$copy->safe_psql('postgres', 'CREATE ROLE zero; CREATE ROLE stranger; CREATE ROLE app; CREATE DATABASE missing');
$copy->safe_psql('postgres', 'CREATE DATABASE complete');
my @server = ('-h', $copy->host, '-p', $copy->port);
IPC::Run::run([ 'pg_dump', '-Fc', '-h', $node->host, '-p', $node->port, '-f', "$dir/dump", 'postgres' ]) or die;
IPC::Run::run([ 'pg_restore', @server, '-d', 'missing', "$dir/dump" ], '2>', \my $errors);
like($errors, qr/role "Odd "role'" does not exist.*COPY emit_right/s, 'a role is missing');
is(rights($copy, 'missing'), '', '... and nobody has a right');
$copy->safe_psql('missing', q{SELECT outbox.grant_emit('app')});
is(rights($copy, 'missing'), 'app * app', '... until it is granted again');

$copy->safe_psql('postgres', q{CREATE ROLE "Odd ""role'"});
IPC::Run::run([ 'pg_restore', @server, '-d', 'complete', "$dir/dump" ], '2>', \$errors);
is($errors, '', 'all roles are there');
is(rights($copy, 'complete'), $all, '... with their rights');
is($copy->safe_psql('complete', "SET ROLE app; SELECT outbox_emit('orders.new', 'k', 'v') IS NOT NULL"), 't',
	'... as good as before');
fails_with($copy, 'complete', "SET ROLE app; SELECT outbox_emit('other', 'k', 'v')", '42501', qr/topic "other"/,
	'... and no better');

$_->quit for values %sessions;
$copy->stop;
$node->stop;
done_testing();
