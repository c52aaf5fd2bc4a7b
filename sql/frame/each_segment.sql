-- Runs a statement for each segment, whose number stands where %1$s is. Lives
-- only while the script runs.
CREATE PROCEDURE outbox.each_segment(statement text)
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    FOR segment IN 0 .. 7 LOOP
        EXECUTE format(statement, segment);
    END LOOP;
END
$$;
