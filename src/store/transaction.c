/*-------------------------------------------------------------------------
 *
 * transaction.c
 *	  The relay's transactions and their locks.
 *
 * A transaction begins by locking the tables that most need, and goes on with
 * those that it alone needs, each only if it is free at once, and the sequence
 * (the gate, see xact.c) first. So the relay never waits for DROP EXTENSION,
 * VACUUM FULL or LOCK TABLE while it holds a lock that they may want; it comes
 * back a little later. Names are looked up each time: the extension may have
 * been dropped, or dropped and created again.
 *
 * While outbox.relay has been changed and this relay has not looked at it,
 * there is no transaction but the one that does: it may have been dropped, and
 * must not write what nobody would remove any more.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include <signal.h>

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "executor/spi.h"
#include "pgstat.h"
#include "storage/lmgr.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "shared/load_guard.h"
#include "shared/my_relay.h"
#include "shared/relay_state.h"
#include "shared/segment.h"
#include "store/transaction.h"

/* the sequence that we have attached to; another one means another life */
static Oid attached_sequence = InvalidOid;

static MemoryContext argument_context = NULL;

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
	bool subscriber = outbox_my_relay_is_subscriber();
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
		status = lock_relation(
			schema, subscriber ? OUTBOX_SUBSCRIPTIONS : OUTBOX_RELAY_TABLE,
			RowExclusiveLock, &relation);
	/* who drops us has locked it, and changed the count before unlocking */
	if (status == OUTBOX_STORE_OK && outbox_my_relay_has_changed())
		status = OUTBOX_STORE_BUSY;
	if (status == OUTBOX_STORE_OK && !subscriber)
		status = lock_relation(schema, OUTBOX_PARKED_TABLE, RowExclusiveLock,
							   &relation);
	if (status == OUTBOX_STORE_OK)
		attached_sequence = sequence;
	return status;
}

/*
 * Is the outbox the one that this process has attached to, if it has? In the
 * current transaction.
 */
bool
outbox_store_is_same(void)
{
	Oid schema = get_namespace_oid(OUTBOX_SCHEMA, true);

	return !OidIsValid(attached_sequence) ||
		   (OidIsValid(schema) &&
			get_relname_relid(OUTBOX_SEQUENCE, schema) == attached_sequence);
}

/* Ends the transaction. */
void
outbox_store_end(void)
{
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextReset(outbox_store_argument_context());
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, outbox_relay_state_activity());
}

/* Rolls it back, and any subtransaction in it; also after an error. */
void
outbox_store_undo(void)
{
	AbortOutOfAnyTransaction();
	MemoryContextReset(outbox_store_argument_context());
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, outbox_relay_state_activity());
}

/* Begins a transaction that has none of our locks. */
void
outbox_store_begin_unlocked(const char *activity)
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

	outbox_store_begin_unlocked(activity);
	status = lock_relations();
	if (status != OUTBOX_STORE_OK)
		outbox_store_end();
	return status;
}

/*
 * Begins a transaction in which the relay itself emits, from a table of ours
 * (NULL = from none): the locks that it will need then are taken here, if they
 * are free at once.
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
	if (status == OUTBOX_STORE_OK && table != NULL)
		status = outbox_store_lock(table, RowExclusiveLock);
	if (status == OUTBOX_STORE_OK)
		status = outbox_store_lock_segment(OUTBOX_SEGMENT_PREFIX,
										   outbox_segment_current(db),
										   RowExclusiveLock);
	if (status != OUTBOX_STORE_OK)
		outbox_store_end();
	return status;
}

/*
 * Begins a transaction in which messages are handled: whose ids, offsets and
 * failures are written, and which may emit. The gate comes first.
 */
OutboxStoreStatus
outbox_store_begin_messages(const char *activity)
{
	static const char *const tables[] = {OUTBOX_SEQUENCE, OUTBOX_OFFSETS_TABLE,
										 OUTBOX_INBOX_PARKED,
										 OUTBOX_INBOX_DEAD};
	OutboxStoreStatus status = outbox_store_begin(activity);

	if (status != OUTBOX_STORE_OK)
		return status;
	if (outbox_load_guard_is_under_way(outbox_shmem_my_database()))
		status = OUTBOX_STORE_BUSY;
	for (size_t i = 0; status == OUTBOX_STORE_OK && i < lengthof(tables); i++)
		status = outbox_store_lock(tables[i], RowExclusiveLock);
	if (status != OUTBOX_STORE_OK)
		outbox_store_end();
	return status;
}

/*
 * Runs something in a subtransaction. If it raises an error, that is undone,
 * and returned; else NULL.
 */
ErrorData *
outbox_store_subtransaction(void (*body)(void *arg), void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		body(arg);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return error;
}

/* Where arguments of statements are, which may be made before the transaction
 * begins, until it has ended */
MemoryContext
outbox_store_argument_context(void)
{
	if (argument_context == NULL)
		argument_context = AllocSetContextCreate(
			TopMemoryContext, "outbox arguments", ALLOCSET_SMALL_SIZES);
	return argument_context;
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

/* Lets the rest of the transaction see what has been committed by now. */
void
outbox_store_new_snapshot(void)
{
	PopActiveSnapshot();
	PushActiveSnapshot(GetTransactionSnapshot());
}
