/*-------------------------------------------------------------------------
 *
 * store.c
 *	  The relay's transactions, their locks and their statements.
 *
 * A transaction begins by locking the tables that most need, and goes on with
 * those that it alone needs, each only if it is free at once, and the sequence
 * (the gate, see xact.c) first. So the relay never
 * waits for DROP EXTENSION, VACUUM FULL or LOCK TABLE while it holds a lock
 * that they may want; it comes back a little later. Names are looked up each
 * time: the extension may have been dropped, or dropped and created again.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include <signal.h>

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "pgstat.h"
#include "storage/lmgr.h"
#include "tcop/tcopprot.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "shared/load_guard.h"
#include "shared/segment.h"
#include "shared/shutdown.h"
#include "store/store.h"
#include "store/subscription.h"

/* the sequence that we have attached to; another one means another life */
static Oid attached_sequence = InvalidOid;

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

/* Locks one of our relations in the current transaction, in the same way. */
OutboxStoreStatus
outbox_store_lock(const char *name, LOCKMODE mode)
{
	Oid relation;

	return lock_relation(get_namespace_oid(OUTBOX_SCHEMA, false), name, mode,
						 &relation);
}

/* One of our relations, which has been locked */
Oid
outbox_store_relation(const char *name)
{
	return get_relname_relid(name, get_namespace_oid(OUTBOX_SCHEMA, false));
}

/* The same for a table of the ring, by its number */
OutboxStoreStatus
outbox_store_lock_segment(const char *prefix, int segment, LOCKMODE mode)
{
	char name[NAMEDATALEN];

	snprintf(name, sizeof(name), "%s%d", prefix, segment);
	return outbox_store_lock(name, mode);
}

/* Locks a table and its segments for reading, if all of it is free at once. */
OutboxStoreStatus
outbox_store_lock_ring(const char *name, const char *prefix)
{
	OutboxStoreStatus status = outbox_store_lock(name, AccessShareLock);

	for (int i = 0; status == OUTBOX_STORE_OK && i < OUTBOX_SEGMENTS; i++)
		status = outbox_store_lock_segment(prefix, i, AccessShareLock);
	return status;
}

/*
 * Locks a table as TRUNCATE does, with its TOAST table, which others lock
 * without it; false if one of them is not free at once.
 */
bool
outbox_store_lock_whole(Oid table)
{
	HeapTuple tuple;
	Oid toast;

	if (!ConditionalLockRelationOid(table, AccessExclusiveLock))
		return false;
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(table));
	if (!HeapTupleIsValid(tuple))
		return false;
	toast = ((Form_pg_class) GETSTRUCT(tuple))->reltoastrelid;
	ReleaseSysCache(tuple);
	return !OidIsValid(toast) ||
		   ConditionalLockRelationOid(toast, AccessExclusiveLock);
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

static void
begin(const char *activity)
{
	pgstat_report_activity(STATE_RUNNING, activity);
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	SPI_connect();
	/* taken only now, after the horizon has been read */
	PushActiveSnapshot(GetTransactionSnapshot());
}

/*
 * Begins a transaction and locks our tables, as told above. It has ended
 * already unless the answer is OK.
 */
OutboxStoreStatus
outbox_store_begin(const char *activity)
{
	OutboxStoreStatus status;

	begin(activity);
	status = lock_relations();
	if (status != OUTBOX_STORE_OK)
		outbox_store_end();
	return status;
}

/*
 * Begins a transaction in which the relay itself emits, from a table of ours:
 * the locks that it will need then are taken here, if they are free at once.
 */
OutboxStoreStatus
outbox_store_begin_emit(const char *activity, const char *table)
{
	OutboxDatabase *db = outbox_shmem_my_database();
	OutboxStoreStatus status = outbox_store_begin(activity);

	if (status != OUTBOX_STORE_OK)
		return status;
	if (outbox_load_guard_is_under_way(db))
		status = OUTBOX_STORE_BUSY;
	if (status == OUTBOX_STORE_OK)
		status = outbox_store_lock(OUTBOX_SEQUENCE, RowExclusiveLock);
	if (status == OUTBOX_STORE_OK)
		status = outbox_store_lock(table, RowExclusiveLock);
	if (status == OUTBOX_STORE_OK)
		status = outbox_store_lock_segment(OUTBOX_SEGMENT_PREFIX,
										   outbox_segment_current(db),
										   RowExclusiveLock);
	if (status != OUTBOX_STORE_OK)
		outbox_store_end();
	return status;
}

/* The plan of a statement, made when it is first needed */
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

/* Runs a statement that is not worth a plan; its result is SPI's. */
void
outbox_store_run(const char *sql)
{
	int result = SPI_execute(sql, false, 0);

	if (result < 0)
		elog(ERROR, "query \"%s\" failed: %s", sql,
			 SPI_result_code_string(result));
}

/* Runs a statement in a subtransaction; false if it fails, told in the log
 * unless it only would have had to wait, or SIGTERM has cancelled it. */
static bool
run_or_undo(const char *sql)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool ok = false;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		outbox_store_run(sql);
		ReleaseCurrentSubTransaction();
		ok = true;
	}
	PG_CATCH();
	{
		ErrorData *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE &&
			!outbox_shutdown_is_reason(error->sqlerrcode))
			ereport(WARNING, (errmsg("outbox could not run \"%s\"", sql),
							  errdetail_internal("%s", error->message)));
		FreeErrorData(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return ok;
}

/*
 * Runs a statement that changes the catalog, for which others can make it
 * wait in spite of all locks on our tables: an open transaction with a GRANT,
 * for instance. False if it does not succeed at once.
 */
bool
outbox_store_try(const char *sql)
{
	bool ok;

	outbox_store_run("SET LOCAL lock_timeout = 1");
	/* by which a timeout is told */
	pqsignal(SIGINT, StatementCancelHandler);
	ok = run_or_undo(sql);
	pqsignal(SIGINT, SIG_IGN);
	QueryCancelPending = false;
	return ok;
}

/* From here on, a transaction that waits for longer for a lock fails. */
void
outbox_store_limit_waits(int limit_ms)
{
	char value[16];

	snprintf(value, sizeof(value), "%d", limit_ms);
	SetConfigOption("lock_timeout", value, PGC_SUSET, PGC_S_OVERRIDE);
	/* by which a timeout is told */
	pqsignal(SIGINT, StatementCancelHandler);
}

/* A column of the first row of the last result; 0 for null */
int64
outbox_store_result(int column)
{
	bool is_null;
	Datum value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc,
								column, &is_null);

	return is_null ? 0 : DatumGetInt64(value);
}

/* Lets the rest of the transaction see what has been committed by now. */
void
outbox_store_new_snapshot(void)
{
	PopActiveSnapshot();
	PushActiveSnapshot(GetTransactionSnapshot());
}

/*
 * The version of the extension, if it is still the outbox that was opened. It
 * locks nothing of ours: another version may have other tables.
 */
OutboxStoreStatus
outbox_store_version(char *version, int size)
{
	static OutboxStatement statement = {
		.sql = "SELECT extversion FROM pg_catalog.pg_extension"
			   " WHERE extname = '" OUTBOX_EXTENSION "'",
		.read_only = true};
	OutboxStoreStatus status = OUTBOX_STORE_ABSENT;
	Oid schema;

	begin("outbox: looking for the extension");
	schema = get_namespace_oid(OUTBOX_SCHEMA, true);
	if (outbox_store_execute(&statement, NULL, NULL) == 1 &&
		(!OidIsValid(attached_sequence) ||
		 (OidIsValid(schema) &&
		  get_relname_relid(OUTBOX_SEQUENCE, schema) == attached_sequence)))
	{
		strlcpy(version,
				SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1),
				size);
		status = OUTBOX_STORE_OK;
	}
	outbox_store_end();
	return status;
}

/* Takes our tables out of subscriptions that are older than this library. */
void
outbox_store_leave_subscriptions(void)
{
	begin("outbox: looking at subscriptions");
	outbox_subscription_leave_all();
	outbox_store_end();
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
