/*-------------------------------------------------------------------------
 *
 * xact.c
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
 * stays valid. DROP EXTENSION waits for it with empty hands, too
 * (extension_locks.c).
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/htup_details.h"
#include "access/parallel.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "emit/deleted_rows.h"
#include "emit/gate.h"
#include "emit/xact.h"
#include "emit/xact_buffer.h"
#include "event.h"
#include "guc.h"
#include "shared/addressed.h"
#include "shared/chores.h"
#include "shared/commit_times.h"
#include "shared/due.h"
#include "shared/horizon.h"
#include "shared/load_guard.h"
#include "shared/segment.h"
#include "shared/shmem.h"
#include "store/event_ids.h"
#include "store/pending.h"
#include "store/table_writer.h"

/* The current transaction, if it emits */
typedef struct OutboxTransaction
{
	bool joined;    /* the gate is locked, the fields below are valid */
	bool flushed;   /* at or after pre-commit: too late to emit */
	bool inflight;  /* our slot is set */
	bool addressed; /* some of its events are for one relay alone */
	OutboxDatabase *db;
	Oid sequence;
	TimestampTz due_min; /* the first of its delayed events; 0 = none */
	uint64 first_id;     /* of its events, once they are written */
	uint64 last_id;
	int64 delayed; /* how many these are, and ... */
	int64 bytes;   /* ... how large all are, once they are written */
} OutboxTransaction;

static OutboxTransaction current;

/* Where emitting is impossible whatever the arguments are */
static void
check_allowed(void)
{
	outbox_shmem_require();
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

/*
 * Is there outbox.event? Raises 55000 for one that this library does not know;
 * which types its columns are is looked at when rows are written.
 */
static bool
has_event_table(void)
{
	Oid event = outbox_gate_relation(OUTBOX_EVENT_TABLE);
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(event));
	int columns;

	if (!HeapTupleIsValid(tuple))
		return false;
	columns = ((Form_pg_class) GETSTRUCT(tuple))->relnatts;
	ReleaseSysCache(tuple);
	if (columns != OUTBOX_EVENT_COLUMNS)
		outbox_table_writer_refuse(OUTBOX_EVENT_TABLE);
	return true;
}

/*
 * Makes the current transaction one that emits: checks that it may, and locks
 * the gate. Nothing that is looked up here is kept beyond the transaction, so
 * that DROP and CREATE EXTENSION in between are harmless.
 *
 * by_relay: the relay itself, which looks after restores by itself
 */
void
outbox_xact_join(bool by_relay)
{
	check_allowed();
	if (current.joined)
		return;

	current.sequence = outbox_gate_lock();
	if (!OidIsValid(current.sequence) || !has_event_table())
	{
		if (OidIsValid(get_extension_oid(OUTBOX_EXTENSION, true)))
			outbox_table_writer_refuse(OUTBOX_EVENT_TABLE);
		outbox_gate_refuse();
	}
	current.db = outbox_shmem_my_database();
	if (!by_relay)
		outbox_load_guard_check(current.db);
	current.joined = true;
}

/*
 * Adds an event, which has been checked, to the current transaction, which has
 * joined those that emit; it gets its id at commit. origin: which view it came
 * by, xact_buffer.c; 0 = none. Raises 53400 if too much is waiting.
 */
void
outbox_xact_add_from(uint32 origin, Datum *values, bool *nulls, bool delayed)
{
	HeapTuple tuple;

	values[OUTBOX_EVENT_ID] = Int64GetDatum(0);
	tuple = outbox_event_form(values, nulls, delayed);
	outbox_pending_check(current.db, outbox_xact_buffer_events() + 1,
						 outbox_xact_buffer_bytes() + (int64) tuple->t_len);
	outbox_xact_buffer_append(tuple, origin);
	heap_freetuple(tuple);
}

/* Likewise, of an event that came by no view */
void
outbox_xact_add(Datum *values, bool *nulls, bool delayed)
{
	outbox_xact_add_from(0, values, nulls, delayed);
}

/* A delayed event of the current transaction will be due at that time. */
void
outbox_xact_note_due(TimestampTz due)
{
	if (current.due_min == 0 || due < current.due_min)
		current.due_min = due;
}

/* Some events of the current transaction are for one relay alone. */
void
outbox_xact_note_addressed(void)
{
	current.addressed = true;
}

/* Ids that have been taken, and not used yet */
typedef struct TakenIds
{
	int64 next;
	int64 left;
	int64 needed; /* by this event and those behind it */
} TakenIds;

/* Gives an event its id. The first column of the tuple has room for it. */
static uint64
set_id(HeapTuple tuple, TakenIds *ids, uint64 first_id)
{
	int64 id;

	if (ids->left == 0)
	{
		ids->left = ids->needed;
		ids->next = outbox_event_ids_take(current.sequence, &ids->left);
	}
	id = ids->next++;
	ids->left--;
	ids->needed--;
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

/* Tells that our own transaction has dropped the extension. */
static void
report_dropped(void)
{
	ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					errmsg("extension \"%s\" was dropped after events were "
						   "emitted in this transaction",
						   OUTBOX_EXTENSION),
					errhint("Drop it in a transaction of its own.")));
}

/* Writes all events of the transaction. The steps' order: horizon.c. */
static void
write_events(void)
{
	OutboxBufferReader reader;
	OutboxTableWriter *events;
	OutboxTableWriter *delayed = NULL;
	HeapTuple tuple;
	TakenIds ids = {.needed = outbox_xact_buffer_events()};
	uint64 first_id;
	uint64 last_id = 0;
	Oid segment;

	/* as it was not when the events were emitted */
	if (XactReadOnly)
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("cannot write emitted events: the transaction has "
						"become read-only"),
				 errhint("A transaction that emits must stay READ WRITE until "
						 "it commits.")));

	/* again: it may have begun since */
	outbox_load_guard_check(current.db);
	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(current.sequence)))
		report_dropped();
	segment = outbox_segment_lock_current(current.db);
	if (!OidIsValid(segment))
		outbox_table_writer_refuse(OUTBOX_EVENT_TABLE);

	/* those that write to tables with TOAST must have a snapshot */
	PushActiveSnapshot(GetTransactionSnapshot());
	events = outbox_table_writer_begin(
		segment, outbox_event_tupdesc(OUTBOX_EVENT_COLUMNS));
	if (current.due_min != 0)
	{
		Oid table = outbox_gate_relation(OUTBOX_DELAYED_TABLE);

		if (!OidIsValid(table))
			outbox_table_writer_refuse(OUTBOX_DELAYED_TABLE);
		delayed = outbox_table_writer_begin(
			table, outbox_event_tupdesc(OUTBOX_DELAYED_COLUMNS));
	}
	outbox_xact_buffer_rewind(&reader);
	first_id = outbox_horizon_enter(current.db);
	current.inflight = true;
	while ((tuple = outbox_xact_buffer_next(&reader)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		last_id = set_id(tuple, &ids, first_id);
		if (current.first_id == 0)
			current.first_id = last_id;
		if (HeapTupleHeaderGetNatts(tuple->t_data) == OUTBOX_DELAYED_COLUMNS)
		{
			outbox_table_writer_add(delayed, tuple);
			current.delayed++;
		}
		else
			outbox_table_writer_add(events, tuple);
	}
	outbox_horizon_issued(current.db, last_id);
	current.last_id = last_id;
	if (current.addressed)
		outbox_addressed_raise(current.db, last_id);
	outbox_table_writer_end(events);
	if (delayed != NULL)
		outbox_table_writer_end(delayed);
	PopActiveSnapshot();
}

static void
pre_commit(void)
{
	ResourceOwner old_owner = CurrentResourceOwner;

	current.flushed = true;
	if (!outbox_xact_buffer_is_empty())
	{
		/* a procedure that commits runs in its portal's owner */
		CurrentResourceOwner = TopTransactionResourceOwner;
		write_events();
		current.bytes = outbox_xact_buffer_bytes();
		/* what triggers of others on our tables have deferred, table_writer.c:
		 * the time for it is over, but for this */
		AfterTriggerFireDeferred();
		CurrentResourceOwner = old_owner;
	}
	outbox_xact_buffer_close();
}

static void
end_transaction(bool committed)
{
	if (committed && current.due_min != 0)
	{
		outbox_due_lower(current.db, current.due_min - 1);
		outbox_chores_wanted(current.db);
	}
	if (committed && current.inflight)
		outbox_pending_committed(current.db, current.bytes, current.delayed);
	if (committed && current.last_id != 0)
		outbox_commit_times_note(current.db, current.first_id,
								 current.last_id);
	if (current.inflight)
		outbox_horizon_leave(current.db, committed ? XactLastCommitEnd
												   : InvalidXLogRecPtr);
	outbox_xact_buffer_forget();
	outbox_deleted_rows_forget();
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
			if (!outbox_xact_buffer_is_empty())
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
	{
		outbox_xact_buffer_commit_sub(GetCurrentTransactionNestLevel());
		outbox_deleted_rows_commit_sub(GetCurrentTransactionNestLevel());
	}
	else if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		outbox_xact_buffer_abort_sub(GetCurrentTransactionNestLevel());
		outbox_deleted_rows_abort_sub(GetCurrentTransactionNestLevel());
		/* the lock on the gate may have been this subtransaction's */
		current.joined = false;
	}
}

/* Called once, while the postmaster loads the library. */
void
outbox_xact_install_hooks(void)
{
	RegisterXactCallback(xact_callback, NULL);
	RegisterSubXactCallback(subxact_callback, NULL);
}
