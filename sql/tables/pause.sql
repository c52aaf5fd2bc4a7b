CREATE TABLE outbox.paused_topic (
    topic text NOT NULL,
    relay text,
    paused_at timestamptz NOT NULL DEFAULT now(),
    paused_by name NOT NULL DEFAULT session_user,
    reason text,
    UNIQUE NULLS NOT DISTINCT (topic, relay)
);
REVOKE ALL ON outbox.paused_topic FROM PUBLIC;
COMMENT ON TABLE outbox.paused_topic IS 'Internal: topics that are paused; see outbox.paused';
COMMENT ON COLUMN outbox.paused_topic.relay IS 'relay that does not publish it; null means all, also those to come';
