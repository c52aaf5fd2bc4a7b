-- What can be a key and a payload, and that nothing is ever ambiguous.
\set VERBOSITY terse
CREATE TYPE mood AS ENUM ('glad', 'sad');
CREATE DOMAIN code AS text CHECK (length(VALUE) < 10);
CREATE DOMAIN document AS jsonb;
CREATE TABLE item (id bigint, name text, at date);
CREATE VIEW stored AS
    SELECT topic, key, convert_from(payload, 'UTF8') AS payload, headers
    FROM outbox.event ORDER BY id;

BEGIN;
SELECT outbox_emit('t', 'literal', 'literal') IS NOT NULL AS ok;
SELECT outbox_emit('t', 'text', 'text'::text) IS NOT NULL AS ok;
SELECT outbox_emit('t', 'varchar'::varchar, 'varchar'::varchar(20)) IS NOT NULL AS ok;
SELECT outbox_emit('t', 'char'::char(8), 'char'::char(8)) IS NOT NULL AS ok;
SELECT outbox_emit('t', 'name'::name, 'name'::name) IS NOT NULL AS ok;
SELECT outbox_emit('t', 1::smallint, 'smallint') IS NOT NULL AS ok;
SELECT outbox_emit('t', 2, 'integer') IS NOT NULL AS ok;
SELECT outbox_emit('t', 3::bigint, 'bigint') IS NOT NULL AS ok;
SELECT outbox_emit('t', 4.50, 'numeric') IS NOT NULL AS ok;
-- equal in SQL, one key in Kafka
SELECT count(outbox_emit('t', n, 'numeric'))
FROM unnest('{100,100.0,1e2,0.00,-0,1e-3,0.0010,NaN,Infinity}'::numeric[]) n;
SELECT outbox_emit('t', '01890a5d-ac96-774b-bcce-b302099a8057'::uuid, 'uuid') IS NOT NULL AS ok;
SELECT outbox_emit('t', 'glad'::mood, 'enum') IS NOT NULL AS ok;
SELECT outbox_emit('t', 'domain'::code, 'domain'::code) IS NOT NULL AS ok;
SELECT outbox_emit('t', 'jsonb', '{"b": 1, "a": [true, null]}'::jsonb) IS NOT NULL AS ok;
SELECT outbox_emit('t', 'json', '{"b":1,  "a":2}'::json) IS NOT NULL AS ok;
SELECT outbox_emit('t', 'domain of jsonb', '{"a": 1}'::document) IS NOT NULL AS ok;
SELECT outbox_emit('t', 'bytea', '\x6279746561'::bytea) IS NOT NULL AS ok;
SELECT outbox_emit('t', 5, '{"with": "integer"}'::jsonb) IS NOT NULL AS ok;
SELECT outbox_emit('t', 'row', i) IS NOT NULL AS ok
FROM (VALUES (1::bigint, 'one', date '2026-01-02')) AS i (id, name, at);
SELECT outbox_emit('t', 'row()', row(1, 'one')) IS NOT NULL AS ok;
SELECT outbox_emit('t', 'row_to_json', row_to_json(i)) IS NOT NULL AS ok
FROM (SELECT 1 AS id) i;
SELECT outbox_emit('t', 'null', NULL) IS NOT NULL AS ok;
SELECT outbox_emit('t', NULL, 'null key') IS NOT NULL AS ok;
SELECT outbox_emit('t', NULL::integer, NULL::jsonb) IS NOT NULL AS ok;
SELECT outbox_emit('t', 'headers', 'headers',
    '{"s": "string", "n": 1.50, "b": true, "z": null}') IS NOT NULL AS ok;
SELECT outbox_emit(payload => 'named', key => 7, topic => 't') IS NOT NULL AS ok;
SELECT outbox_emit(headers => '{}', payload => '{}'::jsonb, key => 'named', topic => 't')
    IS NOT NULL AS ok;
COMMIT;
SELECT * FROM stored;

-- untyped parameters, as drivers send them
PREPARE untyped AS SELECT outbox_emit($1, $2, $3) IS NOT NULL AS ok;
PREPARE untyped_headers AS SELECT outbox_emit($1, $2, $3, $4) IS NOT NULL AS ok;
PREPARE untyped_times AS SELECT outbox_emit($1, $2, $3, $4, $5, $6, $7) IS NOT NULL AS ok;
PREPARE named_times AS SELECT outbox_emit(topic => $1, key => $2, payload => $3, expires_at => $4, deliver_after => $5) IS NOT NULL AS ok;
PREPARE typed_key (text, bigint) AS SELECT outbox_emit($1, $2, $3) IS NOT NULL AS ok;
PREPARE typed_payload (text, text, jsonb) AS SELECT outbox_emit($1, $2, $3) IS NOT NULL AS ok;
PREPARE typed_both (text, uuid, bytea) AS SELECT outbox_emit($1, $2, $3) IS NOT NULL AS ok;
SELECT name, parameter_types FROM pg_prepared_statements ORDER BY name;
EXECUTE untyped('t', 'k', 'v');
EXECUTE untyped_headers('t', 'k', 'v', NULL);
EXECUTE untyped_times('t', 'k', 'v', NULL, NULL, '-1 day', 'tomorrow');
EXECUTE named_times('t', 'k', 'v', NULL, NULL);
EXECUTE typed_key('t', 1, 'v');
EXECUTE typed_payload('t', 'k', '{}');
EXECUTE typed_both('t', '01890a5d-ac96-774b-bcce-b302099a8057', '\x00');

-- a trigger's NEW
CREATE FUNCTION emit_item() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM outbox_emit('items', NEW.id, NEW, jsonb_build_object('op', TG_OP));
    RETURN NEW;
END
$$;
CREATE TRIGGER emit_item AFTER INSERT OR UPDATE ON item
    FOR EACH ROW EXECUTE FUNCTION emit_item();
INSERT INTO item VALUES (10, 'ten', '2026-01-02'), (11, 'eleven', NULL);
UPDATE item SET name = 'TEN' WHERE id = 10;
SELECT * FROM stored WHERE topic = 'items';

-- neither key nor payload can be of any type
SELECT outbox_emit('t', '{"a": 1}'::jsonb, 'p');
SELECT outbox_emit('t', now(), 'p');
SELECT outbox_emit('t', ARRAY[1], 'p');
SELECT outbox_emit('t', 'k', 1);
SELECT outbox_emit('t', 'k', ARRAY['a']);
SELECT outbox_emit('t', 'k', now());

DROP TABLE item;
DROP FUNCTION emit_item;
DROP VIEW stored;
DROP DOMAIN document;
DROP DOMAIN code;
DROP TYPE mood;
