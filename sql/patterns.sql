-- Patterns for topics, which relays and rights go by.
\pset format unaligned
\pset tuples_only on
-- as LIKE has it, for all short topics and patterns
WITH RECURSIVE topic (name) AS (
    SELECT '' UNION ALL
    SELECT name || c FROM topic, unnest('{a,b}'::text[]) c WHERE length(name) < 6
), pattern (name) AS (
    SELECT '' UNION ALL
    SELECT name || c FROM pattern, unnest('{a,b,*}'::text[]) c WHERE length(name) < 6
)
SELECT count(*), count(*) FILTER (WHERE outbox.topic_matches(t.name, ARRAY[p.name], NULL)) AS matches,
       count(*) FILTER (WHERE outbox.topic_matches(t.name, ARRAY[p.name], NULL)
                              <> (t.name LIKE replace(p.name, '*', '%'))) AS wrong
FROM topic t, pattern p;

-- nothing but a star is special, and upper case is not lower case
SELECT p, outbox.topic_matches('shop.order-1_a', ARRAY[p], NULL)
FROM unnest('{shop.order-1_a,shop.*,*_a,shop*order*a,*,**,shop.order-1_a*,shop_order*,shop%,shop.order-1__,Shop.*,"shop.order-1_a ",shop.order,[a-z]*,shop?order*,\\*}'::text[]) p;

-- any of several, and none of the exceptions
SELECT t, outbox.topic_matches(t, '{a.*,b}', '{*.secret,a.b*}')
FROM unnest('{a.a,a.secret,a.b,a.bc,b,b.c,c}'::text[]) t;
-- null is no condition; an empty list has no topics; what is null in a list is nothing
SELECT outbox.topic_matches('a', NULL, NULL), outbox.topic_matches('a', '{}', NULL),
       outbox.topic_matches('a', NULL, '{}'), outbox.topic_matches('a', '{NULL}', NULL),
       outbox.topic_matches('a', '{NULL,a}', '{NULL}'), outbox.topic_matches('a', NULL, '{*}'),
       outbox.topic_matches(NULL, NULL, NULL) IS NULL;

-- many stars that almost match take no time
SET statement_timeout = '10s';
SELECT count(*) FILTER (WHERE outbox.topic_matches(repeat('a', 249), ARRAY[repeat('*a', n) || '*b'], NULL)),
       count(*) FILTER (WHERE outbox.topic_matches(repeat('a', 249), ARRAY[repeat('a*', n)], NULL))
FROM generate_series(1, 260) n;
RESET statement_timeout;
