-- A function whose arguments or result change cannot be replaced. It is
-- retired: it has another name while the new ones are made, and goes at the
-- end; or stays under that name, if an object of the application is built on
-- it. Who could call it can call its successor.
CREATE TABLE outbox.retired (old oid, successor text);

CREATE PROCEDURE outbox.retire(signature text, successor text)
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    old regprocedure := signature;
BEGIN
    INSERT INTO outbox.retired VALUES (old, successor);
    EXECUTE format('ALTER FUNCTION %s RENAME TO %I', old,
        (SELECT proname FROM pg_proc WHERE oid = old) || '_before_'
        || (SELECT replace(extversion, '.', '_') FROM pg_extension WHERE extname = 'outbox'));
END
$$;
