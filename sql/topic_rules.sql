-- What events tell of themselves, and rules for topics.
SELECT outbox_emit('t', 'k', 'p', event_id => '00000000-0000-0000-0000-000000000000');
SELECT outbox_emit('t', 'k', 'p', type => '');
SELECT outbox_emit('t', 'k', 'p', type => repeat('x', 251));
SELECT outbox_emit('t', 'k', 'p', content_type => E'text/plain\n');
SELECT outbox_emit('t', 'k', 'p', type => 'a' || chr(133));
SELECT outbox_emit('t', 'k', 'p', source => 'no uri');
SELECT outbox_emit('t', 'k', 'p', source => 'a%2');
SELECT outbox_emit('t', NULL, repeat('p', 1000000 - 44 - 2), type => 'abc');
SELECT outbox_emit('t', NULL, repeat('p', 1000000 - 44 - 3), type => 'abc') IS NOT NULL AS ok;
BEGIN;
SELECT outbox_emit('t', 1, 'p', event_id => 'ffffffff-ffff-ffff-ffff-ffffffffffff', type => 'a', source => '/s', content_type => 'text/plain');
SELECT outbox_emit('t', 2, 'p', source => 'https://example.org/a?b#c', deliver_after => '1 day') IS NOT NULL AS ok;
SELECT outbox_emit('t', 3, 'p') IS NOT NULL AS ok;
SELECT key, event_id = 'ffffffff-ffff-ffff-ffff-ffffffffffff' AS given, type, source, content_type, deliver_at IS NOT NULL AS delayed FROM outbox.emitted();
ROLLBACK;

-- rules that cannot be
SELECT outbox.set_topic_rule(NULL);
SELECT outbox.set_topic_rule('a b');
SELECT outbox.set_topic_rule('r', source => 'no uri');
SELECT outbox.set_topic_rule('r', key_pattern => '(');
SELECT outbox.set_topic_rule('r', max_size => 0);
SELECT outbox.set_topic_rule('r', schema_id => -1);
SELECT outbox.set_topic_rule('r', schema_id => 1, schema_placement => 'header');
SELECT outbox.set_topic_rule('r', schema_id => 1, schema_placement => 'footer');
SELECT outbox.set_topic_rule('r', schema_placement => 'prefix');
SELECT outbox.set_topic_rule('r', schema_id => 1, schema_guid => '01890a5d-ac96-774b-bcce-b302099a8057');
SELECT count(*) FROM outbox.topic_rule;

-- the one that says most
SELECT outbox.set_topic_rule('*', type => 'all');
SELECT outbox.set_topic_rule('r.*', type => 'prefix', source => '/r');
SELECT outbox.set_topic_rule('r.*.x', type => 'longer');
SELECT outbox.set_topic_rule('r.a.x', type => 'exact', content_type => 'text/plain');
BEGIN;
SELECT count(outbox_emit(topic, NULL, 'p')) FROM unnest('{q,r.b,r.b.x,r.a.x}'::text[]) topic;
SELECT outbox_emit('r.a.x', NULL, 'p', type => 'own', source => '/own') IS NOT NULL AS ok;
SELECT topic, type, source, content_type FROM outbox.emitted();
ROLLBACK;
SELECT outbox.drop_topic_rule(pattern) FROM unnest('{*,r.*,r.*.x,r.a.x,r}'::text[]) pattern;

-- what is asked for
SELECT outbox.set_topic_rule('r', key_required => true, key_pattern => '^[0-9]+$', max_size => 100, object_required => true);
SELECT outbox_emit('r', NULL, '{}');
SELECT outbox_emit('r', 'k1', '{}');
SELECT outbox_emit('r', 1, '[1]');
SELECT outbox_emit('r', 1, '{"a": }');
SELECT outbox_emit('r', 1, '\x7b22ff223a317d'::bytea);
SELECT outbox_emit('r', 1, jsonb_build_object('a', repeat('x', 50)));
SELECT outbox_emit('r', 1, '{}', jsonb_build_object('a', repeat('x', 100)));
SELECT outbox_emit('r', 1, repeat('x', 1000000));
SELECT outbox_emit('r', 1, ' {"a": 1}') IS NOT NULL AS ok;
SELECT outbox_emit('r', 1, '{"a": 1}'::jsonb) IS NOT NULL AS ok;
SELECT outbox_emit('r', 1, NULL) IS NOT NULL AS tombstone;
-- and nothing any more of what is left out, also within a transaction
BEGIN;
SELECT outbox.set_topic_rule('r');
SELECT outbox_emit('r', NULL, 'x') IS NOT NULL AS ok;
SAVEPOINT s;
SELECT outbox.set_topic_rule('r', key_required => true);
\set VERBOSITY terse
SELECT outbox_emit('r', NULL, 'x');
ROLLBACK TO s;
SELECT outbox_emit('r', NULL, 'x') IS NOT NULL AS ok;
ROLLBACK;
SELECT outbox_emit('r', NULL, 'x');
\set VERBOSITY default

-- schemas
SELECT outbox.set_topic_rule('r', schema_id => 66051, max_size => 60);
SELECT outbox.set_topic_rule('h', schema_guid => '01890a5d-ac96-774b-bcce-b302099a8057', schema_id => 1, schema_placement => 'header');
BEGIN;
SELECT outbox_emit('r', NULL, 'data') IS NOT NULL AS ok;
SELECT outbox_emit('r', NULL, NULL) IS NOT NULL AS ok;
SELECT outbox_emit('h', NULL, 'data') IS NOT NULL AS ok;
SELECT outbox_emit('h', NULL, 'data', '{"a": "b"}') IS NOT NULL AS ok;
SELECT outbox_emit('h', NULL, 'data', '{"__value_schema_id": "own"}') IS NOT NULL AS ok;
SELECT outbox_emit('h', NULL, NULL) IS NOT NULL AS ok;
SELECT topic, payload, headers, encode(decode(headers -> '__value_schema_id' ->> 'base64', 'base64'), 'hex') AS schema FROM outbox.emitted();
ROLLBACK;
SELECT outbox_emit('h', NULL, 'data', '[1]');
-- the prefix is counted
SELECT outbox_emit('r', NULL, repeat('x', 60 - 44 - 4));
SELECT outbox_emit('r', NULL, repeat('x', 60 - 44 - 5)) IS NOT NULL AS ok;
SELECT pattern, schema_id, schema_guid, schema_placement, key_required, max_size, object_required, set_by = session_user AS by_me FROM outbox.topic_rule ORDER BY 1;

-- tables that are published have them, too
CREATE TABLE ruled (id integer PRIMARY KEY);
SELECT outbox.set_topic_rule('ruled', type => 'row', key_pattern => '^1$');
SELECT outbox.publish_table('ruled', 'ruled');
BEGIN;
INSERT INTO ruled VALUES (1);
SELECT topic, key, type FROM outbox.emitted();
ROLLBACK;
INSERT INTO ruled VALUES (2);
DROP TABLE ruled;
SELECT outbox.drop_topic_rule(pattern) FROM unnest('{r,h,ruled}'::text[]) pattern;
