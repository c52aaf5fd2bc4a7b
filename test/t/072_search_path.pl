# What others have put into the schema of outbox_emit(), which may be public.
#
# Catches: operators of theirs that run as superuser in CREATE EXTENSION or in
# a view of ours; functions of theirs that are taken for ours.

use strict;
use warnings;

use OutboxTest;
use OutboxTest::Older;
use OutboxTest::Server;
use Test::More;

my $mock = OutboxTest::Mock->new;
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	install_path => older_install_path());
my $older = older_version();

query(<<~'END');
	CREATE ROLE mallory;
	CREATE ROLE eve;
	GRANT CREATE ON SCHEMA public TO mallory;
	SET ROLE mallory;
	CREATE TABLE caught (what text);
	CREATE FUNCTION caught(what text) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		IF current_user <> 'mallory' THEN
			INSERT INTO public.caught VALUES (what);
		END IF;
	END $$;
	END

# A better match than what core has, for each of these pairs of types
my $traps = 0;
for (
	[ '=', 'oid', 'regclass' ],
	[ '=', 'oid', 'regprocedure' ],
	[ '=', 'name', 'text' ],
	[ '<>', 'text', 'name' ],
	[ '*', 'numeric', 'bigint' ],
	[ '-', 'bigint', 'integer' ],
	[ '>=', 'bigint', 'integer' ])
{
	my ($operator, $left, $right) = @$_;
	my $result = $operator =~ /[*-]/ ? 'numeric' : 'boolean';
	my $trap = 'trap_' . ++$traps;

	query(<<~END);
		SET ROLE mallory;
		CREATE FUNCTION $trap($left, $right) RETURNS $result LANGUAGE plpgsql AS \$\$
		BEGIN PERFORM public.caught('$left $operator $right'); RETURN NULL; END \$\$;
		CREATE OPERATOR $operator (leftarg = $left, rightarg = $right, function = $trap);
		END
}
query(<<~'END');
	SET ROLE mallory;
	CREATE FUNCTION outbox_emit(bigint, text, text, jsonb) RETURNS uuid
		LANGUAGE sql AS $$ SELECT NULL::uuid $$;
	GRANT EXECUTE ON FUNCTION outbox_emit(bigint, text, text, jsonb) TO PUBLIC;
	GRANT EXECUTE ON FUNCTION outbox_emit(bigint, text, text, jsonb) TO eve WITH GRANT OPTION;
	END

for my $how ('CREATE EXTENSION outbox',
	"CREATE EXTENSION outbox VERSION '$older'; ALTER EXTENSION outbox UPDATE")
{
	query($how);
	query(<<~'END');
		SELECT outbox_emit('t', 'k', 'x');
		SELECT outbox.replay(first_id => 1);
		SELECT * FROM outbox.stat_relay, outbox.stat_storage, outbox.stat_replay;
		SELECT * FROM outbox.event_status, outbox.blocked, outbox.dead_letter;
		SELECT outbox.grant_emit('eve');
		REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA public FROM eve;
		END
	is(query('SELECT DISTINCT what FROM caught'), '', "$how: nobody else's code runs");
	is(query(<<~'END'), '', '... and nobody gets a privilege');
		SET search_path = pg_catalog, pg_temp;
		SELECT p.oid::regprocedure, p.proacl FROM pg_proc p
		JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e',
			aclexplode(p.proacl) a
		WHERE (a.grantee NOT IN (p.proowner, 'pg_monitor'::regrole, 'eve'::regrole)
				OR a.grantee = 'eve'::regrole AND a.is_grantable)
			-- which read their argument only
			AND p.proname NOT IN ('payload_text', 'payload_json')
		END
	is(query(q{SET search_path = pg_catalog, pg_temp; SELECT count(*) FROM pg_proc WHERE proname = 'outbox_emit' AND proowner = 'mallory'::regrole}),
		1, '... and her function is still there');
	query('DROP EXTENSION outbox');
}

$node->stop;
done_testing();
