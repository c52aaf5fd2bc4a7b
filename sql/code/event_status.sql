CREATE OR REPLACE VIEW outbox.event_status AS
    SELECT e.event_id, e.id, e.topic, e.key, e.emitted_at, r.relay,
           CASE WHEN p.state = 'dead' AND p.class = 'expired' THEN 'expired'
                WHEN p.id IS NOT NULL THEN p.state
                WHEN d.id IS NOT NULL THEN 'discarded'
                WHEN e.id <= r.position THEN 'published'
                ELSE 'pending' END AS status,
           CASE WHEN p.id IS NOT NULL THEN p.last_failed_at
                WHEN d.id IS NOT NULL THEN d.discarded_at
                ELSE (SELECT w.written_at FROM outbox.position w
                      WHERE w.relay = r.relay AND w.position >= e.id
                      ORDER BY w.position LIMIT 1) END AS status_at,
           p.next_attempt_at, p.attempts, p.error
    FROM outbox.event e
         CROSS JOIN outbox.stat_relay r
         JOIN outbox.relay c ON c.name = r.relay
         -- for each event by index: the planner would read all of them
         LEFT JOIN LATERAL (
             SELECT p.id, p.state, p.class, p.last_failed_at, p.next_attempt_at, p.attempts, p.error
             FROM outbox.parked p
             WHERE p.relay = r.relay AND p.id = e.id OFFSET 0) p ON true
         LEFT JOIN LATERAL (
             SELECT d.id, d.discarded_at FROM outbox.discarded d
             WHERE d.relay = r.relay AND d.id = e.id OFFSET 0) d ON true
    -- true; the planner thinks that it needs all pages for a key that is
    -- everywhere, unless there is a condition on what is in order, too
    WHERE e.emitted_at > '-infinity'
      -- to a relay, there are no events of topics that it does not publish, nor
      -- those of before its time; but what it has parked, it has
      AND (p.id IS NOT NULL OR d.id IS NOT NULL
           OR e.id > c.first_position AND outbox.topic_matches(e.topic, c.topics, c.excluding))
      -- a copy for one relay is no event of the others
      AND (e.headers ->> 'outbox_relay' = r.relay) IS NOT FALSE
    UNION ALL
    SELECT p.event_id, p.id, p.topic, p.key, p.emitted_at, p.relay,
           CASE WHEN p.state = 'dead' AND p.class = 'expired' THEN 'expired'
                ELSE p.state END,
           p.last_failed_at, p.next_attempt_at, p.attempts, p.error
    FROM outbox.parked p
    WHERE NOT EXISTS (SELECT FROM outbox.event e WHERE e.id = p.id)
    UNION ALL
    SELECT d.event_id, NULL, d.topic, d.key, d.emitted_at, NULL,
           'delayed', d.deliver_at, NULL, NULL, NULL
    FROM outbox.delayed d;
REVOKE ALL ON outbox.event_status FROM PUBLIC;
GRANT SELECT ON outbox.event_status TO pg_monitor;
COMMENT ON VIEW outbox.event_status IS
    'what became of each event that is kept, a row for each relay that publishes its topic; filter by event_id, key, topic, emitted_at or id';
COMMENT ON COLUMN outbox.event_status.status IS
    'delayed (not due yet), pending, published, retrying (has failed), waiting (behind one that has), dead, expired, discarded';
COMMENT ON COLUMN outbox.event_status.status_at IS
    'since when; for published, to about a second; for delayed, when it is due';
