CREATE SEQUENCE outbox.replay_id_seq;
REVOKE ALL ON SEQUENCE outbox.replay_id_seq FROM PUBLIC;
COMMENT ON SEQUENCE outbox.replay_id_seq IS 'Internal: ids of replays';

CREATE TABLE outbox.replay_job (
    id bigint PRIMARY KEY DEFAULT nextval('outbox.replay_id_seq'),
    requested_at timestamptz NOT NULL DEFAULT now(),
    requested_by name NOT NULL DEFAULT session_user,
    first_id bigint NOT NULL,
    last_id bigint NOT NULL,
    since timestamptz,
    until timestamptz,
    topic text,
    key text,
    to_topic text,
    relay text,
    new_timestamp boolean NOT NULL,
    rate integer NOT NULL CHECK (rate > 0),
    state text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'done', 'cancelled')),
    next_id bigint NOT NULL,
    next_at timestamptz NOT NULL DEFAULT '-infinity',
    replayed bigint NOT NULL DEFAULT 0,
    finished_at timestamptz
);
CREATE INDEX replay_job_running ON outbox.replay_job (id) WHERE state = 'running';
REVOKE ALL ON outbox.replay_job FROM PUBLIC;
COMMENT ON TABLE outbox.replay_job IS 'Internal: replays, with their conditions and how far they are; see outbox.stat_replay';
COMMENT ON COLUMN outbox.replay_job.relay IS 'which relay alone publishes the copies; null: all do';
COMMENT ON COLUMN outbox.replay_job.new_timestamp IS
    'the copies carry the time when they are made instead of their events'' time';
COMMENT ON COLUMN outbox.replay_job.rate IS 'events a second';
COMMENT ON COLUMN outbox.replay_job.next_id IS 'events up to here have been looked at';
COMMENT ON COLUMN outbox.replay_job.next_at IS 'when to go on, by its rate';
