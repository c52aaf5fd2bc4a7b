/*-------------------------------------------------------------------------
 *
 * parked_held.c
 *	  Rows of outbox.parked that somebody else has locked: a session that
 *	  discards them and has not committed yet, say, or looks at them with FOR
 *	  UPDATE.
 *
 * What goes out must be noted in its row, or it would go out again and again.
 * So before an event is sent, it is looked whether its row could be changed
 * now; one that somebody holds is not sent. And if it is locked between the
 * look and the answer, the relay remembers what it could not note: for as
 * long as it lives, the event is not sent again, as if its row were gone, and
 * noting it is tried again. Only a crash of the process in that time, or its
 * end, makes it come twice.
 *
 * No more is remembered than HELD_MAX; who sends asks for the room
 * first.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "shared/times.h"
#include "store/parked_held.h"
#include "store/parked_sql.h"
#include "store/position.h"

/* what is remembered of each kind; a query looks at all for each row */
#define HELD_MAX 4000

typedef struct HeldRows
{
	uint64 ids[HELD_MAX];
	int count;
	TimestampTz next; /* try */
} HeldRows;

static HeldRows held[OUTBOX_HELD_KINDS];

/*
 * Has somebody else locked, changed or removed the row of a parked event? In
 * the transaction that has read it.
 */
bool
outbox_held_by_others(const OutboxEvent *event)
{
	Oid table = get_relname_relid(OUTBOX_PARKED_TABLE,
								  get_namespace_oid(OUTBOX_SCHEMA, false));
	Relation rel = table_open(table, NoLock);
	HeapTupleData tuple = {.t_self = event->tid};
	TM_Result result = TM_Deleted;
	Buffer buffer;

	if (heap_fetch(rel, SnapshotAny, &tuple, &buffer, false))
	{
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		result = HeapTupleSatisfiesUpdate(&tuple, GetCurrentCommandId(false),
										  buffer);
		UnlockReleaseBuffer(buffer);
	}
	table_close(rel, NoLock);
	return result != TM_Ok;
}

/* What notes it in the rows, unless they are locked */
static OutboxStatement changes[] = {
	[OUTBOX_HELD_DELIVERED] =
		{.sql = "DELETE FROM outbox.parked" OUTBOX_WHERE_FREE
				"id = ANY ($2)" OUTBOX_SKIP_LOCKED},
	[OUTBOX_HELD_ANNOUNCED] =
		{.sql = "UPDATE outbox.parked"
				" SET announced_at = now()" OUTBOX_WHERE_FREE
				"id = ANY ($2) AND state = 'dead'" OUTBOX_SKIP_LOCKED},
};

/* What has not been noted */
static OutboxStatement looks[] = {
	[OUTBOX_HELD_DELIVERED] =
		{.sql = "SELECT id FROM outbox.parked WHERE relay = $1"
				" AND id = ANY ($2)"},
	[OUTBOX_HELD_ANNOUNCED] =
		{.sql = "SELECT id FROM outbox.parked WHERE relay = $1"
				" AND id = ANY ($2) AND state = 'dead'"
				" AND announced_at IS NULL"},
};

static uint64
execute(OutboxStatement *statement, Datum *values)
{
	statement->nargs = 2;
	statement->types[0] = TEXTOID;
	statement->types[1] = INT8ARRAYOID;
	return outbox_store_execute(statement, values, NULL);
}

/*
 * Notes that it has happened to so many events, in a transaction of its own,
 * and remembers those whose rows are locked. For delivered ones the position
 * is written with it, unless its table is locked, so that a crash does not
 * bring them back into the stream.
 */
OutboxStoreStatus
outbox_held_note(OutboxHeldKind kind, const char *relay, const uint64 *ids,
				 int count, uint64 position)
{
	HeldRows *rows = &held[kind];
	Datum values[] = {outbox_store_text(relay), outbox_store_ids(ids, count)};
	OutboxStoreStatus status =
		outbox_store_begin("outbox: noting what became of parked events");
	uint64 left;

	if (status != OUTBOX_STORE_OK)
		return status;
	execute(&changes[kind], values);
	if (kind == OUTBOX_HELD_DELIVERED)
		(void) outbox_position_set(relay, position);
	left = execute(&looks[kind], values);
	/* all of them again? */
	if (ids == rows->ids)
		rows->count = 0;
	for (uint64 row = 0; row < left && rows->count < HELD_MAX; row++)
		rows->ids[rows->count++] = (uint64) outbox_store_result(row, 1);
	rows->next = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
											 OUTBOX_PARKED_ROWS_RETRY_MS);
	outbox_store_end();
	return OUTBOX_STORE_OK;
}

/* Tries again to note what could not be noted. */
OutboxStoreStatus
outbox_held_note_again(OutboxHeldKind kind, const char *relay, uint64 position)
{
	HeldRows *rows = &held[kind];

	if (rows->count == 0)
		return OUTBOX_STORE_OK;
	return outbox_held_note(kind, relay, rows->ids, rows->count, position);
}

/* An array of what could not be noted, as an argument of a query */
Datum
outbox_held_ids(OutboxHeldKind kind)
{
	return outbox_store_ids(held[kind].ids, held[kind].count);
}

/* How many more can be remembered */
int
outbox_held_room(OutboxHeldKind kind)
{
	return HELD_MAX - held[kind].count;
}

/* When to try again; DT_NOEND = there is nothing */
TimestampTz
outbox_held_next(OutboxHeldKind kind)
{
	return held[kind].count == 0 ? DT_NOEND : held[kind].next;
}
