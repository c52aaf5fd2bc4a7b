-- Each function that operators or the owner change something with calls
-- outbox.write_audit() at its end. So who, when and what is in the transaction
-- that has done it, and a call that fails leaves nothing. These functions run
-- as their owner: who has called them is the session's user, or the role that
-- he has SET, which is all that can be known there.

CREATE OR REPLACE FUNCTION outbox.write_audit("function" text, arguments jsonb, affected bigint) RETURNS void
    LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
    INSERT INTO outbox.audit_entry (function, arguments, affected)
        VALUES ("function", jsonb_strip_nulls(arguments), affected);
END
$$;
REVOKE ALL ON FUNCTION outbox.write_audit(text, jsonb, bigint) FROM PUBLIC;
COMMENT ON FUNCTION outbox.write_audit(text, jsonb, bigint) IS
    'Internal: notes a call in outbox.audit: of which function, with which arguments, and how many events, relays, topics and so on it has changed';

CREATE OR REPLACE VIEW outbox.audit AS
    SELECT id, at, called_by, as_role, client_addr, application_name, function, arguments, affected
    FROM outbox.audit_entry;
REVOKE ALL ON outbox.audit FROM PUBLIC;
GRANT SELECT ON outbox.audit TO pg_monitor;
COMMENT ON VIEW outbox.audit IS
    'who has called functions that change how events are published or what becomes of them; kept for outbox.audit_retention';
COMMENT ON COLUMN outbox.audit.called_by IS 'the login';
COMMENT ON COLUMN outbox.audit.as_role IS 'the role of SET ROLE, else the login';
COMMENT ON COLUMN outbox.audit.client_addr IS 'null: by a Unix socket';
COMMENT ON COLUMN outbox.audit.arguments IS 'those that are not null; of a replay also its id';
COMMENT ON COLUMN outbox.audit.affected IS
    'how many events it has changed, of outbox.drop_relay() those that were parked; where it is not about events, how many relays, topics, replays or rights';
