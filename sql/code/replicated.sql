-- Core does not bring rows of ours, see src/store/subscription.c; other tools
-- might.

CREATE OR REPLACE FUNCTION outbox.skip_replicated() RETURNS trigger
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'outbox_skip_replicated';
REVOKE ALL ON FUNCTION outbox.skip_replicated() FROM PUBLIC;
COMMENT ON FUNCTION outbox.skip_replicated() IS
    'Internal: skips rows that come from another database by logical replication';

DO $$
DECLARE
    name regclass;
BEGIN
    FOR name IN
        SELECT c.oid FROM pg_class c
        JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid
            AND d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass
        JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'outbox'
        WHERE c.relkind = 'r'
    LOOP
        EXECUTE format(
            'CREATE OR REPLACE TRIGGER replicated BEFORE INSERT OR UPDATE OR DELETE ON %1$s'
            ' FOR EACH ROW EXECUTE FUNCTION outbox.skip_replicated();'
            'CREATE OR REPLACE TRIGGER replicated_truncate BEFORE TRUNCATE ON %1$s'
            ' FOR EACH STATEMENT EXECUTE FUNCTION outbox.skip_replicated();'
            'ALTER TABLE %1$s ENABLE REPLICA TRIGGER replicated,'
            ' ENABLE REPLICA TRIGGER replicated_truncate',
            name);
    END LOOP;
END
$$;
