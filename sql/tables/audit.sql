CREATE SEQUENCE outbox.audit_id_seq;
REVOKE ALL ON SEQUENCE outbox.audit_id_seq FROM PUBLIC;
COMMENT ON SEQUENCE outbox.audit_id_seq IS 'Internal: ids of outbox.audit';

CREATE TABLE outbox.audit_entry (
    id bigint PRIMARY KEY DEFAULT nextval('outbox.audit_id_seq'),
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    called_by name NOT NULL DEFAULT session_user,
    as_role name NOT NULL DEFAULT COALESCE(NULLIF(current_setting('role'), 'none'), session_user),
    client_addr inet DEFAULT inet_client_addr(),
    application_name text NOT NULL DEFAULT current_setting('application_name'),
    function text NOT NULL,
    arguments jsonb NOT NULL,
    affected bigint
);
CREATE INDEX audit_at ON outbox.audit_entry (at);
REVOKE ALL ON outbox.audit_entry FROM PUBLIC;
COMMENT ON TABLE outbox.audit_entry IS
    'Internal: calls of functions that change how events are published, or what becomes of them; see outbox.audit';
