/*-------------------------------------------------------------------------
 *
 * segment_reader.c
 *	  Reads events for the stream, a page at a time: by one statement over
 *	  the segments, by their primary keys, merged in the order of ids.
 *
 * Only those segments are looked at that are not drained. A segment is
 * drained when all its events are published or parked, and nobody can write
 * to it any more. retention.c finds that out; only the relay's process knows,
 * and begins with none drained. A segment is not drained any more when it
 * comes to be written to again, whichever relay has switched to it, and none
 * is when the current segment became unknown (load_guard.c), and so may be
 * another one now. The counts of both are read after the horizon, so they have
 * grown if such a segment has an event below the horizon.
 *
 * So what an event takes to be read does not depend on how many published ones
 * are kept, and whoever locks a drained segment, for a VACUUM FULL say, is not
 * in the way. The statement names the segments, and is made anew when they are
 * others, or when their tables have been changed. What it can be planned to is
 * settled in session.c: nothing but index scans.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "storage/lmgr.h"
#include "utils/rel.h"

#include "event.h"
#include "shared/segment.h"
#include "shared/shmem.h"
#include "store/event_receiver.h"
#include "store/segment_reader.h"
#include "store/table_writer.h"

/* Reads the segments that it has been prepared for, one bit each */
static OutboxStatement statement = {
	.read_only = true, .nargs = 2, .types = {INT8OID, INT8OID}};
static uint32 prepared_for = 0; /* 0 = it is to be prepared anew */

static bool drained[OUTBOX_SEGMENTS];
static uint32 opened_seen[OUTBOX_SEGMENTS];
static uint32 restores_seen;

/* Forgets what is drained, if it may not be true any more. */
static void
check_drained(void)
{
	OutboxDatabase *db = outbox_shmem_my_database();
	uint32 restores = pg_atomic_read_u32(&db->restores);

	if (restores != restores_seen)
		memset(drained, 0, sizeof(drained));
	restores_seen = restores;
	for (int i = 0; i < OUTBOX_SEGMENTS; i++)
	{
		uint32 opened = pg_atomic_read_u32(&db->segment_opened[i]);

		if (opened != opened_seen[i])
			drained[i] = false;
		opened_seen[i] = opened;
	}
}

/* Does a segment need no look, as told above? */
bool
outbox_segment_is_drained(int segment)
{
	check_drained();
	return drained[segment];
}

/*
 * A segment is drained. What the caller has found that out by, he has read
 * after he was told that it was not; if it has come to be written to again
 * since, the next look at the counts tells.
 */
void
outbox_segment_set_drained(int segment)
{
	drained[segment] = true;
}

/* The segments to be read, one bit each */
static uint32
segments_to_read(void)
{
	uint32 segments = 0;

	check_drained();
	for (int i = 0; i < OUTBOX_SEGMENTS; i++)
	{
		if (!drained[i])
			segments |= UINT32_C(1) << i;
	}
	return segments;
}

static bool
has(uint32 segments, int segment)
{
	return (segments & (UINT32_C(1) << segment)) != 0;
}

/* Locks a segment with its primary key, if both are free at once. */
static OutboxStoreStatus
lock_segment(int segment)
{
	Relation rel;
	Relation index;

	if (!outbox_segment_open(segment, &rel, &index))
		return OidIsValid(
				   outbox_segment_relation(OUTBOX_SEGMENT_PREFIX, segment))
				   ? OUTBOX_STORE_BUSY
				   : OUTBOX_STORE_ABSENT;
	index_close(index, NoLock);
	table_close(rel, NoLock);
	return OUTBOX_STORE_OK;
}

/*
 * Makes a segment that is locked ready for the planner, which looks at all of
 * a table's indexes: locks them, too, if they are free at once. Raises 55000
 * if the segment has other columns than we read.
 */
static OutboxStoreStatus
check_segment(int segment)
{
	Relation rel = table_open(
		outbox_segment_relation(OUTBOX_SEGMENT_PREFIX, segment), NoLock);
	OutboxStoreStatus status = OUTBOX_STORE_OK;
	List *indexes;
	ListCell *cell;

	outbox_table_writer_check(rel, outbox_event_tupdesc(OUTBOX_EVENT_COLUMNS));
	indexes = RelationGetIndexList(rel);
	foreach (cell, indexes)
	{
		if (!ConditionalLockRelationOid(lfirst_oid(cell), AccessShareLock))
			status = OUTBOX_STORE_BUSY;
	}
	list_free(indexes);
	table_close(rel, NoLock);
	return status;
}

/*
 * The statement for these segments. All columns, in their order: so a row is
 * given on as it is in the table. The condition is outside of the union, else
 * the planner takes each segment for a query of its own, and sorts.
 */
static const char *
query(uint32 segments)
{
	static char sql[OUTBOX_SEGMENTS * 64];
	size_t len = snprintf(sql, sizeof(sql), "SELECT * FROM (");
	const char *separator = "";

	for (int i = 0; i < OUTBOX_SEGMENTS; i++)
	{
		if (!has(segments, i))
			continue;
		len += snprintf(sql + len, sizeof(sql) - len,
						"%sSELECT * FROM ONLY " OUTBOX_SCHEMA
						"." OUTBOX_SEGMENT_PREFIX "%d",
						separator, i);
		separator = " UNION ALL ";
	}
	snprintf(sql + len, sizeof(sql) - len,
			 ") e WHERE id > $1 AND id < $2 ORDER BY id");
	return sql;
}

/* Is the statement prepared for these segments, and nothing has changed? */
static bool
is_prepared(uint32 segments)
{
	return prepared_for == segments && statement.plan != NULL &&
		   SPI_plan_is_valid(statement.plan);
}

/* Begins to prepare the statement for these segments, which are locked. */
static OutboxStoreStatus
prepare(uint32 segments)
{
	OutboxStoreStatus status = OUTBOX_STORE_OK;

	if (statement.plan != NULL)
		SPI_freeplan(statement.plan);
	statement.plan = NULL;
	prepared_for = 0;
	for (int i = 0; status == OUTBOX_STORE_OK && i < OUTBOX_SEGMENTS; i++)
	{
		if (has(segments, i))
			status = check_segment(i);
	}
	statement.sql = query(segments);
	return status;
}

/*
 * Locks the segments to be read, and sees that the statement is prepared for
 * them. Nothing is waited for then when it is run: all locks are there that it
 * takes, or its planner. So the plan is looked at only after the last lock,
 * with which we are told what others have changed.
 */
static OutboxStoreStatus
lock_and_prepare(uint32 segments)
{
	OutboxStoreStatus status = OUTBOX_STORE_OK;

	for (int i = 0; status == OUTBOX_STORE_OK && i < OUTBOX_SEGMENTS; i++)
	{
		if (has(segments, i))
			status = lock_segment(i);
	}
	if (status == OUTBOX_STORE_OK && !is_prepared(segments))
		status = prepare(segments);
	return status;
}

/*
 * Gives the events with position < id < horizon, in order and at most limit
 * of them, to the reader. Those that it takes by their id are not looked at:
 * one may be unreadable. rows becomes how many it has taken. In the current
 * transaction, before which the horizon must have been read, and the WAL
 * flushed.
 */
OutboxStoreStatus
outbox_segment_read(uint64 position, uint64 horizon, int limit,
					const OutboxPageReader *reader, uint64 *rows)
{
	Datum values[] = {Int64GetDatum((int64) position),
					  Int64GetDatum((int64) horizon)};
	uint32 segments = segments_to_read();
	OutboxStoreStatus status;

	*rows = 0;
	if (segments == 0)
		return OUTBOX_STORE_OK;
	status = lock_and_prepare(segments);
	if (status != OUTBOX_STORE_OK)
		return status;
	*rows = outbox_store_stream_page(&statement, values, limit, reader);
	prepared_for = segments;
	return OUTBOX_STORE_OK;
}
