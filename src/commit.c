/*-------------------------------------------------------------------------
 *
 * commit.c
 *	  Writes the buffered events into the outbox while their transaction
 *	  commits, between XACT_EVENT_PRE_COMMIT and XACT_EVENT_COMMIT.
 *
 * Why so late: the transaction holds all its locks by then, so ids follow the
 * order in which conflicting transactions commit; and they are in flight for
 * milliseconds, however long the transaction was. The callbacks are
 * registered at library load: the first registered is called last, so that
 * other extensions' work at pre-commit stays outside that window.
 *
 * Locks: the sequence is the gate. The first outbox_emit() of a transaction
 * takes RowExclusiveLock on it (which nextval() would take anyway), before
 * any other lock of ours, and keeps it until the end: what was looked up
 * stays valid. DROP EXTENSION waits for it with empty hands, too (drop.c).
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/htup_details.h"
#include "access/parallel.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "buffer.h"
#include "catalog/namespace.h"
#include "commands/sequence.h"
#include "commit.h"
#include "compat.h"
#include "event.h"
#include "guc.h"
#include "horizon.h"
#include "miscadmin.h"
#include "shmem.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/* rows given to the table at once, as COPY does */
#define BATCH_ROWS  1000
#define BATCH_BYTES 65536

/* The current transaction, if it emits */
typedef struct OutboxTransaction
{
	bool joined;   /* the gate is locked, the fields below are valid */
	bool flushed;  /* at or after pre-commit: too late to emit */
	bool inflight; /* our slot is set */
	OutboxDatabase *db;
	Oid sequence;
	Oid segment;
} OutboxTransaction;

static OutboxTransaction current;

/* Where emitting is impossible whatever the arguments are */
static void
check_allowed(void)
{
	if (outbox_shmem == NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("outbox is not loaded"),
						errhint("Add outbox to shared_preload_libraries and "
								"restart the server.")));
	if (RecoveryInProgress())
		ereport(ERROR, (errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
						errmsg("cannot emit an event during recovery"),
						errhint("Emit events on the primary server.")));
	if (XactReadOnly)
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot emit an event in a read-only transaction"),
				 errhint("Use a READ WRITE transaction; see "
						 "default_transaction_read_only.")));
	if (IsInParallelMode())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_STATE),
				 errmsg("cannot emit an event during a parallel operation"),
				 errhint("Mark the calling function PARALLEL UNSAFE.")));
	if (current.flushed)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_STATE),
				 errmsg("cannot emit an event while the transaction commits"),
				 errhint("Emit it before, or in a deferred constraint "
						 "trigger.")));
}

/* A relation of ours, without asking for any privilege on the schema. */
static Oid
find_relation(const char *name)
{
	Oid schema = get_namespace_oid(OUTBOX_SCHEMA, true);

	return OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;
}

/* Locks the sequence; InvalidOid if the extension is not there (any more). */
static Oid
lock_gate(void)
{
	for (;;)
	{
		Oid sequence = find_relation(OUTBOX_SEQUENCE);

		if (!OidIsValid(sequence))
			return InvalidOid;
		LockRelationOid(sequence, RowExclusiveLock);
		if (find_relation(OUTBOX_SEQUENCE) == sequence)
			return sequence;
		/* it was dropped while we waited; perhaps there is a new one */
		UnlockRelationOid(sequence, RowExclusiveLock);
	}
}

/*
 * Refuses new events while too many wait. The relay must have told how many
 * they are, since the server started.
 */
static void
check_pending(OutboxDatabase *db)
{
	uint64 pending;

	if (outbox_max_pending == 0 || pg_atomic_read_u32(&db->relay_ready) == 0)
		return;
	pending = pg_atomic_read_u64(&db->parked) +
			  pg_atomic_read_u64(&db->last_issued) -
			  pg_atomic_read_u64(&db->position);
	if ((int64) pending > outbox_max_pending)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("too many events wait to be published"),
				 errdetail("%lld wait; outbox.max_pending is %d.",
						   (long long) pending, outbox_max_pending),
				 errhint("Look at outbox.stat_relay and outbox.blocked for "
						 "the reason, or raise outbox.max_pending.")));
}

/*
 * Makes the current transaction one that emits: checks that it may, and locks
 * the gate. Nothing that is looked up here is kept beyond the transaction, so
 * that DROP and CREATE EXTENSION in between are harmless.
 */
void
outbox_commit_join(void)
{
	check_allowed();
	if (current.joined)
		return;

	current.sequence = lock_gate();
	current.segment = find_relation(OUTBOX_SEGMENT_PREFIX "0");
	if (!OidIsValid(current.sequence) || !OidIsValid(current.segment))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("extension \"%s\" does not exist in this database",
						OUTBOX_EXTENSION),
				 errhint("Run CREATE EXTENSION %s.", OUTBOX_EXTENSION)));
	current.db = outbox_shmem_my_database();
	check_pending(current.db);
	current.joined = true;
}

/* The state of writing rows */
typedef struct RowWriter
{
	Relation rel;
	EState *estate;
	ResultRelInfo *rel_info;
	TupleTableSlot *slots[BATCH_ROWS];
	int slots_made; /* as many as one batch has needed so far */
	int count;
	Size bytes;
} RowWriter;

/* Compares what is in the catalog with what this library writes. */
static void
check_schema(Relation rel)
{
	TupleDesc ours = outbox_event_tupdesc();
	TupleDesc theirs = RelationGetDescr(rel);
	bool same = (ours->natts == theirs->natts);

	for (int i = 0; same && i < ours->natts; i++)
	{
		same = TupleDescAttr(ours, i)->atttypid ==
				   TupleDescAttr(theirs, i)->atttypid &&
			   !TupleDescAttr(theirs, i)->attisdropped;
	}
	if (!same)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s.%s\" is not of outbox version %s",
						OUTBOX_SCHEMA, RelationGetRelationName(rel),
						OUTBOX_VERSION),
				 errhint("Run ALTER EXTENSION %s UPDATE, or restart the "
						 "server with the library of the extension's "
						 "version.",
						 OUTBOX_EXTENSION)));
}

static void
begin_rows(RowWriter *writer)
{
	writer->slots_made = 0;
	writer->count = 0;
	writer->bytes = 0;
	writer->rel = table_open(current.segment, RowExclusiveLock);
	check_schema(writer->rel);
	writer->estate = CreateExecutorState();
	writer->rel_info = makeNode(ResultRelInfo);
	InitResultRelInfo(writer->rel_info, writer->rel, 1, NULL, 0);
	ExecOpenIndices(writer->rel_info, false);
}

/* Gives the collected rows to the table and its indexes. */
static void
write_batch(RowWriter *writer)
{
	MemoryContext old_context =
		MemoryContextSwitchTo(GetPerTupleMemoryContext(writer->estate));

	table_multi_insert(writer->rel, writer->slots, writer->count,
					   GetCurrentCommandId(true), 0, NULL);
	for (int i = 0; i < writer->count; i++)
	{
		outbox_insert_index_tuples(writer->rel_info, writer->slots[i],
								   writer->estate);
		ExecClearTuple(writer->slots[i]);
	}
	writer->count = 0;
	writer->bytes = 0;
	MemoryContextSwitchTo(old_context);
	ResetPerTupleExprContext(writer->estate);
}

/* Adds one row. The tuple is copied. */
static void
add_row(RowWriter *writer, HeapTuple tuple)
{
	TupleTableSlot *slot;
	MemoryContext old_context;

	if (writer->count == writer->slots_made)
		writer->slots[writer->slots_made++] = MakeSingleTupleTableSlot(
			RelationGetDescr(writer->rel), &TTSOpsHeapTuple);
	slot = writer->slots[writer->count];

	old_context =
		MemoryContextSwitchTo(GetPerTupleMemoryContext(writer->estate));
	ExecStoreHeapTuple(heap_copytuple(tuple), slot, true);
	MemoryContextSwitchTo(old_context);

	slot->tts_tableOid = RelationGetRelid(writer->rel);
	writer->count++;
	writer->bytes += tuple->t_len;
	if (writer->count == BATCH_ROWS || writer->bytes >= BATCH_BYTES)
		write_batch(writer);
}

static void
end_rows(RowWriter *writer)
{
	if (writer->count > 0)
		write_batch(writer);
	for (int i = 0; i < writer->slots_made; i++)
		ExecDropSingleTupleTableSlot(writer->slots[i]);
	ExecCloseIndices(writer->rel_info);
	FreeExecutorState(writer->estate);
	table_close(writer->rel, NoLock);
}

/* Takes the next id. The first column of the tuple has room for it. */
static uint64
take_id(HeapTuple tuple, uint64 first_id)
{
	int64 id = nextval_internal(current.sequence, false);

	if ((uint64) id < first_id)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("sequence \"%s.%s\" was set back", OUTBOX_SCHEMA,
						OUTBOX_SEQUENCE),
				 errdetail("It returned %lld, but ids up to %lld have been "
						   "used.",
						   (long long) id, (long long) first_id - 1),
				 errhint("Run SELECT setval('%s.%s', %lld).", OUTBOX_SCHEMA,
						 OUTBOX_SEQUENCE, (long long) first_id - 1)));
	StaticAssertStmt(OUTBOX_EVENT_ID == 0, "id must be the first column");
	memcpy((char *) tuple->t_data + tuple->t_data->t_hoff, &id, sizeof(id));
	return (uint64) id;
}

/* Writes all events of the transaction. The steps' order: horizon.c. */
static void
write_events(void)
{
	OutboxBufferReader reader;
	RowWriter *writer = palloc(sizeof(RowWriter));
	HeapTuple tuple;
	uint64 first_id;
	uint64 last_id = 0;

	/* as it was not when the events were emitted */
	if (XactReadOnly)
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot write emitted events: the transaction has "
						"become read-only"),
				 errhint("A transaction that emits must stay READ WRITE until "
						 "it commits.")));

	/* our own transaction may have dropped the extension */
	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(current.sequence)) ||
		!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(current.segment)))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("extension \"%s\" was dropped after events were "
						"emitted in this transaction",
						OUTBOX_EXTENSION),
				 errhint("Drop it in a transaction of its own.")));

	/* those that write to tables with TOAST must have a snapshot */
	PushActiveSnapshot(GetTransactionSnapshot());
	begin_rows(writer);
	outbox_buffer_rewind(&reader);
	first_id = outbox_horizon_enter(current.db);
	current.inflight = true;
	while ((tuple = outbox_buffer_next(&reader)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		last_id = take_id(tuple, first_id);
		add_row(writer, tuple);
	}
	outbox_horizon_issued(current.db, last_id);
	end_rows(writer);
	PopActiveSnapshot();
	pfree(writer);
}

static void
pre_commit(void)
{
	ResourceOwner old_owner = CurrentResourceOwner;

	current.flushed = true;
	if (!outbox_buffer_is_empty())
	{
		/* a procedure that commits runs in its portal's owner */
		CurrentResourceOwner = TopTransactionResourceOwner;
		write_events();
		CurrentResourceOwner = old_owner;
	}
	outbox_buffer_close();
}

static void
end_transaction(bool committed)
{
	if (current.inflight)
		outbox_horizon_leave(current.db, committed ? XactLastCommitEnd
												   : InvalidXLogRecPtr);
	outbox_buffer_forget();
	memset(&current, 0, sizeof(current));
}

static void
xact_callback(XactEvent event, void *arg)
{
	(void) arg;

	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			pre_commit();
			break;
		case XACT_EVENT_PRE_PREPARE:
			/* the events would be lost between here and COMMIT PREPARED */
			if (!outbox_buffer_is_empty())
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("cannot PREPARE a transaction that has "
								"emitted events"),
						 errhint("Use COMMIT, or emit the events in another "
								 "transaction.")));
			break;
		case XACT_EVENT_COMMIT:
			end_transaction(true);
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			end_transaction(false);
			break;
		default:
			break;
	}
}

static void
subxact_callback(SubXactEvent event, SubTransactionId my_subid,
				 SubTransactionId parent_subid, void *arg)
{
	(void) my_subid;
	(void) parent_subid;
	(void) arg;

	if (event == SUBXACT_EVENT_COMMIT_SUB)
		outbox_buffer_commit_sub(GetCurrentTransactionNestLevel());
	else if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		outbox_buffer_abort_sub(GetCurrentTransactionNestLevel());
		/* the lock on the gate may have been this subtransaction's */
		current.joined = false;
	}
}

/* Called once, while the postmaster loads the library. */
void
outbox_commit_install_hooks(void)
{
	RegisterXactCallback(xact_callback, NULL);
	RegisterSubXactCallback(subxact_callback, NULL);
}
