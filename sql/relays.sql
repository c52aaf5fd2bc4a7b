-- Relays are made, changed and dropped; what cannot be is refused at once.
\set SHOW_CONTEXT never
SELECT outbox.create_relay(NULL);
SELECT outbox.create_relay('');
SELECT outbox.create_relay('../x');
SELECT outbox.create_relay('Audit');
SELECT outbox.create_relay('-x');
SELECT outbox.create_relay(repeat('x', 64));
SELECT outbox.create_relay('default');
SELECT outbox.create_relay('r', topics => '{}');
SELECT outbox.create_relay('r', topics => '{a,NULL}');
SELECT outbox.create_relay('r', topics => '{a/b}');
SELECT outbox.create_relay('r', topics => ARRAY[E'a\n']);
SELECT outbox.create_relay('r', topics => '{..}');
SELECT outbox.create_relay('r', topics => array_fill('a'::text, ARRAY[1001]));
SELECT outbox.create_relay('r', excluding => '{}');
SELECT outbox.create_relay('r', excluding => '{ä}');
SELECT outbox.create_relay('r', topic_prefix => 'a*');
SELECT outbox.create_relay('r', topic_prefix => repeat('a', 249));
SELECT outbox.create_relay('r', topic_prefix => repeat('a', 200), topics => ARRAY[repeat('b', 50)]);
SELECT outbox.create_relay('r', start => 'then');
SELECT outbox.create_relay('r', start => NULL);
SELECT outbox.create_relay('r', on_failure => 'stop');
SELECT outbox.create_relay('r', retry_base_delay => '9 ms');
SELECT outbox.create_relay('r', retry_max_delay => '1 month');
SELECT outbox.create_relay('r', retry_multiplier => 'NaN');
SELECT outbox.create_relay('r', retry_max_attempts => -1);
SELECT outbox.create_relay('r', event_headers => 'json');
SELECT outbox.create_relay('r', dead_letter_topic => 'a b');
SELECT outbox.create_relay('r', topic_prefix => repeat('a', 200), dead_letter_topic => repeat('b', 50));
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT outbox.create_relay('r');
ROLLBACK;

SELECT outbox.create_relay('r', topics => '{a.*,b}', excluding => '{a.c}', topic_prefix => 'p.', on_failure => 'skip',
	retry_base_delay => '1 s', retry_multiplier => 3, retry_max_delay => '1 min', retry_max_attempts => 5,
	dead_letter_topic => '');
SELECT name, number, topics, excluding, topic_prefix, on_failure, retry_base_delay, retry_multiplier, retry_max_delay,
	retry_max_attempts, dead_letter_topic = '' AS no_dead_letter_topic FROM outbox.relay WHERE name = 'r';
SELECT outbox.create_relay('r');

-- what is left out stays, and what is reset is as at the beginning
SELECT outbox.alter_relay('r', topics => '{c}', retry_max_attempts => 0, reset => '{on_failure,topic_prefix,excluding}');
SELECT name, number, topics, excluding, topic_prefix, on_failure, retry_base_delay, retry_multiplier, retry_max_delay,
	retry_max_attempts, dead_letter_topic = '' AS no_dead_letter_topic FROM outbox.relay WHERE name = 'r';
SELECT outbox.alter_relay('r', reset => '{topics,retry_base_delay,retry_multiplier,retry_max_delay,retry_max_attempts,dead_letter_topic}');
SELECT r.topics, r.retry_base_delay, r.retry_multiplier, r.retry_max_delay, r.retry_max_attempts, r.dead_letter_topic
	FROM outbox.relay r WHERE name = 'r';
SELECT outbox.alter_relay('r', on_failure => 'stop');
SELECT outbox.alter_relay('r', reset => '{name}');
SELECT outbox.alter_relay('r', reset => '{NULL}');
SELECT outbox.alter_relay('nobody');
SELECT outbox.alter_relay(NULL);

-- as many as there can be
DO $$ BEGIN PERFORM outbox.create_relay('r' || i) FROM generate_series(1, 30) i; END $$;
SELECT outbox.create_relay('one_more');
DO $$ BEGIN PERFORM outbox.drop_relay('r' || i) FROM generate_series(1, 30) i; END $$;

-- "default" can go, and has its number when it comes again
SELECT outbox.drop_relay('default', discard => true);
SELECT outbox.create_relay('one_more');
SELECT outbox.create_relay('default', start => 'oldest');
SELECT name, number FROM outbox.relay ORDER BY number;
SELECT outbox.drop_relay('one_more');
SELECT outbox.drop_relay('r');
SELECT outbox.drop_relay('r');
SELECT outbox.drop_relay(NULL);
SELECT outbox.drop_relay('default');
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT outbox.drop_relay('default');
ROLLBACK;
