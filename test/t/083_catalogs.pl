# The extension is the same however a database came to it: by CREATE EXTENSION,
# by ALTER EXTENSION UPDATE from an older version, or from a dump of either.
#
# Catches: an update that forgets a column, an index, a comment, a trigger or a
# table that dumps must have, or leaves something old behind; privileges that
# an update opens, takes away, or that the next dump leaves out.

use strict;
use warnings;

use IPC::Run;
use OutboxTest;
use OutboxTest::Older;
use Test::More;

my $node = outbox_node('main',
	install_path => older_install_path(),
	conf => 'outbox.enabled = off');
my $older = older_version();

# All that the catalogs tell of objects that initdb has not made. OIDs differ.
my $catalog = <<~'END';
	SELECT replace(regexp_replace(line, '\d{5,}', 'OID', 'g'), E'\n', ' ') FROM (
	SELECT format('extension %s %s in %s', extname, extversion, extnamespace::regnamespace)
		FROM pg_extension WHERE extname = 'outbox'
	UNION ALL SELECT format('dumped %s where "%s"', c.dumped::regclass, c.condition)
		FROM pg_extension, unnest(extconfig, extcondition) AS c (dumped, condition)
	UNION ALL SELECT format('schema %s: owner %s, acl %s', nspname, nspowner::regrole, sorted(nspacl))
		FROM pg_namespace WHERE oid >= 16384
	UNION ALL SELECT format('function %s: owner %s, acl %s, %s', oid::regprocedure, proowner::regrole,
			sorted(proacl), pg_get_functiondef(oid))
		FROM pg_proc WHERE oid >= 16384
	UNION ALL SELECT format('relation %s: %s, owner %s, acl %s', c.oid::regclass,
			row(relkind, relpersistence, reloptions, relreplident, relrowsecurity, relforcerowsecurity,
				relispartition, reltablespace, (SELECT amname FROM pg_am a WHERE a.oid = relam),
				(SELECT array_agg(inhparent::regclass || ' ' || inhseqno) FROM pg_inherits WHERE inhrelid = c.oid)),
			relowner::regrole, sorted(relacl))
		FROM pg_class c WHERE oid >= 16384
	UNION ALL SELECT format('column %s of %s: %s', rank() OVER (PARTITION BY attrelid ORDER BY attnum), attrelid::regclass,
			row(attname, format_type(atttypid, atttypmod), attnotnull, attstattarget, attstorage, attcompression,
				attidentity, attgenerated, attislocal, attinhcount, attcollation, attoptions, sorted(attacl),
				(SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = attrelid AND adnum = attnum)))
		FROM pg_attribute WHERE attrelid >= 16384 AND attnum > 0 AND NOT attisdropped
	UNION ALL SELECT format('constraint %s of %s: %s', conname, conrelid::regclass,
			row(pg_get_constraintdef(oid), convalidated, conislocal, coninhcount, connoinherit))
		FROM pg_constraint WHERE oid >= 16384
	UNION ALL SELECT format('index %s: %s', indexrelid::regclass,
			row(pg_get_indexdef(indexrelid), indisvalid, indisprimary, indisclustered, indisreplident))
		FROM pg_index WHERE indexrelid >= 16384
	UNION ALL SELECT format('trigger %s: %s', tgenabled, pg_get_triggerdef(oid)) FROM pg_trigger WHERE oid >= 16384
	UNION ALL SELECT format('view %s: %s', oid::regclass, pg_get_viewdef(oid)) FROM pg_class WHERE oid >= 16384 AND relkind = 'v'
	UNION ALL SELECT format('sequence %s: %s', seqrelid::regclass,
			row(seqtypid::regtype, seqstart > 0, seqincrement, seqmax, seqmin, seqcache, seqcycle))
		FROM pg_sequence WHERE seqrelid >= 16384
	UNION ALL SELECT format('comment on %s: %s', pg_describe_object(classoid, objoid, objsubid), description)
		FROM pg_description WHERE objoid >= 16384
	UNION ALL SELECT format('initially %s: %s', pg_describe_object(classoid, objoid, objsubid), sorted(initprivs))
		FROM pg_init_privs WHERE objoid >= 16384
	UNION ALL SELECT format('%s depends (%s) on %s', pg_describe_object(classid, objid, objsubid), deptype,
			pg_describe_object(refclassid, refobjid, refobjsubid))
		FROM pg_depend WHERE objid >= 16384 AND classid <> 'pg_default_acl'::regclass
	UNION ALL SELECT format('%s depends (%s) on %s', pg_describe_object(classid, objid, objsubid), deptype,
			pg_describe_object(refclassid, refobjid, 0))
		FROM pg_shdepend WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
			AND objid >= 16384 AND classid <> 'pg_default_acl'::regclass
	) AS catalog (line) ORDER BY line COLLATE "C";
	END
$catalog =~ s/sorted\((\w+)\)/(SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest($1) a)/g;

sub run_sql { return $node->safe_psql(@_[0, 1]); }

sub make_database
{
	my ($db, @sql) = @_;

	run_sql('postgres', "CREATE DATABASE $db");
	run_sql($db, $_) for @sql;
	return;
}

# A line for each difference of what is there from what there should be.
sub differences
{
	my ($db, $expected) = @_;
	my %there = map { $_ => 1 } split /\n/, run_sql($db, $catalog);
	my %should = map { $_ => 1 } split /\n/, run_sql($expected, $catalog);

	return join "\n", (map { "too much: $_" } grep { !$should{$_} } sort keys %there),
	  map { "missing: $_" } grep { !$there{$_} } sort keys %should;
}

sub restore
{
	my ($from, $to) = @_;
	my @server = ('-h', $node->host, '-p', $node->port);
	my $errors = '';

	make_database($to);
	IPC::Run::run([ 'pg_dump', '-Fc', @server, $from ], '|',
		[ 'pg_restore', '-d', $to, @server ], '2>', \$errors)
	  or die $errors;
	is($errors, '', "$from restored as $to");
	return;
}

my @create = ('CREATE EXTENSION outbox');
my @create_older = ("CREATE EXTENSION outbox VERSION '$older'");
my @update = ('ALTER EXTENSION outbox UPDATE');

run_sql('postgres', 'CREATE ROLE app; CREATE ROLE other');
make_database('fresh', @create);
make_database('older', @create_older);
isnt(differences('older', 'fresh'), '', "version $older is another one");
make_database('updated', @create_older, @update);
is(differences('updated', 'fresh'), '', 'updated');
restore('fresh', 'restored');
is(differences('restored', 'fresh'), '', 'restored');

note 'ALTER DEFAULT PRIVILEGES opens nothing';
my @defaults = (
	map({ "ALTER DEFAULT PRIVILEGES GRANT ALL ON $_ TO other, pg_monitor" }
		qw(TABLES SEQUENCES FUNCTIONS TYPES SCHEMAS)),
	'ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON FUNCTIONS TO PUBLIC');
make_database('closed', @defaults, @create_older, @update);
is(differences('closed', 'fresh'), '', 'updated');
is(run_sql('closed', 'SELECT count(*) FROM pg_default_acl WHERE defaclrole = current_user::regrole'),
	6, '... and they are still there');

note 'what has been granted, and revoked, stays';
my @privileges = (
	q{SELECT outbox.grant_emit('app')},
	'GRANT EXECUTE ON FUNCTION outbox.requeue TO app WITH GRANT OPTION',
	'GRANT SELECT ON outbox.stat_relay, outbox.parked TO app',
	'GRANT EXECUTE ON FUNCTION outbox.wait_published TO PUBLIC',
	'REVOKE SELECT ON outbox.blocked FROM pg_monitor');
make_database('granted', @create, @privileges);
make_database('granted_updated', @create_older, @privileges, @update);
is(differences('granted_updated', 'granted'), '', 'updated');
restore('granted_updated', 'granted_restored');
is(differences('granted_restored', 'granted'), '', 'updated, dumped and restored');

$node->stop;
done_testing();
