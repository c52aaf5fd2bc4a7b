-- A table is published by triggers on it, one for each topic, which has the id
-- of a row of outbox.capture as its argument: so it holds for partitions, too,
-- and comes through a dump. Its name is the first in order: the event of a
-- change is emitted before other triggers change anything else.

CREATE OR REPLACE FUNCTION outbox.capture() RETURNS trigger
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'outbox_capture';
REVOKE ALL ON FUNCTION outbox.capture() FROM PUBLIC;
COMMENT ON FUNCTION outbox.capture() IS 'Internal: emits an event for each row that is changed; see outbox.publish_table()';

CREATE OR REPLACE FUNCTION outbox.check_capture(id integer, relation regclass) RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'outbox_capture_check';
REVOKE ALL ON FUNCTION outbox.check_capture(integer, regclass) FROM PUBLIC;
COMMENT ON FUNCTION outbox.check_capture(integer, regclass) IS
    'Internal: raises an error unless rows of the table can become events as outbox.capture says';

CREATE OR REPLACE FUNCTION outbox.capture_changed() RETURNS trigger
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'outbox_capture_changed';
REVOKE ALL ON FUNCTION outbox.capture_changed() FROM PUBLIC;
COMMENT ON FUNCTION outbox.capture_changed() IS 'Internal: lets sessions look at outbox.capture again';
CREATE OR REPLACE TRIGGER capture AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON outbox.capture
    FOR EACH STATEMENT EXECUTE FUNCTION outbox.capture_changed();
ALTER TABLE outbox.capture ENABLE ALWAYS TRIGGER capture;

-- Whose table has been dropped is not there any more, nor is who has lost his
-- trigger: another table may have the same oid.
CREATE OR REPLACE VIEW outbox.published_table AS
    SELECT c.id, c.relation, c.topic, c.key, c.columns, jsonb_object(c.renamed) AS rename, c.operations,
           CASE WHEN c.format = 'function' THEN to_regprocedure(c.function)::regproc::text ELSE c.format END AS format, c.condition,
           c.version, c.tombstones, c.on_truncate, c.type, c.source, c.content_type,
           t.tgenabled <> 'D' AS enabled, c.published_by, c.published_at
    FROM outbox.capture c
         JOIN pg_trigger t ON t.tgrelid = c.relation AND t.tgname = '00_outbox_' || c.id;
REVOKE ALL ON outbox.published_table FROM PUBLIC;
GRANT SELECT ON outbox.published_table TO pg_monitor;
COMMENT ON VIEW outbox.published_table IS 'tables whose changes are published, to which topics, and how';
COMMENT ON COLUMN outbox.published_table.id IS 'the number in the name of its trigger';
COMMENT ON COLUMN outbox.published_table.key IS 'columns that are the key of its events; null means the primary key';
COMMENT ON COLUMN outbox.published_table.columns IS 'columns that are published; null means all';
COMMENT ON COLUMN outbox.published_table.rename IS 'what columns are called in events';
COMMENT ON COLUMN outbox.published_table.condition IS 'rows that are published; null means all';
COMMENT ON COLUMN outbox.published_table.version IS 'header with the version; one that is part of the topic is there';
COMMENT ON COLUMN outbox.published_table.enabled IS 'false if its trigger has been disabled';

CREATE OR REPLACE FUNCTION outbox.drop_capture(id integer, relation regclass) RETURNS void
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    trigger name;
BEGIN
    FOR trigger IN SELECT t.tgname FROM pg_trigger t
                   WHERE t.tgrelid = relation AND t.tgname IN ('00_outbox_' || id, '00_outbox_' || id || '_truncate') LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', trigger, relation);
    END LOOP;
    DELETE FROM outbox.capture c WHERE c.id = id;
END
$$;
REVOKE ALL ON FUNCTION outbox.drop_capture(integer, regclass) FROM PUBLIC;
COMMENT ON FUNCTION outbox.drop_capture(integer, regclass) IS 'Internal: drops the triggers of a row of outbox.capture, and the row';

CREATE OR REPLACE FUNCTION outbox.publish_table(
        relation regclass, topic text, key text[] DEFAULT NULL, columns text[] DEFAULT NULL,
        rename jsonb DEFAULT NULL, operations text[] DEFAULT '{insert,update,delete}',
        format text DEFAULT 'row', condition text DEFAULT NULL, version text DEFAULT NULL,
        version_in text DEFAULT 'header', tombstones boolean DEFAULT true, on_truncate text DEFAULT 'refuse',
        type text DEFAULT NULL, source text DEFAULT NULL, content_type text DEFAULT NULL)
    RETURNS void
    LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    its record;
    capture integer;
    renamed text[];
    field text;
    function regprocedure;
BEGIN
    SELECT c.oid, c.relkind, c.relnamespace INTO its FROM pg_class c WHERE c.oid = relation;
    IF NOT FOUND THEN
        RAISE undefined_table USING
            MESSAGE = format('table %s does not exist', COALESCE(relation::text, 'null'));
    END IF;
    IF its.relkind NOT IN ('r', 'p')
       OR its.relnamespace IN ('outbox'::regnamespace, 'pg_catalog'::regnamespace) THEN
        RAISE wrong_object_type USING
            MESSAGE = format('%s cannot be published', relation),
            DETAIL = 'Only ordinary and partitioned tables can.';
    END IF;
    IF version_in = 'topic' AND version IS NOT NULL THEN
        topic := topic || '.' || version;
    END IF;
    IF topic IS NULL OR topic !~ '^[a-zA-Z0-9._-]{1,249}$' OR topic IN ('.', '..') THEN
        RAISE invalid_parameter_value USING
            MESSAGE = COALESCE('"' || topic || '" cannot be the name of a topic', 'topic must not be null'),
            HINT = 'Kafka allows 249 letters and digits of ASCII, ".", "_" and "-".';
    END IF;
    IF operations IS NULL OR operations = '{}' OR NOT operations <@ '{insert,update,delete}'
       OR array_position(operations, NULL) IS NOT NULL THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('operations cannot be "%s"', COALESCE(operations::text, 'null')),
            HINT = 'They are some of insert, update and delete.';
    END IF;
    IF version_in IS NULL OR version_in NOT IN ('header', 'topic') OR version = '' THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'version cannot be put there',
            HINT = 'version_in is header, for a header "version", or topic, for a topic with ".VERSION" at its end.';
    END IF;
    IF on_truncate IS NULL OR on_truncate NOT IN ('refuse', 'event', 'ignore') THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('on_truncate cannot be "%s"', COALESCE(on_truncate, 'null')),
            HINT = 'It is refuse, event or ignore.';
    END IF;
    IF format IS NULL OR format NOT IN ('row', 'before_after', 'debezium') THEN
        function := to_regprocedure(format || '(text,jsonb,jsonb)');
        IF function IS NULL THEN
            RAISE undefined_function USING
                MESSAGE = format('format cannot be "%s"', COALESCE(format, 'null')),
                HINT = 'It is row, before_after, debezium, or the name, with its schema, of a function of (operation text, before jsonb, after jsonb).';
        END IF;
        IF (SELECT p.prorettype NOT IN ('jsonb'::regtype, 'json'::regtype, 'text'::regtype, 'bytea'::regtype)
                   OR p.proretset FROM pg_proc p WHERE p.oid = function) THEN
            RAISE invalid_function_definition USING
                MESSAGE = format('function %s must return jsonb, json, text or bytea', function);
        END IF;
        IF (SELECT p.prokind <> 'f' OR p.pronamespace = pg_my_temp_schema() FROM pg_proc p WHERE p.oid = function) THEN
            RAISE invalid_function_definition USING
                MESSAGE = format('function %s cannot make payloads', function),
                DETAIL = 'It is an aggregate, a window function, a procedure, or temporary.';
        END IF;
    END IF;
    IF format = 'row' AND (on_truncate = 'event' OR tombstones IS NOT TRUE) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'format row has tombstones, and no event for TRUNCATE',
            HINT = 'Use format before_after, which tells what has been done.';
    END IF;
    IF columns = '{}' THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'columns must not be empty',
            HINT = 'Without it, all columns are published.';
    END IF;
    IF jsonb_typeof(rename) <> 'object'
       OR EXISTS (SELECT FROM jsonb_each(rename) r WHERE jsonb_typeof(r.value) <> 'string') THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'rename must be an object of strings',
            HINT = 'Write it like ''{"column": "name in events"}''.';
    END IF;
    IF rename IS NOT NULL THEN
        SELECT COALESCE(array_agg(n.name ORDER BY r.ordinality, n.ordinality), '{}') INTO renamed
            FROM jsonb_each_text(rename) WITH ORDINALITY r,
                unnest(ARRAY[r.key, r.value]) WITH ORDINALITY n (name, ordinality);
    END IF;
    SELECT n.name INTO field
        FROM (SELECT COALESCE(rename ->> c.name, c.name) AS name
              FROM unnest(COALESCE(columns, ARRAY(SELECT a.attname::text FROM pg_attribute a
                                                  WHERE a.attrelid = relation AND a.attnum > 0
                                                    AND NOT a.attisdropped))) c (name)) n
        GROUP BY n.name HAVING count(*) > 1 LIMIT 1;
    IF FOUND THEN
        RAISE duplicate_column USING
            MESSAGE = format('two columns would be "%s" in events', field),
            HINT = 'Give them different names by rename, or leave one out of columns.';
    END IF;

    -- one at a time
    LOCK TABLE outbox.capture IN SHARE UPDATE EXCLUSIVE MODE;
    -- what tables that were dropped have left behind
    DELETE FROM outbox.capture c WHERE NOT EXISTS (SELECT FROM outbox.published_table p WHERE p.id = c.id);
    FOR capture IN SELECT c.id FROM outbox.capture c WHERE c.relation = relation AND c.topic = topic LOOP
        PERFORM outbox.drop_capture(capture, relation);
    END LOOP;
    INSERT INTO outbox.capture (relation, topic, key, columns, renamed, format, function, condition, version,
                                tombstones, on_truncate, type, source, content_type, operations)
        VALUES (relation, topic, key, columns, renamed, CASE WHEN function IS NULL THEN format ELSE 'function' END,
                function::text, condition, CASE version_in WHEN 'header' THEN version END,
                tombstones, on_truncate, type, source, content_type, operations)
        RETURNING id INTO capture;
    PERFORM outbox.check_capture(capture, relation);
    EXECUTE format('CREATE TRIGGER %I AFTER %s ON %s FOR EACH ROW EXECUTE FUNCTION outbox.capture(%s)',
                   '00_outbox_' || capture, array_to_string(operations, ' OR '), relation, capture);
    IF on_truncate <> 'ignore' THEN
        EXECUTE format('CREATE TRIGGER %I BEFORE TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION outbox.capture(%s)',
                       '00_outbox_' || capture || '_truncate', relation, capture);
    END IF;
    PERFORM outbox.write_audit('publish_table', jsonb_build_object(
        'relation', relation, 'topic', topic, 'key', key, 'columns', columns, 'rename', rename,
        'operations', operations, 'format', format, 'condition', condition, 'version', version,
        'version_in', version_in, 'tombstones', tombstones, 'on_truncate', on_truncate,
        'type', type, 'source', source, 'content_type', content_type), 1);
END
$$;
REVOKE ALL ON FUNCTION outbox.publish_table(regclass, text, text[], text[], jsonb, text[], text, text, text, text, boolean, text, text, text, text) FROM PUBLIC;
COMMENT ON FUNCTION outbox.publish_table(regclass, text, text[], text[], jsonb, text[], text, text, text, text, boolean, text, text, text, text) IS
    'from now on, each change of a row of the table is an event of the topic, in the transaction that changes it: the row as JSON, or a tombstone if it is deleted, or what another format says; called again for the same table and topic, it takes the place of what was';

CREATE OR REPLACE FUNCTION outbox.unpublish_table(relation regclass, topic text DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    published record;
    affected bigint := 0;
BEGIN
    LOCK TABLE outbox.capture IN SHARE UPDATE EXCLUSIVE MODE;
    FOR published IN SELECT p.id FROM outbox.published_table p
                     WHERE p.relation = relation AND (topic IS NULL OR p.topic = topic) LOOP
        PERFORM outbox.drop_capture(published.id, relation);
        affected := affected + 1;
    END LOOP;
    IF affected = 0 THEN
        RAISE undefined_object USING
            MESSAGE = format('table %s is not published%s', COALESCE(relation::text, 'null'),
                             COALESCE(' to topic "' || topic || '"', '')),
            HINT = 'The tables that are published are in outbox.published_table.';
    END IF;
    PERFORM outbox.write_audit('unpublish_table', jsonb_build_object('relation', relation, 'topic', topic), affected);
END
$$;
REVOKE ALL ON FUNCTION outbox.unpublish_table(regclass, text) FROM PUBLIC;
COMMENT ON FUNCTION outbox.unpublish_table(regclass, text) IS
    'ends outbox.publish_table(): for that topic, or for all of the table';
