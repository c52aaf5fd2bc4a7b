# A subscription's function: what it is given, as whom it runs, what its answers
# and errors mean, and what it cannot do.
#
# Catches: a message that takes effect twice, or out of order, or is left out,
# because another one of its transaction has failed; bytes that are no text and
# are changed, or stop everything; a function that becomes more than its role,
# by what it does at once or leaves for the end of the transaction; one that
# keeps something for the next message; one that cannot be cancelled and stops
# all others; messages that are blamed for a function that is not there.

use strict;
use warnings;

use IPC::Open2 qw(open2);
use OutboxTest;
use Test::More;

my $mock = OutboxTest::Mock->new(topics => {
		given => 1, latin => 1, ascii => 1, ordered => 4, ids => 1, verdicts => 1, hostile => 1, late => 1,
		gone => 1, out => 1 });
my $node = outbox_node('main',
	bootstrap => $mock->bootstrap,
	extension => 1,
	conf => <<~'END');
		outbox.max_subscribers = 16
		outbox.retry_base_delay = 20ms
		outbox.retry_max_delay = 50ms
		max_worker_processes = 30
		END

# Publishes lines of produce.c.
sub produce
{
	my (@lines) = @_;
	my $pid = open2(my $out, my $in, OutboxTest::Mock::program('produce'), $mock->bootstrap);

	print {$in} "$_\n" for @lines;
	close $in;
	my @fates = <$out>;
	waitpid $pid, 0;
	is(scalar(grep { /error/ } @fates), 0, scalar(@lines) . ' messages are published') or diag @fates;
	return;
}

# How many rows a table must have; waits until it has.
sub count_is
{
	my ($table, $count, $what, $db) = @_;
	my $is;

	eval { wait_until(30, sub { ($is = query("SELECT count(*) FROM $table", $db)) eq $count }) };
	is($is, $count, $what) or diag query(
		"SELECT string_agg(format('%s %s: %s', subscription, state, last_error), E'\n') FROM outbox.stat_subscription", $db);
	return;
}

query(q{
	CREATE ROLE app; CREATE ROLE other;
	CREATE SCHEMA app AUTHORIZATION app;
	SELECT outbox.grant_emit('app');
	CREATE TABLE app.got (n serial, off bigint, part integer, key text, what text, id text);
	ALTER TABLE app.got OWNER TO app;
	GRANT TEMP ON DATABASE postgres TO app;
});

note 'what it is given';
my $given = q{
	CREATE TABLE given AS SELECT (NULL::outbox.message).* WITH NO DATA;
	CREATE FUNCTION given(m outbox.message) RETURNS void LANGUAGE sql AS 'INSERT INTO public.given SELECT (m).*';
	SELECT outbox.subscribe('%s', '{%s}', 'given(outbox.message)', start => 'earliest');
};
my $shown = q{SELECT subscription, topic, partition, "offset", key, key_bytes, payload, headers, message_id, attempt,
	published_at BETWEEN now() - interval '1 h' AND now() + interval '1 h' FROM given ORDER BY "offset"};
my @records = map { s/ /\t/gr } (
	'0 k p',
	'0 \N \N',
	'0   a 1 b \N a 2 x  event_id e-1',
	'0 M\xc3\xbcller \xff\x01 M\xc3\xbc \xc3\xa9 id i-1 ce_id c-1',
	'0 \xffk x b \xff\xfe \xff v event_id \xff ce_id c-2',
	'0 \xe2\x82\xac x k \xe2\x82\xac');
query(sprintf $given, 'given', 'given');
produce(map { "given\t$_" } @records);
count_is('given', 6, 'all are given');
is(query($shown), <<'END' =~ s/\n$//r, 'as they are');
given|given|0|0|k|\x6b|\x70|{}|given/0/0|1|t
given|given|0|1||||{}|given/0/1|1|t
given|given|0|2||\x|\x|{"a": ["1", "2"], "b": null, "x": "", "event_id": "e-1"}|e-1|1|t
given|given|0|3|Müller|\x4dc3bc6c6c6572|\xff01|{"id": "i-1", "Mü": "é", "ce_id": "c-1"}|i-1|1|t
given|given|0|4|\xff6b|\xff6b|\x78|{"b": {"base64": "//4="}, "\\xff": "v", "ce_id": "c-2", "event_id": {"base64": "/w=="}}|c-2|1|t
given|given|0|5|€|\xe282ac|\x78|{"k": "€"}|given/0/5|1|t
END
for my $encoding ([ latin => 'LATIN1' ], [ ascii => 'SQL_ASCII' ])
{
	my ($db, $name) = @$encoding;

	query(qq{CREATE DATABASE $db TEMPLATE template0 ENCODING '$name' LC_COLLATE 'C' LC_CTYPE 'C'});
	query('CREATE EXTENSION outbox', $db);
	query(sprintf($given, $db, $db), $db);
	produce(map { "$db\t$_" } @records);
	count_is('given', 6, "$name: all are given", $db);
	is(query(q{SELECT encode(key::bytea, 'hex'), key_bytes FROM (SELECT replace(key, '\\', '\\\\') AS key, key_bytes FROM given WHERE "offset" IN (3, 5) ORDER BY "offset") AS g}, $db),
		$db eq 'latin'
		? "4dfc6c6c6572|\\x4dc3bc6c6c6572\n5c78653238326163|\\xe282ac"
		: "4dc3bc6c6c6572|\\x4dc3bc6c6c6572\ne282ac|\\xe282ac", "$name: keys");
	is(query(q{SELECT headers -> 'k' FROM given WHERE "offset" = 5}, $db),
		$db eq 'latin' ? '{"base64": "4oKs"}' : '"€"', "$name: a header");
}

note 'in order, as its role, many in a transaction';
query(q{
	CREATE FUNCTION app.ordered(m outbox.message) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO app.got (off, part, key, what, id)
			VALUES (m."offset", m.partition, m.key, format('%s %s', current_user, session_user), m.message_id);
	END $$;
	SELECT outbox.subscribe('ordered', '{ordered}', 'app.ordered(outbox.message)', start => 'earliest', role => 'app');
	SELECT count(outbox_emit('ordered', (i % 50)::text, i::text)) FROM generate_series(1, 3000) AS i;
});
count_is('app.got', 3000, 'each once');
is(query(q{SELECT DISTINCT what FROM app.got}), 'app app', 'as its role');
is(query(q{SELECT count(*) FROM (SELECT off, lag(off) OVER (PARTITION BY part ORDER BY n) AS last FROM app.got) g WHERE off <> last + 1}),
	0, 'in order');
cmp_ok(query('SELECT count(DISTINCT xmin::text) FROM app.got'), '<', 300, 'many in a transaction');

note 'ids';
query(q{
	TRUNCATE app.got;
	SELECT outbox.subscribe('ids', '{ids}', 'app.ordered(outbox.message)', start => 'earliest', role => 'app', id_header => 'my-id');
});
produce(map { "ids\t0\tk\tp\tmy-id\t$_" } 1, 2, 1, 3, 3, 2);
count_is('app.got', 3, 'a repetition has no effect');
is(query(q{SELECT string_agg(id || ':' || off, ' ' ORDER BY n) FROM app.got}), '1:0 2:1 3:3', 'the first has');
wait_until(undef, sub { query(q{SELECT next_offset FROM outbox.subscription_offset WHERE topic = 'ids'}) == 6 });
is(query(q{SELECT handled, repeated FROM outbox.stat_subscription WHERE subscription = 'ids'}), '3|3', 'both are counted');
query(q{SELECT outbox.seek('ids', to_offset => 0, topic => 'ids', partition => 0)});
count_is('app.got', 9, 'after outbox.seek() they have once more');

note 'verdicts and errors';
query(q{
	TRUNCATE app.got;
	CREATE TABLE app.parent (id integer PRIMARY KEY);
	CREATE TABLE app.child (id integer REFERENCES app.parent DEFERRABLE INITIALLY DEFERRED);
	ALTER TABLE app.parent OWNER TO app;
	ALTER TABLE app.child OWNER TO app;
	CREATE SEQUENCE app.tries; ALTER SEQUENCE app.tries OWNER TO app;
	-- the payload is SQL, or an answer
	CREATE FUNCTION app.obey(m outbox.message) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
		command text := convert_from(m.payload, 'UTF8');
	BEGIN
		INSERT INTO app.got (off, key, what) VALUES (m."offset", m.key, command);
		IF command ~ '^=' THEN
			RETURN CASE WHEN m.attempt > 1 AND command = '=retry' THEN NULL ELSE substr(command, 2) END;
		END IF;
		EXECUTE command;
		RETURN '';
	END $$;
	SELECT outbox.subscribe('verdicts', '{verdicts}', 'app.obey(outbox.message)', start => 'earliest', role => 'app',
		retry_max_attempts => 2, handler_timeout => '300 ms');
});
my @commands = (
	'=done', '=', '=retry', '=discard', '=what', 'SELECT 1/0', 'INSERT INTO app.child VALUES (1)',
	'SELECT pg_sleep(60)', "SELECT public.outbox_emit('out', 'k', 'p')", 'INSERT INTO app.nothing VALUES (1)',
	"DO \$\$ BEGIN IF nextval('app.tries') < 4 THEN RAISE serialization_failure; END IF; END \$\$",
	'WITH RECURSIVE r AS (SELECT 1 AS i) SELECT repeat(i::text, 1073741824) FROM r',
	'SELECT app.deep()',
	'CREATE TEMP TABLE a (id int PRIMARY KEY) ON COMMIT DELETE ROWS; CREATE TEMP TABLE b (id int REFERENCES a)');
query(q{CREATE FUNCTION app.deep() RETURNS integer LANGUAGE plpgsql AS 'BEGIN RETURN app.deep() + 1; END'});
produce(map { "verdicts\t0\tk$_\t$commands[$_]" } 0 .. $#commands);
count_is(q{app.got WHERE what ~ 'done|^=$|retry|emit|tries'}, 5, 'what is to have an effect has one');
count_is(q{outbox.inbox_dead_letter WHERE subscription = 'verdicts'}, 8, 'what fails again and again is a dead letter');
is(query(q{SELECT count(*) FROM app.got}), 5, 'and has no effect, as what is discarded');
is(query(q{SELECT string_agg(format('%s %s %s', "offset", sqlstate, split_part(error, E'\n', 1)), E'\n'
		ORDER BY "offset") FROM outbox.inbox_dead_letter}),
	<<'END' =~ s/\n$//r, 'with the reason');
4 22023 the handler has returned "what"
5 22012 division by zero
6 23503 insert or update on table "child" violates foreign key constraint "child_id_fkey"
7 57014 the handler has taken longer than handler_timeout (300 ms)
9 42P01 relation "app.nothing" does not exist
11 54000 requested length too large
12 54001 stack depth limit exceeded
13 0A000 unsupported ON COMMIT and foreign key combination
END
is(query(q{SELECT string_agg(substring(error FROM 'HINT: ([^\n]*)'), E'\n' ORDER BY "offset")
		FROM outbox.inbox_dead_letter WHERE "offset" IN (4, 9)}), <<'END' =~ s/\n$//r, '... and what helps');
It can return null, "done", "retry" or "discard".
A handler without a SET search_path of its own finds only what is named with its schema.
END
is(query(q{SELECT what FROM app.got WHERE what ~ 'retry'}), '=retry', 'another attempt is made');
is(query(q{SELECT next_offset FROM outbox.subscription_offset WHERE topic = 'verdicts'}), 14, 'nothing is left');

note 'what it cannot do';
query(q{
	TRUNCATE app.got;
	CREATE FUNCTION app.who() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT format(''%s %s'', current_user, session_user)';
	SET ROLE app;
	CREATE TABLE app.deferred (id integer);
	CREATE FUNCTION app.log(what text) RETURNS void LANGUAGE sql AS 'INSERT INTO app.got (what) VALUES (what)';
	CREATE FUNCTION app.at_the_end() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM app.log(format('end: %s %s %s', current_user, session_user, current_setting('search_path')));
		BEGIN EXECUTE 'RESET ROLE'; EXCEPTION WHEN OTHERS THEN PERFORM app.log('end: ' || SQLERRM); END;
		BEGIN EXECUTE 'SET SESSION AUTHORIZATION DEFAULT'; EXCEPTION WHEN OTHERS THEN PERFORM app.log('end: ' || SQLERRM); END;
		PERFORM set_config('search_path', 'app', false), set_config('my.leak', 'end', false);
		RETURN NULL;
	END $$;
	CREATE CONSTRAINT TRIGGER at_the_end AFTER INSERT ON app.deferred DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW EXECUTE FUNCTION app.at_the_end();
	CREATE FUNCTION app.hostile(m outbox.message) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		-- what others have left is seen here
		state text := format('%s %s %s %s %s', current_user, session_user, current_setting('search_path'), current_setting('my.leak', true),
			(SELECT string_agg(name, ' ') FROM (SELECT name FROM pg_prepared_statements UNION ALL SELECT name FROM pg_cursors) AS n));
		command text := convert_from(m.payload, 'UTF8');
		answer text;
	BEGIN
		BEGIN
			IF command ~ '^SELECT' THEN
				EXECUTE command INTO answer;
			ELSE
				EXECUTE command;
				answer := '';
			END IF;
		EXCEPTION WHEN OTHERS THEN
			answer := SQLERRM;
		END;
		INSERT INTO app.got (off, what, id) VALUES (m."offset", answer, state);
	END $$;
	RESET ROLE;
	SELECT outbox.subscribe('hostile', '{hostile}', 'app.hostile(outbox.message)', start => 'earliest', role => 'app',
		handler_timeout => '300 ms');
});
my $definer = 'cannot set parameter "%s" within security-definer function';
my @attacks = (
	[ 'SET ROLE postgres' => sprintf $definer, 'role' ],
	[ 'RESET ROLE' => sprintf $definer, 'role' ],
	[ q{SELECT set_config('role', 'postgres', false)} => sprintf $definer, 'role' ],
	[ 'SET SESSION AUTHORIZATION DEFAULT' => sprintf $definer, 'session_authorization' ],
	[ 'SET LOCAL SESSION AUTHORIZATION postgres' => sprintf $definer, 'session_authorization' ],
	[ q{DO $$ BEGIN CREATE FUNCTION app.f() RETURNS text LANGUAGE sql SET role = postgres AS 'SELECT current_user::text';}
		  . q{ PERFORM app.f(); END $$} => sprintf $definer, 'role' ],
	[ 'SET session_replication_role = replica' => 'permission denied to set parameter "session_replication_role"' ],
	[ 'SELECT app.who()' => 'postgres app' ],
	[ 'INSERT INTO app.deferred VALUES (1)' => '' ],
	[ q{SELECT set_config('search_path', 'app', false) || set_config('my.leak', 'call', false)} => 'appcall' ],
	[ 'PREPARE p AS SELECT 1' => '' ],
	[ 'DECLARE c CURSOR WITH HOLD FOR SELECT pg_sleep(60)' => '' ],
	[ 'SELECT pg_advisory_lock(1)' => '' ],
	[ 'SELECT pg_advisory_unlock_all()' => '' ],
	[ 'LISTEN x' => 'cannot execute LISTEN within a background process' ],
	[ 'COMMIT' => 'EXECUTE of transaction commands is not implemented' ],
	[ 'DO $$ BEGIN COMMIT; END $$' => 'invalid transaction termination' ],
	[ 'DELETE FROM outbox.subscription_offset' => 'permission denied for table subscription_offset' ],
	[ q{UPDATE outbox.subscription SET role = 10} => 'permission denied for table subscription' ],
	[ q{SELECT pg_terminate_backend(pg_backend_pid())} => qr/superuser|permission denied to terminate process/ ],
	[ q{COPY app.got TO PROGRAM 'true'} => qr/external program/ ],
	[ q{CREATE FUNCTION outbox.outbox_emit(text, text, text) RETURNS bigint LANGUAGE sql AS 'SELECT 1'}
		=> 'permission denied for schema outbox' ],
	[ 'SELECT current_setting(\'is_superuser\')' => 'off' ],
	[ 'SELECT 1' => '1' ]);
produce(map { "hostile\t0\t\\N\t$attacks[$_][0]" } 0 .. $#attacks);
count_is('app.got WHERE off IS NOT NULL', scalar @attacks, 'all are done');
for my $off (0 .. $#attacks)
{
	my ($attack, $answer) = @{ $attacks[$off] };

	like(query("SELECT what FROM app.got WHERE off = $off"),
		ref $answer ? $answer : qr/^\Q$answer\E$/, $attack);
}
is(query(q{SELECT DISTINCT regexp_replace(id, ' [ pc]*$', '') FROM app.got WHERE off IS NOT NULL}),
	'app app pg_catalog, pg_temp', 'no setting is left for the next one');
produce("hostile\t0\t\\N\tSELECT 1");
count_is('app.got WHERE off >= ' . @attacks, 1, 'another transaction');
is(query('SELECT id FROM app.got WHERE off >= ' . @attacks), 'app app pg_catalog, pg_temp  ', 'finds nothing of the last one');
is(query(q{SELECT what FROM app.got WHERE what ~ '^end' ORDER BY what}), join("\n",
		'end: app app pg_catalog, pg_temp',
		'end: ' . sprintf($definer, 'role'),
		'end: ' . sprintf($definer, 'session_authorization')), 'nor is more possible at the end');
is(query(q{SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 1 AND objsubid = 1}), 0, 'advisory locks are given back');

note 'nor do triggers that somebody may put on our tables';
query(q{
	CREATE TABLE fired (who text);
	GRANT INSERT ON fired TO PUBLIC;
	CREATE ROLE nosy;
	CREATE SCHEMA nosy AUTHORIZATION nosy;
	GRANT USAGE ON SCHEMA outbox TO nosy;
	GRANT TRIGGER ON ALL TABLES IN SCHEMA outbox TO nosy;
	SET ROLE nosy;
	CREATE FUNCTION nosy.note() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO public.fired VALUES (format('%s: %s', tg_relid::regclass, current_user));
		RETURN NULL;
	END $$;
	DO $$
	DECLARE
		name text;
	BEGIN
		FOREACH name IN ARRAY '{subscription_offset,inbox_parked,inbox_dead,inbox_0}'::text[] LOOP
			EXECUTE format('CREATE TRIGGER nosy AFTER INSERT OR UPDATE OR DELETE ON outbox.%s FOR EACH ROW EXECUTE FUNCTION nosy.note()', name);
			EXECUTE format('CREATE CONSTRAINT TRIGGER late AFTER INSERT OR UPDATE OR DELETE ON outbox.%s DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION nosy.note()', name);
		END LOOP;
	END $$;
});
produce("verdicts\t0\tnosy\tSELECT 1/0\tid\tnosy-1", "verdicts\t0\tnosy2\t=done\tid\tnosy-2");
count_is(q{outbox.inbox_dead WHERE message_id = 'nosy-1'}, 1, 'a message fails, and is a dead letter');
count_is(q{app.got WHERE key = 'nosy2'}, 1, 'another one is handled');
is(query(q{SELECT string_agg(DISTINCT who, ', ') FROM fired}), 'outbox.inbox_0: app', 'none has been fired as superuser');
query('DROP OWNED BY nosy CASCADE');

note 'one that does not let itself be cancelled';
my $loop = 'BEGIN LOOP BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END';
produce("hostile\t0\t\\N\tDO \$\$ $loop \$\$", "hostile\t0\t\\N\tSELECT 2");
count_is(q{app.got WHERE what = '2'}, 1, 'the next one goes on');
is(query(q{SELECT "offset" FROM outbox.inbox_dead_letter WHERE subscription = 'hostile'}), @attacks + 1, 'it is a dead letter');

note 'a function that cannot be called is no message\'s fault';
query(q{
	TRUNCATE app.got;
	CREATE FUNCTION app.gone(m outbox.message) RETURNS void LANGUAGE sql AS 'INSERT INTO app.got (what) VALUES (''first'')';
	ALTER FUNCTION app.gone OWNER TO app;
	REVOKE ALL ON FUNCTION app.gone FROM PUBLIC;
	SELECT outbox.subscribe('gone', '{gone}', 'app.gone(outbox.message)', start => 'earliest', role => 'app');
});
for my $case (
	[ 'DROP FUNCTION app.gone',
		q{CREATE FUNCTION app.gone(m outbox.message) RETURNS void LANGUAGE sql AS 'INSERT INTO app.got (what) VALUES (''second'')'},
		'does not exist' ],
	[ 'REVOKE ALL ON FUNCTION app.gone FROM PUBLIC, app', 'GRANT EXECUTE ON FUNCTION app.gone TO app', 'may not be called' ],
	[ 'ALTER FUNCTION app.gone RENAME TO went', 'ALTER FUNCTION app.went RENAME TO gone', 'does not exist' ])
{
	my ($break, $mend, $why) = @$case;
	my $before = query('SELECT count(*) FROM app.got');

	query($break);
	produce("gone\t0\tk\tp");
	wait_until(undef, sub {
			query(q{SELECT state || last_error FROM outbox.stat_subscription WHERE subscription = 'gone'}) =~ /^failing.*\Q$why\E/;
		}, "$break: it is not failing");
	query($mend);
	count_is('app.got', $before + 1, $break);
}
is(query(q{SELECT count(*) FROM outbox.inbox_parked}), 0, 'none is parked');

note 'what cannot be parked';
query(q{
	CREATE SEQUENCE refusals;
	CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		RAISE EXCEPTION 'refused for the %. time', nextval('public.refusals');
	END $$;
	CREATE TRIGGER refuse BEFORE INSERT ON outbox.inbox_parked FOR EACH ROW EXECUTE FUNCTION refuse();
	ALTER TABLE outbox.inbox_parked ENABLE ALWAYS TRIGGER refuse;
});
produce("verdicts\t0\tunparked\t=retry");
my $since = q{SELECT state || ' since ' || state_since FROM outbox.stat_subscription WHERE subscription = 'verdicts'};
my $failing = wait_until(undef, sub { my $state = query($since); $state =~ /^failing/ ? $state : undef });
wait_until(undef, sub { query('SELECT last_value FROM refusals') >= 5 });
is(query($since), $failing, 'is one failure, as long as it lasts');
query('DROP FUNCTION refuse CASCADE');
count_is(q{app.got WHERE key = 'unparked'}, 1, 'and over when it can be');

$node->stop;
done_testing();
