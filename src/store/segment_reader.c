/*-------------------------------------------------------------------------
 *
 * segment_reader.c
 *	  Reads events for the stream, a page at a time: straight from the
 *	  segments' tables by their primary keys, merged in the order of ids.
 *
 * Only those segments are looked at that are not drained. A segment is
 * drained when all its events are published or parked, and nobody can write
 * to it any more. retention.c finds that out, and tells when a segment comes to
 * be written to again; only the relay's process knows, and begins with none
 * drained. It begins anew when the current segment became unknown (load_guard.c),
 * and so may be another one now: the count of that is read after the horizon,
 * so it has grown if such a segment has an event below the horizon.
 *
 * So what an event takes to be read does not depend on how many published ones
 * are kept, and whoever locks a drained segment, for a VACUUM FULL say, is not
 * in the way.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "event.h"
#include "shared/segment.h"
#include "shared/shmem.h"
#include "store/segment_reader.h"
#include "store/table_writer.h"

/* One segment's part of a page */
typedef struct SegmentScan
{
	Relation rel;
	Relation index;
	SysScanDesc scan;
	HeapTuple tuple; /* NULL = no more; valid until the next */
	int64 id;        /* of the tuple */
} SegmentScan;

typedef struct EventPage
{
	int count;
	SegmentScan scans[OUTBOX_SEGMENTS];
	MemoryContext event_context;
} EventPage;

static bool drained[OUTBOX_SEGMENTS];
static uint32 restores_seen;

bool
outbox_segment_is_drained(int segment)
{
	return drained[segment];
}

/* Whether a segment needs to be looked at, as told above */
void
outbox_segment_set_drained(int segment, bool is_drained)
{
	drained[segment] = is_drained;
}

/* Forgets what is drained, if it may not be true any more. */
static void
check_drained(void)
{
	uint32 restores =
		pg_atomic_read_u32(&outbox_shmem_my_database()->restores);

	if (restores != restores_seen)
		memset(drained, 0, sizeof(drained));
	restores_seen = restores;
}

/* Goes on to the next event of a segment. */
static void
advance(SegmentScan *scan)
{
	bool is_null;

	scan->tuple = systable_getnext_ordered(scan->scan, ForwardScanDirection);
	if (scan->tuple != NULL)
		scan->id =
			DatumGetInt64(fastgetattr(scan->tuple, OUTBOX_EVENT_ID + 1,
									  RelationGetDescr(scan->rel), &is_null));
}

/* Begins to scan a segment, if it is free at once. */
static OutboxStoreStatus
open_scan(EventPage *page, int segment, uint64 position, uint64 horizon)
{
	SegmentScan *scan = &page->scans[page->count];
	ScanKeyData keys[2];

	if (!outbox_segment_open(segment, &scan->rel, &scan->index))
		return OidIsValid(
				   outbox_segment_relation(OUTBOX_SEGMENT_PREFIX, segment))
				   ? OUTBOX_STORE_BUSY
				   : OUTBOX_STORE_ABSENT;
	page->count++;
	outbox_table_writer_check(scan->rel,
							  outbox_event_tupdesc(OUTBOX_EVENT_COLUMNS));

	ScanKeyInit(&keys[0], OUTBOX_EVENT_ID + 1, BTGreaterStrategyNumber,
				F_INT8GT, Int64GetDatum((int64) position));
	ScanKeyInit(&keys[1], OUTBOX_EVENT_ID + 1, BTLessStrategyNumber, F_INT8LT,
				Int64GetDatum((int64) horizon));
	scan->scan = systable_beginscan_ordered(
		scan->rel, scan->index, GetActiveSnapshot(), lengthof(keys), keys);
	advance(scan);
	return OUTBOX_STORE_OK;
}

static void
close_scans(EventPage *page)
{
	for (int i = 0; i < page->count; i++)
	{
		systable_endscan_ordered(page->scans[i].scan);
		outbox_segment_close(page->scans[i].rel, page->scans[i].index);
	}
}

/* The segment that has the next event; NULL if there is no more. */
static SegmentScan *
next_scan(EventPage *page)
{
	SegmentScan *next = NULL;

	for (int i = 0; i < page->count; i++)
	{
		SegmentScan *scan = &page->scans[i];

		if (scan->tuple != NULL && (next == NULL || scan->id < next->id))
			next = scan;
	}
	return next;
}

/* Gives an event to the consumer; false if it does not take it. */
static bool
give(EventPage *page, const SegmentScan *scan, OutboxEventConsumer consumer,
	 OutboxIdConsumer pass, void *arg)
{
	MemoryContext old_context;
	Datum values[OUTBOX_EVENT_COLUMNS];
	bool nulls[OUTBOX_EVENT_COLUMNS];
	OutboxEvent event;
	bool taken;

	outbox_event_in_hand = (uint64) scan->id;
	if (pass != NULL && pass((uint64) scan->id, arg))
		return true;
	old_context = MemoryContextSwitchTo(page->event_context);
	heap_deform_tuple(scan->tuple, RelationGetDescr(scan->rel), values, nulls);
	outbox_store_fill_event(&event, values, nulls);
	taken = consumer(&event, arg);
	MemoryContextSwitchTo(old_context);
	MemoryContextReset(page->event_context);
	return taken;
}

/*
 * Gives the events with position < id < horizon, in order and at most limit
 * of them, to the consumer; but those that pass, unless it is NULL, takes by
 * their id are not looked at: one may be unreadable. rows becomes how many it
 * has taken. In the current transaction, before which the horizon must have
 * been read, and the WAL flushed.
 */
OutboxStoreStatus
outbox_segment_read(uint64 position, uint64 horizon, int limit,
					OutboxEventConsumer consumer, OutboxIdConsumer pass,
					void *arg, uint64 *rows)
{
	OutboxStoreStatus status = OUTBOX_STORE_OK;
	EventPage page = {0};
	SegmentScan *scan;

	*rows = 0;
	check_drained();
	for (int i = 0; status == OUTBOX_STORE_OK && i < OUTBOX_SEGMENTS; i++)
	{
		if (!drained[i])
			status = open_scan(&page, i, position, horizon);
	}
	if (status == OUTBOX_STORE_OK)
	{
		page.event_context = AllocSetContextCreate(
			CurrentMemoryContext, "outbox event", ALLOCSET_DEFAULT_SIZES);

		/* a request to end waits for the page, so that what the consumer has
		 * taken is not forgotten; there is no lock to wait for any more */
		HOLD_INTERRUPTS();
		while (*rows < (uint64) limit && (scan = next_scan(&page)) != NULL &&
			   give(&page, scan, consumer, pass, arg))
		{
			/* the row behind the last one is not looked at: see guard.c */
			if (++*rows < (uint64) limit)
				advance(scan);
		}
		RESUME_INTERRUPTS();
	}
	close_scans(&page);
	return status;
}
