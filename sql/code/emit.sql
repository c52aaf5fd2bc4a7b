-- Each C function under four signatures: a literal or a parameter of unknown
-- type finds one with text in its place, whatever the other arguments are. And
-- these under two names: that under the schema outbox, where nobody else can
-- define a closer one, goes with nothing but the extension.
DO $$
DECLARE
    variant record;
BEGIN
    FOR variant IN
        SELECT t.*, n.*,
               format('%s(text, %s, %s, jsonb, timestamptz, interval, timestamptz, uuid, text, text, text)',
                      name, t.key, t.payload) AS signature
        FROM (VALUES
                 ('@extschema@.outbox_emit', 'outbox_emit', 'in the current transaction'),
                 ('outbox.emit', 'outbox_emit', 'in the current transaction'),
                 ('@extschema@.outbox_emit_now', 'outbox_emit_now', 'in a transaction of its own, which has committed when the call returns'),
                 ('outbox.emit_now', 'outbox_emit_now', 'in a transaction of its own, which has committed when the call returns')
             ) AS n (name, symbol, "where"),
             (VALUES
                 ('text', 'text', 'with a payload of text'),
                 ('text', '"any"', 'with a payload of jsonb, json, bytea or a row'),
                 ('"any"', 'text', 'with a key of integer, bigint or uuid'),
                 ('"any"', '"any"', 'with a key of integer, bigint or uuid, and a payload of jsonb, json, bytea or a row,')
             ) AS t (key, payload, description)
    LOOP
        EXECUTE format($function$
            CREATE OR REPLACE FUNCTION %s(
                    topic text, key %s, payload %s, headers jsonb DEFAULT NULL,
                    deliver_at timestamptz DEFAULT NULL, deliver_after interval DEFAULT NULL,
                    expires_at timestamptz DEFAULT NULL, event_id uuid DEFAULT NULL,
                    type text DEFAULT NULL, source text DEFAULT NULL, content_type text DEFAULT NULL)
                RETURNS uuid
                LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
                AS 'MODULE_PATHNAME', %L
            $function$, variant.name, variant.key, variant.payload, variant.symbol);
        -- a new one: an update must not take what has been granted
        IF (SELECT proacl IS NULL FROM pg_proc WHERE oid = variant.signature::regprocedure) THEN
            EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', variant.signature);
        END IF;
        EXECUTE format('COMMENT ON FUNCTION %s IS %L', variant.signature,
            format('emits an event %s %s', variant.description, variant."where"));
    END LOOP;
END
$$;

CREATE OR REPLACE FUNCTION outbox.emitted(
        OUT event_id uuid, OUT emitted_at timestamptz, OUT topic text,
        OUT key text, OUT payload bytea, OUT headers jsonb,
        OUT expires_at timestamptz, OUT type text, OUT source text, OUT content_type text,
        OUT deliver_at timestamptz)
    RETURNS SETOF record
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'outbox_emitted';
REVOKE ALL ON FUNCTION outbox.emitted() FROM PUBLIC;
COMMENT ON FUNCTION outbox.emitted() IS
    'events that the current transaction has emitted and not rolled back, in order';

CREATE OR REPLACE FUNCTION outbox.cancel_delayed(event_id uuid) RETURNS boolean
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    affected bigint;
BEGIN
    DELETE FROM outbox.delayed d WHERE d.event_id = event_id;
    GET DIAGNOSTICS affected = ROW_COUNT;
    PERFORM outbox.write_audit('cancel_delayed', jsonb_build_object('event_id', event_id), affected);
    RETURN affected > 0;
END
$$;
REVOKE ALL ON FUNCTION outbox.cancel_delayed(uuid) FROM PUBLIC;
COMMENT ON FUNCTION outbox.cancel_delayed(uuid) IS
    'removes an event that is not due yet; false if there is none';
