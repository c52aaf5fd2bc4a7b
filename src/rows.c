/*-------------------------------------------------------------------------
 *
 * rows.c
 *	  Writes rows into one of our tables, straight through the table access
 *	  method and many at once, as COPY does: no SQL, no triggers, no
 *	  privileges.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "compat.h"
#include "rows.h"
#include "utils/rel.h"

/* rows given to the table at once */
#define BATCH_ROWS  1000
#define BATCH_BYTES 65536

struct OutboxRowWriter
{
	Relation rel;
	EState *estate;
	ResultRelInfo *rel_info;
	TupleTableSlot *slots[BATCH_ROWS];
	int slots_made; /* as many as one batch has needed so far */
	int count;
	Size bytes;
};

/* Tells that one of our tables is not as this library knows it. */
void
outbox_rows_refuse(const char *table)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("table \"%s.%s\" is not of outbox version %s",
					OUTBOX_SCHEMA, table, OUTBOX_VERSION),
			 errhint("Run ALTER EXTENSION %s UPDATE, or restart the server "
					 "with the library of the extension's version.",
					 OUTBOX_EXTENSION)));
}

/* Raises 55000 if a table has other columns than this library reads and
 * writes there. */
void
outbox_rows_check(Relation rel, TupleDesc ours)
{
	TupleDesc theirs = RelationGetDescr(rel);
	bool same = ours->natts == theirs->natts &&
				rel->rd_rel->relkind == RELKIND_RELATION &&
				rel->rd_rel->relam == HEAP_TABLE_AM_OID;

	for (int i = 0; same && i < ours->natts; i++)
	{
		same = TupleDescAttr(ours, i)->atttypid ==
				   TupleDescAttr(theirs, i)->atttypid &&
			   !TupleDescAttr(theirs, i)->attisdropped;
	}
	if (!same)
		outbox_rows_refuse(RelationGetRelationName(rel));
}

/*
 * Begins to write rows like these into a table, which is locked until the end
 * of the transaction. Raises 55000 if it has other columns.
 */
OutboxRowWriter *
outbox_rows_begin(Oid table, TupleDesc columns)
{
	OutboxRowWriter *writer = palloc(sizeof(OutboxRowWriter));

	writer->slots_made = 0;
	writer->count = 0;
	writer->bytes = 0;
	writer->rel = table_open(table, RowExclusiveLock);
	outbox_rows_check(writer->rel, columns);
	writer->estate = CreateExecutorState();
	writer->rel_info = makeNode(ResultRelInfo);
	InitResultRelInfo(writer->rel_info, writer->rel, 1, NULL, 0);
	ExecOpenIndices(writer->rel_info, false);
	return writer;
}

/* Gives the collected rows to the table and its indexes. */
static void
write_batch(OutboxRowWriter *writer)
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
void
outbox_rows_add(OutboxRowWriter *writer, HeapTuple tuple)
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

/* Writes what is left; the lock stays. */
void
outbox_rows_end(OutboxRowWriter *writer)
{
	if (writer->count > 0)
		write_batch(writer);
	for (int i = 0; i < writer->slots_made; i++)
		ExecDropSingleTupleTableSlot(writer->slots[i]);
	ExecCloseIndices(writer->rel_info);
	FreeExecutorState(writer->estate);
	table_close(writer->rel, NoLock);
	pfree(writer);
}
