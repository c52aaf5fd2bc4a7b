/*-------------------------------------------------------------------------
 *
 * inbox.c
 *	  Messages that consumers have received, in two tables that are written in
 *	  turn. When one has been the current one for outbox.inbox_retention, the
 *	  other is emptied, and becomes it (inbox_turn.c). So each message is kept
 *	  for that long at least, twice as long at most, and space comes back as a
 *	  whole.
 *
 * A message is first written into the current table, whose primary key lets one
 * of several transactions do so, and makes the others wait for its fate. Only
 * then is it looked for in the other table, likewise waiting for whoever has
 * written it there. In this order, because others may take another table for
 * the current one, while that is changing: of two transactions that write the
 * same message to different tables, the one that looks last finds the other. If
 * both do, that is a deadlock, and one of them is told so.
 *
 * The lock on the table that is written to is kept until the transaction ends:
 * so none is emptied that holds what is not decided. The one on the other is
 * not: what may be emptied there is older than anybody may rely on.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "shared/segment.h"
#include "store/inbox.h"
#include "store/inbox_turn.h"
#include "store/table_writer.h"

/* columns of both tables */
enum
{
	COLUMN_CONSUMER,
	COLUMN_MESSAGE_ID,
	COLUMN_RECEIVED_AT,
	COLUMNS
};

/* One of the tables, open */
typedef struct InboxTable
{
	Relation rel;
	ResultRelInfo *info;
	bool has_triggers; /* of others, to be fired */
} InboxTable;

static TupleDesc
columns(void)
{
	static TupleDesc desc = NULL;

	if (desc == NULL)
	{
		MemoryContext old_context = MemoryContextSwitchTo(TopMemoryContext);
		TupleDesc new_desc = CreateTemplateTupleDesc(COLUMNS);

		TupleDescInitEntry(new_desc, COLUMN_CONSUMER + 1, "consumer", TEXTOID,
						   -1, 0);
		TupleDescInitEntry(new_desc, COLUMN_MESSAGE_ID + 1, "message_id",
						   TEXTOID, -1, 0);
		TupleDescInitEntry(new_desc, COLUMN_RECEIVED_AT + 1, "received_at",
						   TIMESTAMPTZOID, -1, 0);
		desc = new_desc;
		MemoryContextSwitchTo(old_context);
	}
	return desc;
}

static void
open_table(InboxTable *table, int number, LOCKMODE lock)
{
	Oid oid = outbox_segment_relation(OUTBOX_INBOX_PREFIX, number);

	if (!OidIsValid(oid))
		outbox_table_writer_refuse(
			psprintf("%s%d", OUTBOX_INBOX_PREFIX, number));
	table->rel = table_open(oid, lock);
	outbox_table_writer_check(table->rel, columns());
	table->has_triggers = outbox_table_writer_has_triggers(table->rel);
	table->info =
		outbox_table_writer_rel_info(table->rel, table->has_triggers, true);
}

/* lock: the one that is given back, or NoLock */
static void
close_table(InboxTable *table, LOCKMODE lock)
{
	ExecCloseIndices(table->info);
	table_close(table->rel, lock);
}

/*
 * Writes a row, as INSERT .. ON CONFLICT DO NOTHING does; false if there is one
 * already. Waits for transactions that have written it and not ended.
 */
static bool
insert(InboxTable *table, TupleTableSlot *slot, EState *estate)
{
	for (;;)
	{
		TransactionId xid = GetCurrentTransactionId();
		bool conflict = false;
		uint32 token;

		if (!outbox_index_allows(table->info, slot, estate))
			return false;
		token = SpeculativeInsertionLockAcquire(xid);
		table_tuple_insert_speculative(
			table->rel, slot, GetCurrentCommandId(true), 0, NULL, token);
		outbox_insert_index_tuples_speculative(table->info, slot, estate,
											   &conflict);
		table_tuple_complete_speculative(table->rel, slot, token, !conflict);
		SpeculativeInsertionLockRelease(xid);
		if (!conflict)
			return true;
		/* somebody else was quicker, just now: waits for him */
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * Notes that the consumer has received the message, in the current transaction,
 * which has locked the gate. False if it had before.
 */
bool
outbox_inbox_add(OutboxDatabase *db, text *consumer, text *message_id)
{
	int current = outbox_inbox_current(db);
	EState *estate = CreateExecutorState();
	TupleTableSlot *slot =
		MakeSingleTupleTableSlot(columns(), &TTSOpsHeapTuple);
	Datum values[COLUMNS] = {[COLUMN_CONSUMER] = PointerGetDatum(consumer),
							 [COLUMN_MESSAGE_ID] = PointerGetDatum(message_id),
							 [COLUMN_RECEIVED_AT] =
								 TimestampTzGetDatum(GetCurrentTimestamp())};
	bool nulls[COLUMNS] = {0};
	TransitionCaptureState *capture = NULL;
	InboxTable mine;
	InboxTable other;
	bool is_new;

	open_table(&mine, current, RowExclusiveLock);
	ExecStoreHeapTuple(heap_form_tuple(columns(), values, nulls), slot, true);
	slot->tts_tableOid = RelationGetRelid(mine.rel);
	if (mine.has_triggers)
		capture = outbox_table_writer_fire_before(estate, mine.info, &slot, 1);
	is_new = insert(&mine, slot, estate);
	if (is_new)
	{
		open_table(&other, 1 - current, AccessShareLock);
		is_new = outbox_index_allows(other.info, slot, estate);
		close_table(&other, AccessShareLock);
		if (!is_new)
		{
			/* by which our own row can be seen */
			CommandCounterIncrement();
			simple_heap_delete(mine.rel, &slot->tts_tid);
		}
	}
	if (mine.has_triggers)
		outbox_table_writer_fire_after(estate, mine.info, &slot,
									   is_new ? 1 : 0, capture);
	close_table(&mine, NoLock);
	ExecDropSingleTupleTableSlot(slot);
	outbox_table_writer_free(estate);
	return is_new;
}
