-- The one list of what roles are granted, beside their topics. Operators read
-- all views, and so need the functions in these, too. What they call is
-- SECURITY DEFINER where it writes: they have no rights on tables.
CREATE OR REPLACE VIEW outbox.right_object AS
    WITH member AS (
        SELECT d.classid, d.objid
        FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
        WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'outbox')
    SELECT g.what AS "right", 'EXECUTE ON FUNCTION' AS privilege, p.oid::regprocedure::text AS object, p.oid, p.proname AS name
    FROM pg_proc p
         JOIN member m ON m.classid = p.tableoid AND m.objid = p.oid
         JOIN (VALUES
             ('emit', '{outbox_emit,emit,outbox_emit_now,emit_now,emitted,create_view,event_view,event_view_rows}'::name[]),
             ('receive', '{receive}'),
             ('operate', '{requeue,discard,replay,cancel_replay,cancel_backfill,resume_backfill,cancel_delayed,wait_published}'),
             ('operate', '{create_relay,alter_relay,drop_relay,pause,resume,pause_topic,resume_topic}'),
             ('operate', '{subscribe,alter_subscription,unsubscribe,pause_subscription,resume_subscription,seek,inbox_requeue,inbox_discard,note_caller,key_text,subscriber_status}'),
             ('operate', '{relay_status,segment_status,topic_matches,relay_figures,relay_histogram,topic_figures,stat_reset}'),
             ('operate', '{health,top,metrics_rows,metrics,metric_labels,launcher_status}')
         ) AS g (what, functions) ON p.proname = ANY (g.functions)
    UNION ALL
    SELECT 'operate', 'SELECT ON', c.oid::regclass::text, c.oid, c.relname
    FROM pg_class c
         JOIN member m ON m.classid = c.tableoid AND m.objid = c.oid
    WHERE c.relkind = 'v' AND obj_description(c.oid, 'pg_class') NOT LIKE 'Internal:%';
REVOKE ALL ON outbox.right_object FROM PUBLIC;
COMMENT ON VIEW outbox.right_object IS
    'Internal: privileges that outbox.grant_emit(), outbox.grant_receive() and outbox.grant_operate() grant';

CREATE OR REPLACE FUNCTION outbox.set_right(role regrole, "right" text, granted boolean) RETURNS void
    LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    change text := CASE WHEN granted THEN 'GRANT %s %s TO %s' ELSE 'REVOKE %s %s FROM %s' END;
    object record;
BEGIN
    IF role IS NULL OR NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = role) THEN
        RAISE undefined_object USING
            MESSAGE = format('role "%s" does not exist', COALESCE(role::text, 'null'));
    END IF;
    -- one at a time
    LOCK TABLE outbox.emit_right IN SHARE UPDATE EXCLUSIVE MODE;
    FOR object IN
        SELECT o.privilege, o.object FROM outbox.right_object o
        WHERE o."right" = "right"
          -- what it has had from the beginning stays: pg_monitor has some of it
          AND (granted OR NOT EXISTS (SELECT FROM pg_init_privs i, aclexplode(i.initprivs) a
                                      WHERE i.objoid = o.oid AND a.grantee = role))
    LOOP
        EXECUTE format(change, object.privilege, object.object, role);
    END LOOP;
    -- the schema is left with the last privilege in it
    IF granted OR NOT EXISTS (
        SELECT FROM pg_class c, aclexplode(c.relacl) a
            WHERE c.relnamespace = 'outbox'::regnamespace AND a.grantee = role
        UNION ALL
        SELECT FROM pg_proc p, aclexplode(p.proacl) a
            WHERE p.pronamespace = 'outbox'::regnamespace AND a.grantee = role) THEN
        EXECUTE format(change, 'USAGE ON SCHEMA', 'outbox', role);
    END IF;
END
$$;
REVOKE ALL ON FUNCTION outbox.set_right(regrole, text, boolean) FROM PUBLIC;
COMMENT ON FUNCTION outbox.set_right(regrole, text, boolean) IS
    'Internal: grants or revokes the privileges of outbox.right_object';

CREATE OR REPLACE FUNCTION outbox.rights_changed() RETURNS trigger
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'outbox_rights_changed';
REVOKE ALL ON FUNCTION outbox.rights_changed() FROM PUBLIC;
COMMENT ON FUNCTION outbox.rights_changed() IS 'Internal: lets sessions look again at the table that has changed: outbox.emit_right, or the rules of topics';
CREATE OR REPLACE TRIGGER rights AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON outbox.emit_right
    FOR EACH STATEMENT EXECUTE FUNCTION outbox.rights_changed();
ALTER TABLE outbox.emit_right ENABLE ALWAYS TRIGGER rights;

-- Rights that count: those of a role that has EXECUTE, too
CREATE OR REPLACE VIEW outbox.granted_topic AS
    SELECT e.role, e.topic
    FROM outbox.emit_right e
    WHERE EXISTS (SELECT FROM outbox.right_object r
                  WHERE r."right" = 'emit' AND r.name IN ('outbox_emit', 'emit', 'outbox_emit_now', 'emit_now', 'event_view') AND has_function_privilege(e.role, r.oid, 'EXECUTE'));
REVOKE ALL ON outbox.granted_topic FROM PUBLIC;
COMMENT ON VIEW outbox.granted_topic IS 'Internal: rows of outbox.emit_right whose roles have EXECUTE';

CREATE OR REPLACE FUNCTION outbox.grant_emit(role regrole, topics text[] DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    affected bigint;
BEGIN
    PERFORM outbox.check_patterns('topics', topics, 'Leave them out to let the role emit to all topics.', NULL);
    LOCK TABLE outbox.emit_right IN SHARE UPDATE EXCLUSIVE MODE;
    -- what somebody has left behind who has lost EXECUTE, or was dropped
    DELETE FROM outbox.emit_right e
        WHERE NOT EXISTS (SELECT FROM outbox.granted_topic g WHERE g.role = e.role AND g.topic = e.topic);
    PERFORM outbox.set_right(role, 'emit', true);
    INSERT INTO outbox.emit_right (role, topic) SELECT role, unnest(COALESCE(topics, '{*}')) ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS affected = ROW_COUNT;
    PERFORM outbox.write_audit('grant_emit', jsonb_build_object('role', role, 'topics', topics), affected);
END
$$;
REVOKE ALL ON FUNCTION outbox.grant_emit(regrole, text[]) FROM PUBLIC;
COMMENT ON FUNCTION outbox.grant_emit(regrole, text[]) IS
    'lets a role emit events to these topics, in which * stands for any characters; without them, to all';

CREATE OR REPLACE FUNCTION outbox.revoke_emit(role regrole, topics text[] DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    missing text;
    affected bigint;
BEGIN
    LOCK TABLE outbox.emit_right IN SHARE UPDATE EXCLUSIVE MODE;
    SELECT COALESCE(t.topic, 'null') INTO missing FROM unnest(topics) AS t (topic)
        WHERE NOT EXISTS (SELECT FROM outbox.emit_right e WHERE e.role = role AND e.topic = t.topic) LIMIT 1;
    IF FOUND THEN
        RAISE undefined_object USING
            MESSAGE = format('role %s has not been granted topic "%s"', role, missing),
            HINT = 'A topic is revoked as it was granted; outbox.emit_rights shows what roles have.';
    END IF;
    DELETE FROM outbox.emit_right e WHERE e.role = role AND (topics IS NULL OR e.topic = ANY (topics));
    GET DIAGNOSTICS affected = ROW_COUNT;
    IF NOT EXISTS (SELECT FROM outbox.emit_right e WHERE e.role = role) THEN
        PERFORM outbox.set_right(role, 'emit', false);
    END IF;
    PERFORM outbox.write_audit('revoke_emit', jsonb_build_object('role', role, 'topics', topics), affected);
END
$$;
REVOKE ALL ON FUNCTION outbox.revoke_emit(regrole, text[]) FROM PUBLIC;
COMMENT ON FUNCTION outbox.revoke_emit(regrole, text[]) IS
    'takes from a role what outbox.grant_emit() has given it: these topics, written as they were granted; without them, all. What it has as a member of other roles stays';

CREATE OR REPLACE VIEW outbox.emit_rights AS
    WITH owner AS (SELECT c.relowner AS oid FROM pg_class c WHERE c.oid = 'outbox.emit_right'::regclass)
    SELECT u.rolname AS role, '*' AS topic, NULL::name AS granted_to
    FROM pg_roles u, owner o
    WHERE pg_has_role(u.oid, o.oid, 'USAGE')
    UNION ALL
    SELECT u.rolname, g.topic, pg_get_userbyid(g.role)
    FROM outbox.granted_topic g
         CROSS JOIN owner o
         JOIN pg_roles u ON pg_has_role(u.oid, g.role, 'USAGE') AND NOT pg_has_role(u.oid, o.oid, 'USAGE');
REVOKE ALL ON outbox.emit_rights FROM PUBLIC;
GRANT SELECT ON outbox.emit_rights TO pg_monitor;
COMMENT ON VIEW outbox.emit_rights IS 'who may emit to which topics';
COMMENT ON COLUMN outbox.emit_rights.topic IS 'a topic, in which * stands for any characters';
COMMENT ON COLUMN outbox.emit_rights.granted_to IS
    'the role that it was granted to: this one, or another of which it is a member; null for superusers and the owner of the extension, who need no right';

CREATE OR REPLACE FUNCTION outbox.grant_operate(role regrole) RETURNS void
    LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM outbox.set_right(role, 'operate', true);
    PERFORM outbox.write_audit('grant_operate', jsonb_build_object('role', role), 1);
END
$$;
REVOKE ALL ON FUNCTION outbox.grant_operate(regrole) FROM PUBLIC;
COMMENT ON FUNCTION outbox.grant_operate(regrole) IS
    'lets a role look at everything, and requeue, discard, replay, pause, and create, alter and drop relays and subscriptions';

CREATE OR REPLACE FUNCTION outbox.revoke_operate(role regrole) RETURNS void
    LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM outbox.set_right(role, 'operate', false);
    PERFORM outbox.write_audit('revoke_operate', jsonb_build_object('role', role), 1);
END
$$;
REVOKE ALL ON FUNCTION outbox.revoke_operate(regrole) FROM PUBLIC;
COMMENT ON FUNCTION outbox.revoke_operate(regrole) IS
    'takes from a role what outbox.grant_operate() has given it';
