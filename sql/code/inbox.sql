CREATE OR REPLACE FUNCTION outbox.receive(consumer text, message_id text) RETURNS boolean
    LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'outbox_receive';
REVOKE ALL ON FUNCTION outbox.receive(text, text) FROM PUBLIC;
COMMENT ON FUNCTION outbox.receive(text, text) IS
    'true the first time that a consumer receives this message, false if it has before; in the current transaction, with which the message is given back';

CREATE OR REPLACE TRIGGER rights AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON outbox.receive_right
    FOR EACH STATEMENT EXECUTE FUNCTION outbox.rights_changed();
ALTER TABLE outbox.receive_right ENABLE ALWAYS TRIGGER rights;

-- Rights that count: those of a role that has EXECUTE, too
CREATE OR REPLACE VIEW outbox.granted_consumer AS
    SELECT r.role, r.consumer
    FROM outbox.receive_right r
    WHERE has_function_privilege(r.role, 'outbox.receive(text, text)', 'EXECUTE');
REVOKE ALL ON outbox.granted_consumer FROM PUBLIC;
COMMENT ON VIEW outbox.granted_consumer IS 'Internal: rows of outbox.receive_right whose roles have EXECUTE';

CREATE OR REPLACE FUNCTION outbox.grant_receive(role regrole, consumers text[] DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    wrong text;
    affected bigint;
BEGIN
    SELECT COALESCE(c.name, 'null') INTO wrong FROM unnest(consumers) AS c (name)
        WHERE c.name IS NULL OR c.name !~ '^[a-zA-Z0-9._*-]{1,249}$' LIMIT 1;
    IF FOUND OR cardinality(consumers) = 0 THEN
        RAISE invalid_parameter_value USING
            MESSAGE = CASE WHEN wrong IS NULL THEN 'consumers is empty'
                ELSE format('consumers: "%s" cannot be the name of a consumer, or a pattern for some', wrong) END,
            HINT = 'A name has 1 to 249 letters and digits of ASCII, ".", "_" and "-"; a "*" stands for any of them, also for none. Leave consumers out to grant all.';
    END IF;
    LOCK TABLE outbox.receive_right IN SHARE UPDATE EXCLUSIVE MODE;
    -- what somebody has left behind who has lost EXECUTE, or was dropped
    DELETE FROM outbox.receive_right r
        WHERE NOT EXISTS (SELECT FROM outbox.granted_consumer g WHERE g.role = r.role AND g.consumer = r.consumer);
    PERFORM outbox.set_right(role, 'receive', true);
    INSERT INTO outbox.receive_right (role, consumer) SELECT role, unnest(COALESCE(consumers, '{*}')) ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS affected = ROW_COUNT;
    PERFORM outbox.write_audit('grant_receive', jsonb_build_object('role', role, 'consumers', consumers), affected);
END
$$;
REVOKE ALL ON FUNCTION outbox.grant_receive(regrole, text[]) FROM PUBLIC;
COMMENT ON FUNCTION outbox.grant_receive(regrole, text[]) IS
    'lets a role call outbox.receive() for these consumers, in which * stands for any characters; without them, for all';

CREATE OR REPLACE FUNCTION outbox.revoke_receive(role regrole, consumers text[] DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    missing text;
    affected bigint;
BEGIN
    LOCK TABLE outbox.receive_right IN SHARE UPDATE EXCLUSIVE MODE;
    SELECT COALESCE(c.name, 'null') INTO missing FROM unnest(consumers) AS c (name)
        WHERE NOT EXISTS (SELECT FROM outbox.receive_right r WHERE r.role = role AND r.consumer = c.name) LIMIT 1;
    IF FOUND THEN
        RAISE undefined_object USING
            MESSAGE = format('role %s has not been granted consumer "%s"', role, missing),
            HINT = 'A consumer is revoked as it was granted; outbox.receive_rights shows what roles have.';
    END IF;
    DELETE FROM outbox.receive_right r WHERE r.role = role AND (consumers IS NULL OR r.consumer = ANY (consumers));
    GET DIAGNOSTICS affected = ROW_COUNT;
    IF NOT EXISTS (SELECT FROM outbox.receive_right r WHERE r.role = role) THEN
        PERFORM outbox.set_right(role, 'receive', false);
    END IF;
    PERFORM outbox.write_audit('revoke_receive', jsonb_build_object('role', role, 'consumers', consumers), affected);
END
$$;
REVOKE ALL ON FUNCTION outbox.revoke_receive(regrole, text[]) FROM PUBLIC;
COMMENT ON FUNCTION outbox.revoke_receive(regrole, text[]) IS
    'takes from a role what outbox.grant_receive() has given it: these consumers, written as they were granted; without them, all';

CREATE OR REPLACE VIEW outbox.receive_rights AS
    WITH owner AS (SELECT c.relowner AS oid FROM pg_class c WHERE c.oid = 'outbox.receive_right'::regclass)
    SELECT u.rolname AS role, '*' AS consumer, NULL::name AS granted_to
    FROM pg_roles u, owner o
    WHERE pg_has_role(u.oid, o.oid, 'USAGE')
    UNION ALL
    SELECT u.rolname, g.consumer, pg_get_userbyid(g.role)
    FROM outbox.granted_consumer g
         CROSS JOIN owner o
         JOIN pg_roles u ON pg_has_role(u.oid, g.role, 'USAGE') AND NOT pg_has_role(u.oid, o.oid, 'USAGE');
REVOKE ALL ON outbox.receive_rights FROM PUBLIC;
GRANT SELECT ON outbox.receive_rights TO pg_monitor;
COMMENT ON VIEW outbox.receive_rights IS 'who may call outbox.receive() for which consumers';
COMMENT ON COLUMN outbox.receive_rights.consumer IS 'a consumer, in which * stands for any characters';
COMMENT ON COLUMN outbox.receive_rights.granted_to IS
    'the role that it was granted to: this one, or another of which it is a member; null for superusers and the owner of the extension, who need no right';
