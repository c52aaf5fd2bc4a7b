CREATE OR REPLACE TRIGGER rules AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON outbox.topic_rule_entry
    FOR EACH STATEMENT EXECUTE FUNCTION outbox.rights_changed();
ALTER TABLE outbox.topic_rule_entry ENABLE ALWAYS TRIGGER rules;

CREATE OR REPLACE VIEW outbox.topic_rule AS
    SELECT pattern, type, source, content_type, schema_id, schema_guid, schema_placement,
           key_required, key_pattern, max_size, object_required, set_by, set_at
    FROM outbox.topic_rule_entry;
REVOKE ALL ON outbox.topic_rule FROM PUBLIC;
GRANT SELECT ON outbox.topic_rule TO pg_monitor;
COMMENT ON VIEW outbox.topic_rule IS 'what is asked of events by their topic, and given to those that come without';
COMMENT ON COLUMN outbox.topic_rule.pattern IS
    'topics that it is for; of several, the one without *, else the one with most other characters';
COMMENT ON COLUMN outbox.topic_rule.set_by IS 'the login';

CREATE OR REPLACE FUNCTION outbox.check_attribute(name text, value text) RETURNS void
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'outbox_check_attribute';
REVOKE ALL ON FUNCTION outbox.check_attribute(text, text) FROM PUBLIC;
COMMENT ON FUNCTION outbox.check_attribute(text, text) IS
    'Internal: raises an error if it cannot be the type, source or content_type of an event';

CREATE OR REPLACE FUNCTION outbox.set_topic_rule(
        pattern text, type text DEFAULT NULL, source text DEFAULT NULL, content_type text DEFAULT NULL,
        schema_id integer DEFAULT NULL, schema_guid uuid DEFAULT NULL, schema_placement text DEFAULT NULL,
        key_required boolean DEFAULT false, key_pattern text DEFAULT NULL,
        max_size integer DEFAULT NULL, object_required boolean DEFAULT false)
    RETURNS void
    LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    -- the only one that can be meant, if it is not said
    placement text := COALESCE(schema_placement, CASE WHEN schema_id IS NOT NULL AND schema_guid IS NULL THEN 'prefix'
                                                      WHEN schema_guid IS NOT NULL AND schema_id IS NULL THEN 'header' END);
BEGIN
    IF pattern IS NULL THEN
        RAISE null_value_not_allowed USING
            MESSAGE = 'pattern must not be null',
            HINT = 'Write "*" for all topics.';
    END IF;
    PERFORM outbox.check_patterns('pattern', ARRAY[pattern], NULL, NULL);
    PERFORM outbox.check_attribute('type', type), outbox.check_attribute('source', source),
        outbox.check_attribute('content_type', content_type);
    IF placement NOT IN ('prefix', 'header') THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('schema_placement cannot be "%s"', placement),
            HINT = 'It is "prefix", with schema_id, or "header", with schema_guid.';
    END IF;
    IF placement = 'prefix' AND schema_id IS NULL OR placement = 'header' AND schema_guid IS NULL
       OR placement IS NULL AND schema_id IS NOT NULL THEN
        RAISE invalid_parameter_value USING
            MESSAGE = CASE placement WHEN 'prefix' THEN 'schema_placement is "prefix", but there is no schema_id'
                                     WHEN 'header' THEN 'schema_placement is "header", but there is no schema_guid'
                                     ELSE 'there are schema_id and schema_guid, but no schema_placement' END,
            HINT = 'A prefix has schema_id, a header schema_guid; with both, schema_placement tells which is sent.';
    END IF;
    IF schema_id <= 0 OR max_size <= 0 THEN
        RAISE invalid_parameter_value USING
            MESSAGE = CASE WHEN schema_id <= 0 THEN 'schema_id' ELSE 'max_size' END || ' must be greater than zero';
    END IF;
    -- it must be a regular expression
    PERFORM '' COLLATE "C" ~ key_pattern;
    INSERT INTO outbox.topic_rule_entry AS e
        VALUES (pattern, type, source, content_type, schema_id, schema_guid, placement,
                COALESCE(key_required, false), key_pattern, max_size, COALESCE(object_required, false))
        ON CONFLICT ON CONSTRAINT topic_rule_entry_pkey DO UPDATE
        SET (type, source, content_type, schema_id, schema_guid, schema_placement,
             key_required, key_pattern, max_size, object_required, set_by, set_at)
            = (excluded.type, excluded.source, excluded.content_type, excluded.schema_id, excluded.schema_guid,
               excluded.schema_placement, excluded.key_required, excluded.key_pattern, excluded.max_size,
               excluded.object_required, excluded.set_by, excluded.set_at);
    PERFORM outbox.write_audit('set_topic_rule', jsonb_build_object(
        'pattern', pattern, 'type', type, 'source', source, 'content_type', content_type,
        'schema_id', schema_id, 'schema_guid', schema_guid, 'schema_placement', schema_placement,
        'key_required', key_required, 'key_pattern', key_pattern, 'max_size', max_size,
        'object_required', object_required), 1);
END
$$;
REVOKE ALL ON FUNCTION outbox.set_topic_rule(text, text, text, text, integer, uuid, text, boolean, text, integer, boolean) FROM PUBLIC;
COMMENT ON FUNCTION outbox.set_topic_rule(text, text, text, text, integer, uuid, text, boolean, text, integer, boolean) IS
    'says what is asked of events of some topics, and given to those that come without; instead of what it has said of that pattern before';

CREATE OR REPLACE FUNCTION outbox.drop_topic_rule(pattern text) RETURNS boolean
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    affected bigint;
BEGIN
    DELETE FROM outbox.topic_rule_entry e WHERE e.pattern = pattern;
    GET DIAGNOSTICS affected = ROW_COUNT;
    PERFORM outbox.write_audit('drop_topic_rule', jsonb_build_object('pattern', pattern), affected);
    RETURN affected > 0;
END
$$;
REVOKE ALL ON FUNCTION outbox.drop_topic_rule(text) FROM PUBLIC;
COMMENT ON FUNCTION outbox.drop_topic_rule(text) IS
    'removes the rule of a pattern; false if there is none';
