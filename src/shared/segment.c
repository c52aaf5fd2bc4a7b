/*-------------------------------------------------------------------------
 *
 * segment.c
 *	  The ring of tables that hold the events, and which of them is written
 *	  to: the current one.
 *
 * Nothing is stored about it. Shared memory has the number; after a restart
 * it is the segment with the highest id. If the server ended just after it
 * had been switched, that is the one before: no harm, it is switched again.
 *
 * The number stands in the lowest byte of a word, plus one. Above it is how
 * often it has been switched: who switches gives the word that he has seen
 * before he looked at the segments, and does nothing if it is another one now.
 * So it does not matter how many relays do that, or how late.
 *
 * A writer locks the segment that it has read from there, and looks again: if
 * it is still the current one, it cannot be emptied before the writer has
 * ended, because that needs the lock for itself alone (retention.c).
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "fmgr.h"
#include "funcapi.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "event.h"
#include "shared/segment.h"

PG_FUNCTION_INFO_V1(outbox_segment_status);

#define STATUS_COLUMNS 6

/* the part of current_segment that is a number, plus one */
#define TURN_NUMBER    ((uint32) 0xff)

/* A segment's table by its number, without asking for any privilege */
Oid
outbox_segment_relation(const char *prefix, int segment)
{
	Oid schema = get_namespace_oid(OUTBOX_SCHEMA, true);
	char name[NAMEDATALEN];

	if (!OidIsValid(schema))
		return InvalidOid;
	snprintf(name, sizeof(name), "%s%d", prefix, segment);
	return get_relname_relid(name, schema);
}

/* The id and the time of the first or the last row; false if there is none */
static bool
inspect_end(Relation rel, Relation index, Snapshot snapshot,
			ScanDirection direction, uint64 *id, TimestampTz *emitted_at)
{
	SysScanDesc scan =
		systable_beginscan_ordered(rel, index, snapshot, 0, NULL);
	HeapTuple tuple = systable_getnext_ordered(scan, direction);
	TupleDesc tupdesc = RelationGetDescr(rel);
	bool is_null;

	if (HeapTupleIsValid(tuple))
	{
		*id = (uint64) DatumGetInt64(
			heap_getattr(tuple, OUTBOX_EVENT_ID + 1, tupdesc, &is_null));
		*emitted_at = DatumGetTimestampTz(heap_getattr(
			tuple, OUTBOX_EVENT_EMITTED_AT + 1, tupdesc, &is_null));
	}
	systable_endscan_ordered(scan);
	return HeapTupleIsValid(tuple);
}

/*
 * Opens a segment's table and the index of its ids. False if it is not there,
 * or somebody has locked one of them: this function does not wait.
 */
bool
outbox_segment_open(int segment, Relation *rel, Relation *index)
{
	Oid oid = outbox_segment_relation(OUTBOX_SEGMENT_PREFIX, segment);
	Oid index_oid;

	if (!OidIsValid(oid) || !ConditionalLockRelationOid(oid, AccessShareLock))
		return false;
	/* nothing else has a primary key: another version may have views here */
	if (get_rel_relkind(oid) != RELKIND_RELATION)
	{
		UnlockRelationOid(oid, AccessShareLock);
		return false;
	}
	*rel = table_open(oid, NoLock);
	/* REINDEX locks it alone */
	index_oid = outbox_primary_key_index(*rel);
	if (!OidIsValid(index_oid) ||
		!ConditionalLockRelationOid(index_oid, AccessShareLock))
	{
		table_close(*rel, AccessShareLock);
		return false;
	}
	*index = index_open(index_oid, NoLock);
	return true;
}

/*
 * Is nobody writing to a segment any more? It must not be the current one, so
 * that nobody begins to. False also if somebody has locked it.
 */
bool
outbox_segment_is_quiet(int segment)
{
	Oid oid = outbox_segment_relation(OUTBOX_SEGMENT_PREFIX, segment);

	if (!OidIsValid(oid) || !ConditionalLockRelationOid(oid, ShareLock))
		return false;
	UnlockRelationOid(oid, ShareLock);
	return true;
}

/*
 * What a segment holds, as a new snapshot sees it. False if it cannot be
 * opened at once.
 */
bool
outbox_segment_bounds(int segment, OutboxSegmentBounds *bounds)
{
	Snapshot snapshot;
	Relation rel;
	Relation index;

	memset(bounds, 0, sizeof(*bounds));
	if (!outbox_segment_open(segment, &rel, &index))
		return false;
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	if (inspect_end(rel, index, snapshot, ForwardScanDirection,
					&bounds->first_id, &bounds->first_at))
		(void) inspect_end(rel, index, snapshot, BackwardScanDirection,
						   &bounds->last_id, &bounds->last_at);
	UnregisterSnapshot(snapshot);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
	return true;
}

/* The number in a word of shared memory, which knows it */
static int
number_in(uint32 turn)
{
	return (int) (turn & TURN_NUMBER) - 1;
}

/* The number of the current segment. Needs a transaction the first time. */
int
outbox_segment_current(OutboxDatabase *db)
{
	uint32 current = pg_atomic_read_u32(&db->current_segment);
	OutboxSegmentBounds bounds;
	uint64 last_id = 0;
	uint32 found = 1;

	if (current != 0)
		return number_in(current);

	/* any will do, so one that is locked is passed over */
	for (int i = 0; i < OUTBOX_SEGMENTS; i++)
	{
		if (outbox_segment_bounds(i, &bounds) && bounds.last_id > last_id)
		{
			last_id = bounds.last_id;
			found = (uint32) i + 1;
		}
	}
	/* unless somebody else has been quicker */
	if (pg_atomic_compare_exchange_u32(&db->current_segment, &current, found))
		current = found;
	return number_in(current);
}

/* What outbox_segment_switch() is to be given; 0 = nothing is known. To be
 * read before the segments are looked at. */
uint32
outbox_segment_turn(OutboxDatabase *db)
{
	uint32 turn = pg_atomic_read_u32(&db->current_segment);

	pg_read_barrier();
	return turn;
}

/*
 * Locks the current segment for writing, until the end of the transaction.
 * InvalidOid if there is none.
 */
Oid
outbox_segment_lock_current(OutboxDatabase *db)
{
	for (;;)
	{
		int segment = outbox_segment_current(db);
		Oid oid = outbox_segment_relation(OUTBOX_SEGMENT_PREFIX, segment);

		if (!OidIsValid(oid))
			return InvalidOid;
		LockRelationOid(oid, RowExclusiveLock);
		if (outbox_segment_current(db) == segment)
			return oid;
		UnlockRelationOid(oid, RowExclusiveLock);
	}
}

/*
 * From now on new transactions write to this segment, which was empty when the
 * current one was that of the turn. Does nothing if it has changed since.
 */
void
outbox_segment_switch(OutboxDatabase *db, uint32 turn, int segment)
{
	uint32 next = (turn & ~TURN_NUMBER) + TURN_NUMBER + 1;

	if (turn == 0)
		return;
	/* who sees an event there sees this, too: segment_reader.c */
	pg_atomic_fetch_add_u32(&db->segment_opened[segment], 1);
	(void) pg_atomic_compare_exchange_u32(&db->current_segment, &turn,
										  next | ((uint32) segment + 1));
}

/* outbox.segment_status(): what each segment holds. */
Datum
outbox_segment_status(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	int current;

	outbox_shmem_require();
	current = outbox_segment_current(outbox_shmem_my_database());
	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < OUTBOX_SEGMENTS; i++)
	{
		OutboxSegmentBounds bounds;
		Datum values[STATUS_COLUMNS];
		bool nulls[STATUS_COLUMNS] = {0};

		/* one that is locked is shown as if it was empty */
		(void) outbox_segment_bounds(i, &bounds);
		values[0] = Int32GetDatum(i);
		values[1] = BoolGetDatum(i == current);
		values[2] = Int64GetDatum((int64) bounds.first_id);
		values[3] = TimestampTzGetDatum(bounds.first_at);
		values[4] = Int64GetDatum((int64) bounds.last_id);
		values[5] = TimestampTzGetDatum(bounds.last_at);
		for (int column = 2; column < STATUS_COLUMNS; column++)
			nulls[column] = (bounds.last_id == 0);
		tuplestore_putvalues(result->setResult, result->setDesc, values,
							 nulls);
	}
	return (Datum) 0;
}
