/*-------------------------------------------------------------------------
 *
 * inbox.c
 *	  Messages that consumers have received, in two tables that are written in
 *	  turn. When one has been the current one for outbox.inbox_retention, the
 *	  other is emptied, and becomes it (inbox_turn.c). So each message is kept
 *	  for that long at least, twice as long at most, and space comes back as a
 *	  whole.
 *
 * A message is looked for in the other table, and written to the current one if
 * its primary key has it not, both under a lock of its own: an LWLock that it
 * shares with messages whose ids have the same hash. So it does not matter that
 * others may take another table for the current one, while that is changing: of
 * two that receive the same message, the second comes when the first has
 * written it, wherever that was, and finds it there. What somebody has written
 * whose transaction has not ended is waited for without that lock; then
 * everything begins anew. (SQL, as of a restore, has no such lock: against its
 * rows, in the current table, there is the primary key.)
 *
 * To be refused by the primary key leaves a dead row, so after a repetition the
 * current table is looked into, too: a replay leaves one, and what is known in
 * the other table leaves none.
 *
 * Under the lock we touch nothing but the two tables and their primary keys: so
 * nobody can wait for it in a circle, and no code of others runs there (theirs
 * are triggers, and expressions of indexes).
 *
 * The lock on the table that is written to is kept until the transaction ends:
 * so none is emptied that holds what is not decided. The one on the other is
 * not: what may be emptied there is older than anybody may rely on.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "shared/shmem.h"
#include "store/inbox.h"
#include "store/inbox_turn.h"
#include "store/statement.h"
#include "store/table_writer.h"
#include "store/transaction.h"

/* columns of both tables */
enum
{
	COLUMN_CONSUMER,
	COLUMN_MESSAGE_ID,
	COLUMN_RECEIVED_AT,
	COLUMNS
};

/* columns of their primary keys */
#define KEYS 2

/* One of the tables, open */
typedef struct InboxTable
{
	Relation rel;
	Relation index; /* its primary key */
} InboxTable;

/* What others have added to the table that is written to; estate is NULL if
 * they have not */
typedef struct Additions
{
	EState *estate;
	ResultRelInfo *info;
	bool has_triggers;
	TransitionCaptureState *capture;
} Additions;

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
	static const char *const names[] = {OUTBOX_INBOX_PREFIX "0",
										OUTBOX_INBOX_PREFIX "1"};
	Oid oid = outbox_store_relation(names[number]);
	Oid index;

	if (!OidIsValid(oid))
		outbox_table_writer_refuse(names[number]);
	table->rel = table_open(oid, lock);
	outbox_table_writer_check(table->rel, columns());
	index = outbox_primary_key_index(table->rel);
	if (!OidIsValid(index))
		outbox_table_writer_refuse(RelationGetRelationName(table->rel));
	table->index = index_open(index, lock);
	if (IndexRelationGetNumberOfKeyAttributes(table->index) != KEYS)
		outbox_table_writer_refuse(RelationGetRelationName(table->rel));
}

/* lock: the one that is given back, or NoLock */
static void
close_table(InboxTable *table, LOCKMODE lock)
{
	index_close(table->index, lock);
	table_close(table->rel, lock);
}

/* The value of one of the columns of the primary key */
static Datum
key_value(const InboxTable *table, int key, const Datum *values)
{
	return values[table->index->rd_index->indkey.values[key] - 1];
}

/*
 * Has the table this message? Then *writer is the transaction that has written
 * it, or removes it, and has not ended; invalid if that is decided, or our own.
 */
static bool
look(const InboxTable *table, const Datum *values, TransactionId *writer)
{
	static ScanKeyData keys[KEYS];
	TupleTableSlot *slot =
		MakeSingleTupleTableSlot(columns(), &TTSOpsBufferHeapTuple);
	SnapshotData dirty;
	IndexScanDesc scan;
	bool found;

	for (int i = 0; i < KEYS; i++)
	{
		if (keys[i].sk_attno == 0)
			ScanKeyEntryInitialize(&keys[i], 0, (AttrNumber) (i + 1),
								   BTEqualStrategyNumber, InvalidOid,
								   C_COLLATION_OID, F_TEXTEQ, (Datum) 0);
		keys[i].sk_argument = key_value(table, i, values);
	}
	InitDirtySnapshot(dirty);
	scan = outbox_index_beginscan(table->rel, table->index, &dirty, KEYS);
	index_rescan(scan, keys, KEYS, NULL, 0);
	found = index_getnext_slot(scan, ForwardScanDirection, slot);
	if (found)
		*writer = TransactionIdIsValid(dirty.xmin) ? dirty.xmin : dirty.xmax;
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	return found;
}

/*
 * Writes a row into the table and its primary key; false if that has such a row
 * already, decided or not. Ours is none then for anybody: not even for who
 * waits for our transaction. That is what a speculative insertion can do, here
 * without its lock: who comes across it looks again until it is completed.
 */
static bool
insert(const InboxTable *table, const Datum *values, TupleTableSlot *row)
{
	const uint32 token = 1;
	Datum keys[KEYS];
	bool nulls[KEYS] = {0};
	bool is_new;

	for (int i = 0; i < KEYS; i++)
		keys[i] = key_value(table, i, values);
	table_tuple_insert_speculative(table->rel, row, GetCurrentCommandId(true),
								   0, NULL, token);
	is_new = index_insert(table->index, keys, nulls, &row->tts_tid, table->rel,
						  UNIQUE_CHECK_PARTIAL, false, NULL);
	table_tuple_complete_speculative(table->rel, row, token, is_new);
	return is_new;
}

/* Writes the message, unless it is known; waits for who has not decided. */
static bool
add(const InboxTable *mine, int number_of_other, const Datum *values,
	TupleTableSlot *row)
{
	/* it was so the last time, and repetitions come together */
	static bool is_repeated = false;
	text *id = DatumGetTextPP(values[COLUMN_MESSAGE_ID]);
	LWLock *lock = outbox_shmem_inbox_lock(
		hash_bytes((unsigned char *) VARDATA_ANY(id), VARSIZE_ANY_EXHDR(id)));

	for (;;)
	{
		TransactionId writer = InvalidTransactionId;
		InboxTable other;
		bool known;

		open_table(&other, number_of_other, AccessShareLock);
		LWLockAcquire(lock, LW_EXCLUSIVE);
		known = (is_repeated && look(mine, values, &writer)) ||
				look(&other, values, &writer);
		is_repeated = known || !insert(mine, values, row);
		LWLockRelease(lock);
		close_table(&other, AccessShareLock);
		if (!is_repeated)
			return true;
		if (known && !TransactionIdIsValid(writer))
			return false;
		if (known)
			XactLockTableWait(writer, NULL, NULL, XLTW_None);
		CHECK_FOR_INTERRUPTS();
	}
}

/* Fires triggers of others that come first. */
static void
begin_additions(Additions *more, const InboxTable *mine, TupleTableSlot *row)
{
	List *indexes = RelationGetIndexList(mine->rel);

	memset(more, 0, sizeof(*more));
	more->has_triggers = outbox_table_writer_has_triggers(mine->rel);
	if (more->has_triggers || list_length(indexes) > 1)
	{
		more->estate = CreateExecutorState();
		more->info =
			outbox_table_writer_rel_info(mine->rel, more->has_triggers);
		if (more->has_triggers)
			more->capture = outbox_table_writer_fire_before(
				more->estate, more->info, &row, 1);
	}
	list_free(indexes);
}

/* Writes into indexes of others, and fires triggers that come last. */
static void
end_additions(Additions *more, const InboxTable *mine, TupleTableSlot *row,
			  bool is_new)
{
	ResultRelInfo *info = more->info;

	if (more->estate == NULL)
		return;
	/* the primary key has the row already */
	for (int i = 0; i < info->ri_NumIndices; i++)
	{
		if (RelationGetRelid(info->ri_IndexRelationDescs[i]) ==
			RelationGetRelid(mine->index))
			info->ri_IndexRelationInfo[i]->ii_ReadyForInserts = false;
	}
	if (is_new)
		outbox_insert_index_tuples(info, row, more->estate);
	if (more->has_triggers)
		outbox_table_writer_fire_after(more->estate, info, &row,
									   is_new ? 1 : 0, more->capture);
	ExecCloseIndices(info);
	outbox_table_writer_free(more->estate);
}

/*
 * Notes that the consumer has received the message, in the current transaction,
 * which has locked the gate. False if it had before.
 */
bool
outbox_inbox_add(OutboxDatabase *db, text *consumer, text *message_id)
{
	int current = outbox_inbox_current(db);
	TupleTableSlot *row =
		MakeSingleTupleTableSlot(columns(), &TTSOpsHeapTuple);
	Datum values[COLUMNS] = {[COLUMN_CONSUMER] = PointerGetDatum(consumer),
							 [COLUMN_MESSAGE_ID] = PointerGetDatum(message_id),
							 [COLUMN_RECEIVED_AT] =
								 TimestampTzGetDatum(GetCurrentTimestamp())};
	bool nulls[COLUMNS] = {0};
	Additions more;
	InboxTable mine;
	bool is_new;

	open_table(&mine, current, RowExclusiveLock);
	ExecStoreHeapTuple(heap_form_tuple(columns(), values, nulls), row, true);
	row->tts_tableOid = RelationGetRelid(mine.rel);
	begin_additions(&more, &mine, row);
	is_new = add(&mine, 1 - current, values, row);
	end_additions(&more, &mine, row, is_new);
	close_table(&mine, NoLock);
	ExecDropSingleTupleTableSlot(row);
	return is_new;
}

/* The consumer is as if it had not received the message. In the current
 * transaction, by a user who may, with SPI connected. */
void
outbox_inbox_remove(const char *consumer, text *message_id)
{
	static OutboxStatement statement = {
		.sql = "WITH other AS (DELETE FROM outbox.inbox_0"
			   "  WHERE consumer = $1 AND message_id = $2)"
			   " DELETE FROM outbox.inbox_1"
			   " WHERE consumer = $1 AND message_id = $2",
		.nargs = 2,
		.types = {TEXTOID, TEXTOID}};
	Datum values[] = {CStringGetTextDatum(consumer),
					  PointerGetDatum(message_id)};

	(void) outbox_store_execute(&statement, values, NULL);
}
