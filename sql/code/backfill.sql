CREATE OR REPLACE FUNCTION outbox.check_backfill(relation regclass, captures integer[], condition text) RETURNS void
    LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    AS 'MODULE_PATHNAME', 'outbox_backfill_check';
REVOKE ALL ON FUNCTION outbox.check_backfill(regclass, integer[], text) FROM PUBLIC;
COMMENT ON FUNCTION outbox.check_backfill(regclass, integer[], text) IS
    'Internal: raises an error unless rows of the table can be read, and become events as outbox.capture says';

-- What users have written, the condition, is run as the owner of the table: so
-- who gives it must have the owner's rights.
CREATE OR REPLACE FUNCTION outbox.backfill(
        relation regclass, topic text DEFAULT NULL, rate integer DEFAULT NULL, condition text DEFAULT NULL)
    RETURNS bigint
    LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    its record;
    job bigint;
    captures integer[];
    parts regclass[];
    estimate bigint;
BEGIN
    SELECT c.relkind, c.relowner, c.relpersistence INTO its FROM pg_class c WHERE c.oid = relation;
    IF NOT FOUND THEN
        RAISE undefined_table USING
            MESSAGE = format('table %s does not exist', COALESCE(relation::text, 'null'));
    END IF;
    IF NOT pg_has_role(its.relowner, 'USAGE') THEN
        RAISE insufficient_privilege USING
            MESSAGE = format('must be owner of table %s', relation),
            DETAIL = 'Conditions and functions of formats are run as the owner.';
    END IF;
    IF its.relpersistence = 't' THEN
        RAISE wrong_object_type USING
            MESSAGE = format('temporary table %s cannot be read by a relay', relation);
    END IF;
    IF rate <= 0 THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'rate must be greater than zero',
            HINT = 'Give the number of rows to read in a second, or leave it out.';
    END IF;
    SELECT array_agg(p.id ORDER BY p.id) INTO captures
        FROM outbox.published_table p
        WHERE (p.relation = relation OR p.relation IN (SELECT a.relid FROM pg_partition_ancestors(relation) a))
          AND (topic IS NULL OR p.topic = topic);
    IF captures IS NULL THEN
        RAISE object_not_in_prerequisite_state USING
            MESSAGE = format('table %s is not published%s', relation, COALESCE(' to topic "' || topic || '"', '')),
            HINT = 'Call outbox.publish_table() first: what changes meanwhile must be published, too.';
    END IF;
    IF its.relkind = 'p' THEN
        SELECT COALESCE(array_agg(t.relid ORDER BY t.relid), '{}') INTO parts
            FROM pg_partition_tree(relation) t JOIN pg_class c ON c.oid = t.relid
            WHERE t.isleaf AND c.relkind = 'r';
    ELSE
        parts := ARRAY[relation];
    END IF;
    PERFORM outbox.check_backfill(part, captures, condition) FROM unnest(parts) part;
    SELECT COALESCE(sum(GREATEST(c.reltuples, 0)), 0) INTO estimate FROM pg_class c WHERE c.oid = ANY (parts::oid[]);
    INSERT INTO outbox.backfill_job (relation, topic, condition, rate, captures, parts, rows_estimated, state, finished_at)
        VALUES (relation, topic, condition, rate, captures, parts, estimate,
                CASE parts WHEN '{}' THEN 'done' ELSE 'running' END, CASE parts WHEN '{}' THEN now() END)
        RETURNING id INTO job;
    PERFORM outbox.parked_changed();
    PERFORM outbox.write_audit('backfill', jsonb_build_object(
        'id', job, 'relation', relation, 'topic', topic, 'rate', rate, 'condition', condition), 1);
    RETURN job;
END
$$;
REVOKE ALL ON FUNCTION outbox.backfill(regclass, text, integer, text) FROM PUBLIC;
COMMENT ON FUNCTION outbox.backfill(regclass, text, integer, text) IS
    'publishes the rows that a published table has already, to one of its topics or to all; at most so many rows a second, and those that the condition is true of; watch it in outbox.stat_backfill';

CREATE OR REPLACE FUNCTION outbox.cancel_backfill(id bigint) RETURNS boolean
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    affected bigint;
BEGIN
    UPDATE outbox.backfill_job j SET state = 'cancelled', finished_at = clock_timestamp()
        WHERE j.id = id AND j.state IN ('running', 'failed');
    GET DIAGNOSTICS affected = ROW_COUNT;
    PERFORM outbox.write_audit('cancel_backfill', jsonb_build_object('id', id), affected);
    RETURN affected > 0;
END
$$;
REVOKE ALL ON FUNCTION outbox.cancel_backfill(bigint) FROM PUBLIC;
COMMENT ON FUNCTION outbox.cancel_backfill(bigint) IS
    'ends a backfill, or gives up one that has failed; false if there is none with that id, or it has ended';

CREATE OR REPLACE FUNCTION outbox.resume_backfill(id bigint) RETURNS boolean
    LANGUAGE plpgsql VOLATILE STRICT PARALLEL UNSAFE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    affected bigint;
BEGIN
    UPDATE outbox.backfill_job j
        SET state = 'running', finished_at = NULL, error = NULL, error_since = NULL, next_at = '-infinity'
        WHERE j.id = id AND j.state IN ('failed', 'cancelled');
    GET DIAGNOSTICS affected = ROW_COUNT;
    PERFORM outbox.parked_changed();
    PERFORM outbox.write_audit('resume_backfill', jsonb_build_object('id', id), affected);
    RETURN affected > 0;
END
$$;
REVOKE ALL ON FUNCTION outbox.resume_backfill(bigint) FROM PUBLIC;
COMMENT ON FUNCTION outbox.resume_backfill(bigint) IS
    'lets a backfill that has failed or was cancelled go on where it was; false if there is none with that id, or it runs or is done';

CREATE OR REPLACE VIEW outbox.stat_backfill AS
    SELECT j.id, j.state, j.requested_at, j.requested_by, j.relation, j.topic, j.condition, j.rate,
           j.rows_read, j.events,
           CASE WHEN j.state = 'done' THEN 100
                WHEN j.rows_estimated > 0 THEN round(LEAST(100.0 * j.rows_read / j.rows_estimated, 99.9), 1)
           END AS percent,
           CASE WHEN j.state = 'running' AND j.rows_read > 0 AND j.rows_estimated > j.rows_read
                THEN date_trunc('second', (clock_timestamp() - j.requested_at)
                                          * ((j.rows_estimated - j.rows_read)::double precision / j.rows_read))
           END AS remaining,
           j.parts[j.part] AS reading, j.next_key, j.error, j.error_since, j.finished_at
    FROM outbox.backfill_job j;
REVOKE ALL ON outbox.stat_backfill FROM PUBLIC;
GRANT SELECT ON outbox.stat_backfill TO pg_monitor;
COMMENT ON VIEW outbox.stat_backfill IS 'backfills and how far they are';
COMMENT ON COLUMN outbox.stat_backfill.topic IS 'null: all that the table was published to';
COMMENT ON COLUMN outbox.stat_backfill.rate IS 'rows a second; null: no limit';
COMMENT ON COLUMN outbox.stat_backfill.rows_read IS 'rows that have been looked at';
COMMENT ON COLUMN outbox.stat_backfill.events IS 'events that have been emitted';
COMMENT ON COLUMN outbox.stat_backfill.percent IS
    'of the rows that the table was thought to have by its statistics; null: there were none';
COMMENT ON COLUMN outbox.stat_backfill.remaining IS 'how long it will take, at the speed so far';
COMMENT ON COLUMN outbox.stat_backfill.reading IS 'the table, or the partition, that is being read';
COMMENT ON COLUMN outbox.stat_backfill.next_key IS 'its primary key from which on it is read';
COMMENT ON COLUMN outbox.stat_backfill.error IS 'why it has failed; of one that runs, why it does not get on';
