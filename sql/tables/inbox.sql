-- The primary keys begin with what differs: one comparison tells most rows
-- apart, and each message takes some twenty.
CREATE TABLE outbox.inbox_0 (
    consumer text COLLATE "C" NOT NULL,
    message_id text COLLATE "C" NOT NULL,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (message_id, consumer)
);
REVOKE ALL ON outbox.inbox_0 FROM PUBLIC;
COMMENT ON TABLE outbox.inbox_0 IS
    'Internal: messages that consumers have received; written in turn with outbox.inbox_1, see outbox.receive()';

CREATE TABLE outbox.inbox_1 (
    consumer text COLLATE "C" NOT NULL,
    message_id text COLLATE "C" NOT NULL,
    received_at timestamptz NOT NULL,
    PRIMARY KEY (message_id, consumer)
);
REVOKE ALL ON outbox.inbox_1 FROM PUBLIC;
COMMENT ON TABLE outbox.inbox_1 IS 'Internal: as outbox.inbox_0';

CREATE TABLE outbox.inbox_turn (
    current smallint NOT NULL CHECK (current IN (0, 1)),
    since timestamptz NOT NULL,
    one boolean PRIMARY KEY DEFAULT true CHECK (one)
);
REVOKE ALL ON outbox.inbox_turn FROM PUBLIC;
COMMENT ON TABLE outbox.inbox_turn IS
    'Internal: which of outbox.inbox_0 and outbox.inbox_1 is written to; no row means the first, since it is used';

CREATE TABLE outbox.receive_right (
    role regrole NOT NULL,
    consumer text NOT NULL CHECK (consumer ~ '^[a-zA-Z0-9._*-]{1,249}$'),
    PRIMARY KEY (role, consumer)
);
REVOKE ALL ON outbox.receive_right FROM PUBLIC;
COMMENT ON TABLE outbox.receive_right IS
    'Internal: for which consumers roles may receive; see outbox.grant_receive() and outbox.receive_rights';
COMMENT ON COLUMN outbox.receive_right.role IS 'who may, as long as he has EXECUTE on outbox.receive()';
COMMENT ON COLUMN outbox.receive_right.consumer IS 'a consumer, in which * stands for any characters';
