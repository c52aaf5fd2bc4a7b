/*-------------------------------------------------------------------------
 *
 * event_ids.c
 *	  Takes ids of events from the sequence, many at once.
 *
 * nextval() takes one, or as many as the sequence's CACHE says, which it keeps
 * for the session: ids of ours would not follow the order of commits any more.
 * So this does what nextval() does in such a case, for as many as a
 * transaction needs: to take them one by one costs each event of a large
 * transaction a seventh of all that it costs.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "access/xloginsert.h"
#include "catalog/pg_sequence.h"
#include "commands/sequence.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "compat.h"
#include "store/event_ids.h"

/* so many ids are logged before they are taken, as nextval() does: a crash
 * skips what is left of them */
#define AHEAD 32

/* Does the sequence count as ours does? The last id that it may give */
static bool
is_plain(Oid sequence, int64 *last)
{
	HeapTuple tuple = SearchSysCache1(SEQRELID, ObjectIdGetDatum(sequence));
	bool plain = false;

	if (HeapTupleIsValid(tuple))
	{
		Form_pg_sequence form = (Form_pg_sequence) GETSTRUCT(tuple);

		plain = form->seqincrement == 1 && !form->seqcycle;
		*last = form->seqmax;
		ReleaseSysCache(tuple);
	}
	return plain;
}

/* Advances the sequence, whose page is locked, and logs that if need be. The
 * log has it as it is after AHEAD more. */
static void
advance(Relation rel, Buffer buffer, HeapTuple tuple, int64 count)
{
	Form_pg_sequence_data data = (Form_pg_sequence_data) GETSTRUCT(tuple);
	Page page = BufferGetPage(buffer);
	int64 last = data->last_value + count - (data->is_called ? 0 : 1);
	int64 ahead = data->is_called ? data->log_cnt - count : -1;

	START_CRIT_SECTION();
	MarkBufferDirty(buffer);
	/* nothing of before a checkpoint helps who begins there */
	if (ahead < 0 || PageGetLSN(page) <= GetRedoRecPtr())
	{
		ahead = AHEAD;
		data->last_value = last + ahead;
		data->is_called = true;
		data->log_cnt = 0;
		if (RelationNeedsWAL(rel))
			PageSetLSN(page, outbox_log_sequence(rel, buffer, tuple));
		else
			ahead = 0; /* the commit writes the page as it is then */
	}
	data->last_value = last;
	data->log_cnt = ahead;
	END_CRIT_SECTION();
}

/* The first one of so many ids; 0 if nextval() has to look after that */
static int64
take_many(Oid sequence, int64 count)
{
	Relation rel;
	Buffer buffer;
	Page page;
	ItemId item;
	HeapTupleData tuple;
	Form_pg_sequence_data data;
	int64 next;
	int64 last;
	int64 first = 0;

	if (!is_plain(sequence, &last))
		return 0;
	rel = relation_open(sequence, NoLock);
	/* whose commit is to wait for the log */
	if (RelationNeedsWAL(rel))
		(void) GetTopTransactionId();
	buffer = ReadBuffer(rel, 0);
	LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
	page = BufferGetPage(buffer);
	item = PageGetItemId(page, FirstOffsetNumber);
	tuple.t_data = (HeapTupleHeader) PageGetItem(page, item);
	tuple.t_len = ItemIdGetLength(item);
	data = (Form_pg_sequence_data) GETSTRUCT(&tuple);
	next = data->last_value + (data->is_called ? 1 : 0);
	if (next <= last - count - AHEAD)
	{
		first = next;
		advance(rel, buffer, &tuple, count);
	}
	UnlockReleaseBuffer(buffer);
	relation_close(rel, NoLock);
	return first;
}

/*
 * Takes ids from the sequence, which the caller has locked: so many in a row,
 * or fewer, which count tells then. Returns the first of them. Raises what
 * nextval() raises.
 */
int64
outbox_event_ids_take(Oid sequence, int64 *count)
{
	/* with wal_level = minimal, nextval() believes ids of a new sequence to be
	 * logged that are not: a crash sets it back */
	int64 first =
		*count > 1 || !XLogIsNeeded() ? take_many(sequence, *count) : 0;

	if (first != 0)
		return first;
	*count = 1;
	return nextval_internal(sequence, false);
}
