/*-------------------------------------------------------------------------
 *
 * segment_emptier.c
 *	  Empties a segment, together with the positions that were written while
 *	  it was the current one (position.c). All is done in the current
 *	  transaction; retention.c knows when.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "shared/my_relay.h"
#include "store/segment_emptier.h"

/* Locks what TRUNCATE will lock, if it is free at once. position_table becomes
 * the table of the positions. */
OutboxStoreStatus
outbox_segment_emptier_lock(int segment, Oid *position_table)
{
	Oid event_table = outbox_segment_relation(OUTBOX_SEGMENT_PREFIX, segment);

	*position_table = outbox_segment_relation(OUTBOX_POSITION_PREFIX, segment);
	if (!OidIsValid(event_table) || !OidIsValid(*position_table))
		return OUTBOX_STORE_ABSENT;
	if (!outbox_store_lock_whole(event_table) ||
		!outbox_store_lock_whole(*position_table))
		return OUTBOX_STORE_BUSY;
	/* who creates a relay has kept us waiting: it may want these events */
	if (outbox_my_relay_has_changed())
		return OUTBOX_STORE_BUSY;
	return OUTBOX_STORE_OK;
}

/*
 * Empties a segment that has been locked so, and forgets which of its events
 * have been discarded. Both or none of its tables; other segments may hold
 * lower ids still. Summaries of an empty table would make the first events
 * expensive: see the script.
 */
OutboxStoreStatus
outbox_segment_emptier_run(int segment, const OutboxSegmentBounds *bounds)
{
	OutboxStoreStatus status =
		outbox_store_lock(OUTBOX_DISCARDED_TABLE, RowExclusiveLock);

	if (status != OUTBOX_STORE_OK)
		return status;
	if (!outbox_store_try(psprintf(
			"TRUNCATE ONLY outbox.%s%d, outbox.%s%d;"
			" SELECT brin_desummarize_range(i.indexrelid, 0)"
			" FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
			" JOIN pg_am a ON a.oid = c.relam"
			" WHERE i.indrelid = %u AND a.amname = 'brin';"
			" DELETE FROM outbox.discarded"
			" WHERE id BETWEEN " UINT64_FORMAT " AND " UINT64_FORMAT,
			OUTBOX_SEGMENT_PREFIX, segment, OUTBOX_POSITION_PREFIX, segment,
			outbox_segment_relation(OUTBOX_SEGMENT_PREFIX, segment),
			bounds->first_id, bounds->last_id)))
		return OUTBOX_STORE_BUSY;
	return OUTBOX_STORE_OK;
}
