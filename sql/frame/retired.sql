-- The successors of what was retired get its privileges. These were granted by
-- somebody, and are none of the extension's own: pg_dump leaves those out.
DO $$
DECLARE
    granted record;
    initial aclitem[];
BEGIN
    FOR granted IN
        SELECT r.successor::regprocedure AS new, a.grantee, a.is_grantable
        FROM outbox.retired r JOIN pg_proc p ON p.oid = r.old, aclexplode(p.proacl) a
        WHERE a.grantee <> p.proowner
    LOOP
        SELECT initprivs INTO initial FROM pg_init_privs
            WHERE classoid = 'pg_proc'::regclass AND objoid = granted.new;
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s%s', granted.new,
            CASE WHEN granted.grantee = 0 THEN 'PUBLIC' ELSE granted.grantee::regrole::text END,
            CASE WHEN granted.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END);
        UPDATE pg_init_privs SET initprivs = initial
            WHERE classoid = 'pg_proc'::regclass AND objoid = granted.new;
        -- as PostgreSQL 17 and newer note them
        DELETE FROM pg_shdepend
            WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
                AND classid = 'pg_proc'::regclass AND objid = granted.new AND deptype = 'i'
                AND refobjid NOT IN (SELECT unnest(ARRAY[grantor, grantee]) FROM aclexplode(initial));
    END LOOP;
END
$$;

DO $$
DECLARE
    unused regprocedure;
BEGIN
    FOR unused IN
        SELECT old FROM outbox.retired r
        WHERE NOT EXISTS (SELECT FROM pg_depend
                          WHERE refclassid = 'pg_proc'::regclass AND refobjid = r.old)
    LOOP
        EXECUTE format('DROP FUNCTION %s', unused);
    END LOOP;
END
$$;

DROP PROCEDURE outbox.retire(text, text);
DROP TABLE outbox.retired;
