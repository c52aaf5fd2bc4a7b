/*-------------------------------------------------------------------------
 *
 * chunk.c
 *	  Rows that are in a table already become events, a chunk of them in a
 *	  transaction: that is what a backfill is made of.
 *
 * Each row is locked as by FOR SHARE, and told in its newest version. So
 * whoever changes it waits until the chunk is committed, and his event comes
 * after ours; and who has changed it before has got his ids before. Without the
 * lock, the event of an old version could come after that of the newer one, for
 * ids are taken at commit.
 *
 * What users have written, functions of formats and conditions, is run as the
 * owner of the table, as by VACUUM and ANALYZE: restricted, so that he cannot
 * become somebody else. Rows are read whatever row security says, as triggers
 * see them.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/transam.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "capture/capture.h"
#include "capture/chunk.h"
#include "capture/condition.h"
#include "capture/plans.h"

PG_FUNCTION_INFO_V1(outbox_backfill_check);

/* how long what users have written may wait for a lock, and so we for a row
 * that others have locked again and again: the relay does nothing else then */
#define LOCK_TIMEOUT "20ms"

static void
refuse_table(Relation rel)
{
	ereport(
		ERROR,
		(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		 errmsg("table \"%s\" has no primary key to read it by",
				RelationGetRelationName(rel)),
		 errdetail("One that is DEFERRABLE does not count, nor one WITHOUT "
				   "OVERLAPS."),
		 errhint("Add one. Without it, only what changes from now on can be "
				 "published.")));
}

/*
 * Opens the table and the index of its primary key, if nobody else has locked
 * them; else says why not.
 */
static bool
open_table(OutboxChunk *chunk, Relation *rel, Relation *index)
{
	Oid index_oid;

	chunk->end = OUTBOX_CHUNK_CANNOT_READ;
	if (!ConditionalLockRelationOid(chunk->table, RowShareLock))
		return false;
	*rel = try_table_open(chunk->table, NoLock);
	if (*rel == NULL)
	{
		UnlockRelationOid(chunk->table, RowShareLock);
		chunk->end = OUTBOX_CHUNK_TABLE_IS_GONE;
		return false;
	}
	index_oid = outbox_key_scan_index(*rel);
	if (!OidIsValid(index_oid))
		refuse_table(*rel);
	if (!ConditionalLockRelationOid(index_oid, AccessShareLock))
	{
		table_close(*rel, NoLock);
		return false;
	}
	*index = index_open(index_oid, NoLock);
	/* as the planner has it: versions that we see may be missing */
	if ((*index)->rd_index->indcheckxmin &&
		!TransactionIdPrecedes(
			HeapTupleHeaderGetXmin((*index)->rd_indextuple->t_data),
			TransactionXmin))
	{
		index_close(*index, NoLock);
		table_close(*rel, NoLock);
		return false;
	}
	return true;
}

static bool
is_full(const OutboxChunk *chunk, instr_time start)
{
	instr_time now;

	if (chunk->rows >= chunk->max_rows)
		return true;
	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_SUBTRACT(now, start);
	return (int64) INSTR_TIME_GET_MICROSEC(now) >= chunk->max_us;
}

/* Tells of a row to all destinations. */
static void
tell(OutboxChunk *chunk, Relation rel, const OutboxCapturePlan *wanted,
	 TupleTableSlot *row)
{
	ListCell *cell;

	chunk->rows++;
	if (!outbox_capture_is_wanted(wanted, row))
		return;
	foreach (cell, chunk->captures)
	{
		if (outbox_capture_read_row(outbox_capture_plan(lfirst_int(cell), rel),
									row))
			chunk->events++;
	}
}

/* Reads and tells rows until something ends the chunk. */
static OutboxChunkEnd
read_rows(OutboxChunk *chunk, Relation rel, const OutboxCapturePlan *wanted)
{
	MemoryContext context = AllocSetContextCreate(
		CurrentMemoryContext, "outbox backfilled row", ALLOCSET_DEFAULT_SIZES);
	OutboxChunkEnd end = OUTBOX_CHUNK_TABLE_IS_READ;
	instr_time start;

	INSTR_TIME_SET_CURRENT(start);
	while (end == OUTBOX_CHUNK_TABLE_IS_READ &&
		   outbox_key_scan_next(chunk->scan))
	{
		MemoryContext old_context;
		TupleTableSlot *row;

		CHECK_FOR_INTERRUPTS();
		if (!outbox_key_scan_is_first(chunk->scan) && is_full(chunk, start))
		{
			end = OUTBOX_CHUNK_IS_FULL;
			break;
		}
		old_context = MemoryContextSwitchTo(context);
		switch (outbox_key_scan_lock(chunk->scan,
									 chunk->wait && chunk->rows == 0, &row))
		{
			case OUTBOX_KEY_ROW_LOCKED:
				tell(chunk, rel, wanted, row);
				break;
			case OUTBOX_KEY_ROW_GONE:
				break;
			case OUTBOX_KEY_ROW_BUSY:
				end = OUTBOX_CHUNK_MET_A_LOCK;
				break;
		}
		MemoryContextSwitchTo(old_context);
		MemoryContextReset(context);
	}
	return end;
}

static void
set_local(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_SUSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

/* Is anything that users have written run by the plan? */
static bool
runs_users_code(const OutboxCapturePlan *plan)
{
	return OidIsValid(plan->function) ||
		   (plan->condition != NULL &&
			outbox_capture_expression_is_users(plan->condition));
}

/* The same, from where to where it is to go, as the owner of the table. */
static void
read_table(OutboxChunk *chunk, Relation rel, Relation index)
{
	OutboxCapturePlan wanted = {0};
	ListCell *cell;

	if (chunk->condition != NULL)
		wanted.condition = outbox_capture_condition(rel, chunk->condition);
	chunk->users_code = runs_users_code(&wanted);
	foreach (cell, chunk->captures)
		chunk->users_code =
			runs_users_code(outbox_capture_plan(lfirst_int(cell), rel)) ||
			chunk->users_code;
	/* for what it writes, triggers and foreign keys count. Not for nothing:
	 * all plans of the session must be made anew */
	if (chunk->users_code)
		set_local("session_replication_role", "origin");

	chunk->end = OUTBOX_CHUNK_TABLE_IS_READ;
	if (chunk->upto == NULL)
		chunk->upto = outbox_key_scan_last(rel, index);
	if (chunk->upto == NULL)
		return;
	chunk->scan = outbox_key_scan_begin(rel, index, chunk->from, chunk->upto);
	chunk->end = read_rows(chunk, rel, &wanted);
	if (chunk->end != OUTBOX_CHUNK_TABLE_IS_READ)
		chunk->from = outbox_key_scan_key(chunk->scan);
	outbox_key_scan_end(chunk->scan);
}

/*
 * Emits the next rows of a table, as the chunk says, in the current
 * subtransaction, which is to be undone if this raises an error. The
 * transaction has joined those that emit.
 */
void
outbox_capture_chunk(void *arg)
{
	OutboxChunk *chunk = arg;
	Relation rel;
	Relation index;
	Oid user;
	int security;
	int level;

	if (!open_table(chunk, &rel, &index))
		return;
	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(rel->rd_rel->relowner,
						   security | SECURITY_RESTRICTED_OPERATION);
	level = NewGUCNestLevel();
	set_local("lock_timeout", LOCK_TIMEOUT);
	/* younger than the lock */
	PushActiveSnapshot(GetTransactionSnapshot());
	read_table(chunk, rel, index);
	PopActiveSnapshot();
	AtEOXact_GUC(false, level);
	SetUserIdAndSecContext(user, security);
	index_close(index, NoLock);
	table_close(rel, NoLock);
}

/* outbox.check_backfill(relation regclass, captures integer[], condition
 * text): raises an error unless the rows of the table can be read, and become
 * events of these rows of outbox.capture. */
Datum
outbox_backfill_check(PG_FUNCTION_ARGS)
{
	Relation rel;
	Datum *captures;
	int count;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("relation and captures must not be null")));
	rel = table_open(PG_GETARG_OID(0), AccessShareLock);
	if (!OidIsValid(outbox_key_scan_index(rel)))
		refuse_table(rel);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), INT4OID, sizeof(int32), true,
					  TYPALIGN_INT, &captures, NULL, &count);
	for (int i = 0; i < count; i++)
		(void) outbox_capture_plan(DatumGetInt32(captures[i]), rel);
	if (!PG_ARGISNULL(2))
		(void) outbox_capture_condition(rel,
										text_to_cstring(PG_GETARG_TEXT_PP(2)));
	table_close(rel, NoLock);
	PG_RETURN_VOID();
}
