CREATE TABLE outbox.topic_rule_entry (
    pattern text PRIMARY KEY CHECK (pattern ~ '^[a-zA-Z0-9._*-]{1,249}$'),
    type text,
    source text,
    content_type text,
    schema_id integer CHECK (schema_id > 0),
    schema_guid uuid,
    schema_placement text CHECK (schema_placement IN ('prefix', 'header')),
    key_required boolean NOT NULL,
    key_pattern text,
    max_size integer CHECK (max_size > 0),
    object_required boolean NOT NULL,
    set_by name NOT NULL DEFAULT session_user,
    set_at timestamptz NOT NULL DEFAULT now()
);
REVOKE ALL ON outbox.topic_rule_entry FROM PUBLIC;
COMMENT ON TABLE outbox.topic_rule_entry IS
    'Internal: what is asked of events by their topic; see outbox.set_topic_rule() and outbox.topic_rule';
