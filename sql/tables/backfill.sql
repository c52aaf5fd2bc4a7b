CREATE SEQUENCE outbox.backfill_id_seq;
REVOKE ALL ON SEQUENCE outbox.backfill_id_seq FROM PUBLIC;
COMMENT ON SEQUENCE outbox.backfill_id_seq IS 'Internal: ids of backfills';

CREATE TABLE outbox.backfill_job (
    id bigint PRIMARY KEY DEFAULT nextval('outbox.backfill_id_seq'),
    requested_at timestamptz NOT NULL DEFAULT now(),
    requested_by name NOT NULL DEFAULT session_user,
    relation regclass NOT NULL,
    topic text,
    condition text,
    rate integer CHECK (rate > 0),
    captures integer[] NOT NULL,
    parts regclass[] NOT NULL,
    rows_estimated bigint NOT NULL,
    state text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'done', 'failed', 'cancelled')),
    part integer NOT NULL DEFAULT 1,
    next_key text[],
    last_key text[],
    next_at timestamptz NOT NULL DEFAULT '-infinity',
    rows_read bigint NOT NULL DEFAULT 0,
    events bigint NOT NULL DEFAULT 0,
    error text,
    error_since timestamptz,
    finished_at timestamptz
);
CREATE INDEX backfill_job_running ON outbox.backfill_job (id) WHERE state = 'running';
REVOKE ALL ON outbox.backfill_job FROM PUBLIC;
COMMENT ON TABLE outbox.backfill_job IS 'Internal: backfills, and how far they are; see outbox.stat_backfill';
COMMENT ON COLUMN outbox.backfill_job.rate IS 'rows a second; null: as many as go without being in the way';
COMMENT ON COLUMN outbox.backfill_job.captures IS 'rows of outbox.capture: where its events go';
COMMENT ON COLUMN outbox.backfill_job.parts IS 'the table, or its partitions, which are read one after another';
COMMENT ON COLUMN outbox.backfill_job.part IS 'the one that is being read; when all have been, one more than there are';
COMMENT ON COLUMN outbox.backfill_job.next_key IS 'the primary key from which on it is read; null: from the first one on';
COMMENT ON COLUMN outbox.backfill_job.last_key IS 'where it ended when its turn came; null: it has not come yet';
COMMENT ON COLUMN outbox.backfill_job.next_at IS 'when to go on, by its rate';
COMMENT ON COLUMN outbox.backfill_job.error IS 'why it has failed, or does not get on';
