/*-------------------------------------------------------------------------
 *
 * table_writer.c
 *	  Writes rows into one of our tables, straight through the table access
 *	  method and many at once, as COPY does: no SQL, no privileges.
 *
 * Our own triggers are for rows that others write. Those that somebody else
 * has put on a table (pg_repack does, and misses rows otherwise) are fired, as
 * if each batch was an INSERT; without them, nothing is different. They can
 * look and write elsewhere, but not change what is written: it has been
 * checked already, and ids are not theirs to give.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/brin.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "storage/predicate.h"
#include "utils/datum.h"
#include "utils/rel.h"

#include "compat.h"
#include "store/table_writer.h"

/* rows given to the table at once */
#define BATCH_ROWS  1000
#define BATCH_BYTES 65536

struct OutboxTableWriter
{
	Relation rel;
	EState *estate;
	ResultRelInfo *rel_info;
	bool has_triggers; /* of others, to be fired */
	TupleTableSlot *slots[BATCH_ROWS];
	int slots_made; /* as many as one batch has needed so far */
	int count;
	Size bytes;
	BlockNumber block; /* for its rows, the indexes have been chosen */
};

/* Tells that one of our tables is not as this library knows it. */
void
outbox_table_writer_refuse(const char *table)
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
outbox_table_writer_check(Relation rel, TupleDesc ours)
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
		outbox_table_writer_refuse(RelationGetRelationName(rel));
}

/* Is a trigger of one of our tables our own? No other can have its name. */
bool
outbox_table_writer_is_our_trigger(const char *name)
{
	static const char *const names[] = {"loading",    "merge",
										"replicated", "replicated_truncate",
										"rights",     "rules"};

	for (size_t i = 0; i < lengthof(names); i++)
	{
		if (strcmp(name, names[i]) == 0)
			return true;
	}
	return false;
}

/* Does an INSERT in this session fire it? */
static bool
is_fired(const Trigger *trigger)
{
	char other_role =
		SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA
			? TRIGGER_FIRES_ON_ORIGIN
			: TRIGGER_FIRES_ON_REPLICA;

	return TRIGGER_FOR_INSERT(trigger->tgtype) &&
		   trigger->tgenabled != TRIGGER_DISABLED &&
		   trigger->tgenabled != other_role;
}

/* Has the table triggers of others that we have to fire? */
bool
outbox_table_writer_has_triggers(Relation rel)
{
	TriggerDesc *triggers = rel->trigdesc;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		if (is_fired(&triggers->triggers[i]) &&
			!outbox_table_writer_is_our_trigger(triggers->triggers[i].tgname))
			return true;
	}
	return false;
}

/* What the executor must know of the table: its indexes, and triggers */
ResultRelInfo *
outbox_table_writer_rel_info(Relation rel, bool with_triggers)
{
	ResultRelInfo *rel_info = makeNode(ResultRelInfo);

	if (with_triggers)
	{
		InitResultRelInfo(rel_info, rel, 1, NULL, 0);
		/* a copy, in which ours can be turned off */
		for (int i = 0; i < rel_info->ri_TrigDesc->numtriggers; i++)
		{
			Trigger *trigger = &rel_info->ri_TrigDesc->triggers[i];

			if (outbox_table_writer_is_our_trigger(trigger->tgname))
				trigger->tgenabled = TRIGGER_DISABLED;
		}
	}
	rel_info->ri_RelationDesc = rel;
	ExecOpenIndices(rel_info, false);
	return rel_info;
}

/*
 * Begins to write rows like these into a table, which is locked until the end
 * of the transaction. Raises 55000 if it has other columns.
 */
OutboxTableWriter *
outbox_table_writer_begin(Oid table, TupleDesc columns)
{
	OutboxTableWriter *writer = palloc(sizeof(OutboxTableWriter));

	writer->slots_made = 0;
	writer->count = 0;
	writer->bytes = 0;
	writer->rel = table_open(table, RowExclusiveLock);
	outbox_table_writer_check(writer->rel, columns);
	writer->estate = CreateExecutorState();
	writer->has_triggers = outbox_table_writer_has_triggers(writer->rel);
	writer->rel_info =
		outbox_table_writer_rel_info(writer->rel, writer->has_triggers);
	return writer;
}

/* Have two rows the same values? One of them may end before the last columns,
 * which are null then. */
static bool
is_same_row(TupleDesc columns, HeapTuple a, HeapTuple b)
{
	for (int i = 0; i < columns->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(columns, i);
		bool a_null;
		bool b_null;
		Datum a_value = heap_getattr(a, i + 1, columns, &a_null);
		Datum b_value = heap_getattr(b, i + 1, columns, &b_null);

		if (a_null != b_null)
			return false;
		if (!a_null &&
			!datumIsEqual(a_value, b_value, column->attbyval, column->attlen))
			return false;
	}
	return true;
}

/* Fires what comes before a row. Raises 27000 if the row does not stay. */
static void
fire_before_row(EState *estate, ResultRelInfo *rel_info, TupleTableSlot *slot)
{
	Relation rel = rel_info->ri_RelationDesc;
	HeapTuple before = ExecCopySlotHeapTuple(slot);

	if (!ExecBRInsertTriggers(estate, rel_info, slot) ||
		!is_same_row(RelationGetDescr(rel), before,
					 ExecFetchSlotHeapTuple(slot, false, NULL)))
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
				 errmsg("a trigger must not change rows of table \"%s.%s\", "
						"or leave them out",
						OUTBOX_SCHEMA, RelationGetRelationName(rel)),
				 errhint("Make it an AFTER trigger.")));
	heap_freetuple(before);
}

/* Fires what comes before an INSERT of these rows. The executor keeps what it
 * learns of the triggers, so its memory must be that of the estate. */
TransitionCaptureState *
outbox_table_writer_fire_before(EState *estate, ResultRelInfo *rel_info,
								TupleTableSlot **slots, int count)
{
	TriggerDesc *triggers = rel_info->ri_TrigDesc;
	MemoryContext old_context = MemoryContextSwitchTo(estate->es_query_cxt);
	TransitionCaptureState *capture;

	AfterTriggerBeginQuery();
	capture = MakeTransitionCaptureState(
		triggers, RelationGetRelid(rel_info->ri_RelationDesc), CMD_INSERT);
	ExecBSInsertTriggers(estate, rel_info);
	if (triggers->trig_insert_before_row)
	{
		for (int i = 0; i < count; i++)
			fire_before_row(estate, rel_info, slots[i]);
	}
	MemoryContextSwitchTo(old_context);
	return capture;
}

/* The same for what comes after it; count: of rows that have been inserted */
void
outbox_table_writer_fire_after(EState *estate, ResultRelInfo *rel_info,
							   TupleTableSlot **slots, int count,
							   TransitionCaptureState *capture)
{
	MemoryContext old_context = MemoryContextSwitchTo(estate->es_query_cxt);

	for (int i = 0; i < count; i++)
		ExecARInsertTriggers(estate, rel_info, slots[i], NIL, capture);
	ExecASInsertTriggers(estate, rel_info, capture);
	AfterTriggerEndQuery(estate);
	MemoryContextSwitchTo(old_context);
}

/* Lets go of what triggers have opened, and the estate. */
void
outbox_table_writer_free(EState *estate)
{
	ExecResetTupleTable(estate->es_tupleTable, false);
	ExecCloseResultRelations(estate);
	FreeExecutorState(estate);
}

/*
 * Is the range of pages with this one summarized in a BRIN index? If not,
 * the index has nothing to do for rows that are in the table already: whoever
 * summarizes the range from now on reads them.
 */
static bool
is_summarized(Relation index, BlockNumber block)
{
	BlockNumber pages_per_range;
	BrinRevmap *revmap = outbox_brin_revmap(index, &pages_per_range);
	Buffer buffer = InvalidBuffer;
	OffsetNumber offset;
	bool found = outbox_brin_tuple(revmap, block, &buffer, &offset) != NULL;

	if (found)
		LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	if (BufferIsValid(buffer))
		ReleaseBuffer(buffer);
	brinRevmapTerminate(revmap);
	return found;
}

/*
 * Chooses the indexes for a row that has been put into the table. A BRIN index
 * is asked once for all rows of a page: for each row, that would cost as much
 * as to write it.
 */
static void
choose_indexes(OutboxTableWriter *writer, const TupleTableSlot *slot)
{
	BlockNumber block = ItemPointerGetBlockNumber(&slot->tts_tid);
	ResultRelInfo *rel_info = writer->rel_info;

	if (block == writer->block)
		return;
	writer->block = block;
	for (int i = 0; i < rel_info->ri_NumIndices; i++)
	{
		Relation index = rel_info->ri_IndexRelationDescs[i];

		if (index->rd_rel->relam != BRIN_AM_OID ||
			!index->rd_index->indisready || BrinGetAutoSummarize(index))
			continue;
		/* which the insertion into an index does otherwise */
		CheckForSerializableConflictIn(index, NULL, InvalidBlockNumber);
		rel_info->ri_IndexRelationInfo[i]->ii_ReadyForInserts =
			is_summarized(index, block);
	}
}

/* Gives the collected rows to the table and its indexes. */
static void
write_batch(OutboxTableWriter *writer)
{
	TransitionCaptureState *capture =
		writer->has_triggers
			? outbox_table_writer_fire_before(writer->estate, writer->rel_info,
											  writer->slots, writer->count)
			: NULL;
	MemoryContext old_context =
		MemoryContextSwitchTo(GetPerTupleMemoryContext(writer->estate));

	table_multi_insert(writer->rel, writer->slots, writer->count,
					   GetCurrentCommandId(true), 0, NULL);
	writer->block = InvalidBlockNumber;
	for (int i = 0; i < writer->count; i++)
	{
		choose_indexes(writer, writer->slots[i]);
		outbox_insert_index_tuples(writer->rel_info, writer->slots[i],
								   writer->estate);
	}
	if (writer->has_triggers)
		outbox_table_writer_fire_after(writer->estate, writer->rel_info,
									   writer->slots, writer->count, capture);
	for (int i = 0; i < writer->count; i++)
		ExecClearTuple(writer->slots[i]);
	writer->count = 0;
	writer->bytes = 0;
	MemoryContextSwitchTo(old_context);
	ResetPerTupleExprContext(writer->estate);
}

/* Adds one row. The tuple is copied. */
void
outbox_table_writer_add(OutboxTableWriter *writer, HeapTuple tuple)
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
outbox_table_writer_end(OutboxTableWriter *writer)
{
	if (writer->count > 0)
		write_batch(writer);
	for (int i = 0; i < writer->slots_made; i++)
		ExecDropSingleTupleTableSlot(writer->slots[i]);
	ExecCloseIndices(writer->rel_info);
	outbox_table_writer_free(writer->estate);
	table_close(writer->rel, NoLock);
	pfree(writer);
}
