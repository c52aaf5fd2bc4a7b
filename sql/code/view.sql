-- Views whose rows are events: an ordinary view of the application's, whose
-- query shows what its transaction has inserted, and whose trigger emits it.
-- Both are the caller's own, and do nothing that he may not do himself.

CREATE OR REPLACE FUNCTION outbox.event_view() RETURNS trigger
    LANGUAGE c VOLATILE PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'outbox_event_view';
REVOKE ALL ON FUNCTION outbox.event_view() FROM PUBLIC;
COMMENT ON FUNCTION outbox.event_view() IS 'Internal: the trigger of views of outbox.create_view()';

CREATE OR REPLACE FUNCTION outbox.event_view_rows(
        label text, id uuid DEFAULT NULL,
        OUT event_id uuid, OUT emitted_at timestamptz, OUT topic text,
        OUT key text, OUT payload bytea, OUT headers jsonb,
        OUT expires_at timestamptz, OUT type text, OUT source text, OUT content_type text,
        OUT deliver_at timestamptz)
    RETURNS SETOF record
    LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'outbox_event_view_rows';
REVOKE ALL ON FUNCTION outbox.event_view_rows(text, uuid) FROM PUBLIC;
COMMENT ON FUNCTION outbox.event_view_rows(text, uuid) IS
    'Internal: what a view of outbox.create_view() shows: the events that the current transaction has inserted into it; the library fills in the id where a query asks for one';

CREATE OR REPLACE FUNCTION outbox.create_view(
        name text, layout text DEFAULT 'debezium', topic_prefix text DEFAULT NULL,
        payload_type regtype DEFAULT 'text', headers text[] DEFAULT NULL, rename jsonb DEFAULT NULL,
        schema text DEFAULT current_schema())
    RETURNS regclass
    LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    parts text[] := parse_ident(name);
    -- a column, what of the event it is for the trigger, and how the view reads it
    columns text[];
    payload text := 'convert_from(r.payload, ''UTF8'')';
    field text;
    view text;
    label text;
    list text;
    arguments text;
BEGIN
    IF name IS NULL OR cardinality(parts) > 2 OR cardinality(parts) = 1 AND schema IS NULL THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('"%s" cannot be the name of a view', COALESCE(name, 'null')),
            HINT = 'Write it as in CREATE VIEW, with its schema unless that is the first of search_path.';
    END IF;
    IF cardinality(parts) = 1 THEN
        parts := schema || parts;
    END IF;
    IF layout IS NULL OR layout NOT IN ('debezium', 'plain') THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('layout cannot be "%s"', COALESCE(layout, 'null')),
            HINT = 'It is debezium or plain.';
    END IF;
    topic_prefix := COALESCE(topic_prefix, CASE layout WHEN 'debezium' THEN 'outbox.event.' ELSE '' END);
    IF topic_prefix !~ '^[a-zA-Z0-9._-]{0,248}$' THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('topic_prefix cannot be "%s"', topic_prefix),
            HINT = 'Kafka allows letters and digits of ASCII, ".", "_" and "-" in the name of a topic.';
    END IF;
    IF payload_type IS NULL OR payload_type NOT IN ('text'::regtype, 'json'::regtype, 'jsonb'::regtype, 'bytea'::regtype) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('payload_type cannot be %s', COALESCE(payload_type::text, 'null')),
            HINT = 'It is text, json, jsonb or bytea.';
    END IF;
    IF payload_type = 'bytea'::regtype THEN
        payload := 'r.payload';
    ELSIF payload_type <> 'text'::regtype THEN
        payload := format('%s::%s', payload, payload_type);
    END IF;
    IF array_position(headers, NULL) IS NOT NULL OR '' = ANY (headers) THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'headers must be names',
            HINT = 'Each becomes a column of the view.';
    END IF;
    IF headers && '{event_id,outbox_relay}' THEN
        RAISE reserved_name USING
            MESSAGE = format('header "%s" is reserved', (SELECT h FROM unnest(headers) h WHERE h IN ('event_id', 'outbox_relay') LIMIT 1)),
            HINT = 'outbox sets it itself.';
    END IF;
    IF jsonb_typeof(rename) <> 'object' THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'rename must be an object of strings',
            HINT = 'Write it like ''{"column": "its name"}''.';
    END IF;

    columns := CASE layout
        WHEN 'debezium' THEN ARRAY[
            ['id', 'event_id', 'r.event_id'],
            ['aggregatetype', 'topic', format('substr(r.topic, %s)', length(topic_prefix) + 1)],
            ['aggregateid', 'key', 'r.key'],
            ['type', 'type', 'r.type'],
            ['payload', 'payload', payload],
            ['timestamp', 'emitted_at', 'r.emitted_at'],
            ['tracingspancontext', 'tracing', '''traceparent='' || (r.headers ->> ''traceparent'')']]
        ELSE ARRAY[
            ['event_id', 'event_id', 'r.event_id'],
            ['topic', 'topic', format('substr(r.topic, %s)', length(topic_prefix) + 1)],
            ['key', 'key', 'r.key'],
            ['payload', 'payload', payload],
            ['headers', 'headers', 'r.headers'],
            ['type', 'type', 'r.type'],
            ['source', 'source', 'r.source'],
            ['content_type', 'content_type', 'r.content_type'],
            ['expires_at', 'expires_at', 'r.expires_at'],
            ['deliver_at', 'deliver_at', 'r.deliver_at'],
            ['emitted_at', 'emitted_at', 'r.emitted_at']]
        END;
    FOREACH field IN ARRAY COALESCE(headers, '{}') LOOP
        columns := columns || ARRAY[ARRAY[field, 'header ' || field, format('r.headers ->> %L', field)]];
    END LOOP;
    SELECT k.key INTO field FROM jsonb_object_keys(rename) k (key)
        WHERE k.key <> ALL (columns[:][1:1]) OR jsonb_typeof(rename -> k.key) <> 'string' LIMIT 1;
    IF FOUND THEN
        RAISE undefined_column USING
            MESSAGE = format('column "%s" cannot be renamed', field),
            HINT = format('The view has these: %s.', array_to_string(columns[:][1:1], ', '));
    END IF;
    SELECT string_agg(format('%s AS %I', columns[i][3], COALESCE(rename ->> columns[i][1], columns[i][1])), ', ' ORDER BY i),
           string_agg(quote_literal(columns[i][2]), ', ' ORDER BY i)
        INTO list, arguments
        FROM generate_subscripts(columns, 1) i;

    view := format('%I.%I', VARIADIC parts);
    -- by its name, unless a view has that which has been renamed since
    label := view;
    WHILE EXISTS (SELECT FROM pg_trigger t
                  WHERE t.tgfoid = 'outbox.event_view()'::regprocedure
                    AND position(convert_to(label, getdatabaseencoding()) || decode('00', 'hex') IN t.tgargs) = 1) LOOP
        label := label || ' again';
    END LOOP;
    EXECUTE format('CREATE VIEW %s AS SELECT %s FROM outbox.event_view_rows(%L) r', view, list, label);
    EXECUTE format('COMMENT ON VIEW %s IS %L', view, 'each row that is inserted is an event: outbox.create_view()');
    EXECUTE format('CREATE TRIGGER outbox INSTEAD OF INSERT OR UPDATE OR DELETE ON %s'
                   ' FOR EACH ROW EXECUTE FUNCTION outbox.event_view(%L, %L, %s)',
                   view, label, topic_prefix, arguments);
    RETURN view::regclass;
END
$$;
REVOKE ALL ON FUNCTION outbox.create_view(text, text, text, regtype, text[], jsonb, text) FROM PUBLIC;
COMMENT ON FUNCTION outbox.create_view(text, text, text, regtype, text[], jsonb, text) IS
    'creates a view into which an application inserts events as it does into a table: in the layout of Debezium''s outbox table, or with a column for each argument of outbox_emit(). It belongs to the caller; who inserts needs INSERT on it, and the right to emit to the topic';
