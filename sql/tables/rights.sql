CREATE TABLE outbox.emit_right (
    role regrole NOT NULL,
    topic text NOT NULL CHECK (topic ~ '^[a-zA-Z0-9._*-]{1,249}$'),
    PRIMARY KEY (role, topic)
);
REVOKE ALL ON outbox.emit_right FROM PUBLIC;
COMMENT ON TABLE outbox.emit_right IS
    'Internal: to which topics roles may emit; see outbox.grant_emit() and outbox.emit_rights';
COMMENT ON COLUMN outbox.emit_right.role IS 'who may, as long as he has EXECUTE on outbox_emit()';
COMMENT ON COLUMN outbox.emit_right.topic IS 'a topic, in which * stands for any characters';
