/*-------------------------------------------------------------------------
 *
 * store.c
 *	  All SQL of the relay. Each function begins and ends a transaction of
 *	  its own, and leaves no lock and no snapshot behind.
 *
 * A transaction begins by locking all of our tables, each only if it is free
 * at once, the sequence (the gate, see commit.c) first. So the relay never
 * waits for DROP EXTENSION, VACUUM FULL or LOCK TABLE while it holds a lock
 * that they may want; it comes back a little later. Names are looked up each
 * time: the extension may have been dropped, or dropped and created again.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "pgstat.h"
#include "storage/lmgr.h"
#include "store.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* the sequence that we have attached to; another one means another life */
static Oid attached_sequence = InvalidOid;

/*
 * Settings of the relay's session. The page's plan must be the merge of the
 * segments' indexes whatever the statistics say: an outbox is usually empty,
 * so they mislead.
 */
void
outbox_store_init(void)
{
	static const char *const settings[][2] = {
		{"search_path", "pg_catalog, pg_temp"},
		{"synchronous_commit", "off"},
		{"default_transaction_read_only", "off"},
		{"default_transaction_isolation", "read committed"},
		{"statement_timeout", "0"},
		{"lock_timeout", "0"},
		{"idle_in_transaction_session_timeout", "0"},
		{"row_security", "off"},
		{"jit", "off"},
		{"plan_cache_mode", "force_generic_plan"},
		{"enable_seqscan", "off"},
		{"enable_bitmapscan", "off"},
		{"enable_sort", "off"},
		{"enable_incremental_sort", "off"},
		{"max_parallel_workers_per_gather", "0"},
	};

	for (size_t i = 0; i < lengthof(settings); i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET,
						PGC_S_OVERRIDE);
}

/* Locks a relation of the schema, if it is there and free at once. */
static OutboxStoreStatus
lock_relation(Oid schema, const char *name, LOCKMODE mode, Oid *relation)
{
	*relation = get_relname_relid(name, schema);
	if (!OidIsValid(*relation))
		return OUTBOX_STORE_ABSENT;
	if (!ConditionalLockRelationOid(*relation, mode))
		return OUTBOX_STORE_BUSY;
	/* it may have been dropped, and that committed, just before */
	if (get_relname_relid(name, schema) != *relation)
		return OUTBOX_STORE_BUSY;
	return OUTBOX_STORE_OK;
}

static OutboxStoreStatus
lock_relations(void)
{
	Oid schema = get_namespace_oid(OUTBOX_SCHEMA, true);
	OutboxStoreStatus status;
	Oid sequence;
	Oid relation;

	if (!OidIsValid(schema))
		return OUTBOX_STORE_ABSENT;

	status =
		lock_relation(schema, OUTBOX_SEQUENCE, AccessShareLock, &sequence);
	if (status == OUTBOX_STORE_OK && OidIsValid(attached_sequence) &&
		attached_sequence != sequence)
		return OUTBOX_STORE_ABSENT;
	if (status == OUTBOX_STORE_OK)
		status = lock_relation(schema, OUTBOX_EVENT_TABLE, AccessShareLock,
							   &relation);
	for (int i = 0; status == OUTBOX_STORE_OK && i < OUTBOX_SEGMENTS; i++)
	{
		char name[NAMEDATALEN];

		snprintf(name, sizeof(name), "%s%d", OUTBOX_SEGMENT_PREFIX, i);
		status = lock_relation(schema, name, AccessShareLock, &relation);
	}
	if (status == OUTBOX_STORE_OK)
		status = lock_relation(schema, OUTBOX_RELAY_TABLE, RowExclusiveLock,
							   &relation);
	if (status == OUTBOX_STORE_OK)
		status = lock_relation(schema, OUTBOX_PARKED_TABLE, RowExclusiveLock,
							   &relation);
	if (status == OUTBOX_STORE_OK)
		attached_sequence = sequence;
	return status;
}

/* Ends the transaction. */
void
outbox_store_end(void)
{
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
}

/*
 * Begins a transaction and locks our tables, as told above. It has ended
 * already unless the answer is OK.
 */
OutboxStoreStatus
outbox_store_begin(const char *activity)
{
	OutboxStoreStatus status;

	pgstat_report_activity(STATE_RUNNING, activity);
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	SPI_connect();
	/* taken only now, after the horizon has been read */
	PushActiveSnapshot(GetTransactionSnapshot());

	status = lock_relations();
	if (status != OUTBOX_STORE_OK)
		outbox_store_end();
	return status;
}

/* The plan of a query, prepared when it is first needed */
SPIPlanPtr
outbox_store_plan(OutboxStatement *statement)
{
	if (statement->plan == NULL)
	{
		SPIPlanPtr plan =
			SPI_prepare(statement->sql, statement->nargs, statement->types);

		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "could not prepare \"%s\": %s", statement->sql,
				 SPI_result_code_string(SPI_result));
		statement->plan = plan;
	}
	return statement->plan;
}

/* Runs a query in the current transaction; its result is SPI's. Returns how
 * many rows it has read or written. */
uint64
outbox_store_execute(OutboxStatement *statement, Datum *values,
					 const char *nulls)
{
	int result = SPI_execute_plan(outbox_store_plan(statement), values, nulls,
								  statement->read_only, 0);

	if (result < 0)
		elog(ERROR, "query \"%s\" failed: %s", statement->sql,
			 SPI_result_code_string(result));
	return SPI_processed;
}

static int64
result_int64(int column)
{
	bool is_null;
	Datum value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc,
								column, &is_null);

	return is_null ? 0 : DatumGetInt64(value);
}

static void
report_missing_row(const char *relay)
{
	ereport(ERROR,
			(errcode(ERRCODE_NO_DATA_FOUND),
			 errmsg("there is no relay \"%s\" in outbox.relay", relay),
			 errhint("Insert its row again, with the position from which it "
					 "is to go on.")));
}

/*
 * Attaches to the outbox: the position from which a relay goes on, and the
 * last id that has been handed out.
 */
OutboxStoreStatus
outbox_store_open(const char *relay, uint64 *position, uint64 *last_id)
{
	static OutboxStatement statement = {
		.sql = "SELECT r.position, s.last_value - (NOT s.is_called)::int"
			   " FROM outbox.relay r, outbox.event_id_seq s"
			   " WHERE r.name = $1",
		.read_only = true,
		.nargs = 1,
		.types = {TEXTOID}};
	Datum values[1];
	OutboxStoreStatus status;

	attached_sequence = InvalidOid;
	status = outbox_store_begin("outbox: reading the position");
	if (status != OUTBOX_STORE_OK)
		return status;

	values[0] = CStringGetTextDatum(relay);
	if (outbox_store_execute(&statement, values, NULL) != 1)
		report_missing_row(relay);
	*position = (uint64) result_int64(1);
	*last_id = (uint64) result_int64(2);
	outbox_store_end();
	return OUTBOX_STORE_OK;
}

/* Looks whether the outbox is still the one that was opened. */
OutboxStoreStatus
outbox_store_check(void)
{
	OutboxStoreStatus status =
		outbox_store_begin("outbox: looking for the extension");

	if (status == OUTBOX_STORE_OK)
		outbox_store_end();
	return status;
}

/* An array of ids, as an argument of a query */
Datum
outbox_store_ids(const uint64 *ids, int count)
{
	Datum *datums = palloc(count * sizeof(Datum));

	for (int i = 0; i < count; i++)
		datums[i] = Int64GetDatum((int64) ids[i]);
	return PointerGetDatum(construct_array(datums, count, INT8OID,
										   sizeof(int64), FLOAT8PASSBYVAL,
										   TYPALIGN_DOUBLE));
}

/*
 * Gives the events with position < id < horizon, in order and at most limit
 * of them, to the consumer. rows becomes how many it has taken. The horizon
 * must have been read before, and the WAL flushed.
 */
OutboxStoreStatus
outbox_store_read(uint64 position, uint64 horizon, int limit,
				  OutboxEventConsumer consumer, void *arg, uint64 *rows)
{
	static OutboxStatement statement = {
		.sql = "SELECT id, event_id, emitted_at, topic, key, payload, headers"
			   " FROM outbox.event WHERE id > $1 AND id < $2"
			   " ORDER BY id LIMIT $3",
		.read_only = true,
		.nargs = 3,
		.types = {INT8OID, INT8OID, INT8OID}};
	Datum values[] = {Int64GetDatum((int64) position),
					  Int64GetDatum((int64) horizon), Int64GetDatum(limit)};
	OutboxStoreStatus status = outbox_store_begin("outbox: reading events");

	*rows = 0;
	if (status != OUTBOX_STORE_OK)
		return status;
	*rows = outbox_store_stream(&statement, values, NULL, consumer, arg);
	outbox_store_end();
	return OUTBOX_STORE_OK;
}

/*
 * Writes the position in the current transaction. BUSY if somebody has locked
 * the row: the relay does not wait for them.
 */
OutboxStoreStatus
outbox_store_set_position(const char *relay, uint64 position)
{
	static OutboxStatement look = {
		.sql = "SELECT FROM outbox.relay WHERE name = $1",
		.read_only = true,
		.nargs = 1,
		.types = {TEXTOID}};
	static OutboxStatement statement = {
		.sql = "UPDATE outbox.relay SET position = $2,"
			   " position_at = clock_timestamp() WHERE name IN"
			   " (SELECT name FROM outbox.relay WHERE name = $1"
			   "  FOR NO KEY UPDATE SKIP LOCKED)",
		.nargs = 2,
		.types = {TEXTOID, INT8OID}};
	Datum values[2] = {CStringGetTextDatum(relay),
					   Int64GetDatum((int64) position)};

	if (outbox_store_execute(&statement, values, NULL) == 1)
		return OUTBOX_STORE_OK;
	if (outbox_store_execute(&look, values, NULL) == 0)
		report_missing_row(relay);
	return OUTBOX_STORE_BUSY;
}

/* Writes how far a relay is. The commit is asynchronous. */
OutboxStoreStatus
outbox_store_write_position(const char *relay, uint64 position)
{
	OutboxStoreStatus status =
		outbox_store_begin("outbox: writing the position");

	if (status != OUTBOX_STORE_OK)
		return status;
	status = outbox_store_set_position(relay, position);
	outbox_store_end();
	return status;
}

/* The topic of an event; empty if there is no such event. */
OutboxStoreStatus
outbox_store_topic(uint64 id, char *topic, int size)
{
	static OutboxStatement statement = {
		.sql = "SELECT topic FROM outbox.event WHERE id = $1",
		.read_only = true,
		.nargs = 1,
		.types = {INT8OID}};
	Datum values[] = {Int64GetDatum((int64) id)};
	OutboxStoreStatus status = outbox_store_begin("outbox: reading a topic");

	topic[0] = '\0';
	if (status != OUTBOX_STORE_OK)
		return status;
	if (outbox_store_execute(&statement, values, NULL) == 1)
		strlcpy(topic,
				SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1),
				size);
	outbox_store_end();
	return OUTBOX_STORE_OK;
}
