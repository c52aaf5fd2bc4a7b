/*-------------------------------------------------------------------------
 *
 * plans.c
 *	  Plans, which say how the rows of a table become events of a topic, are
 *	  remembered.
 *
 * That is so until the table, or anything in outbox.capture, has
 * changed. It may be in use then: by a function of a type, which changes a
 * table that is published, too. So what has become old lives until the end of
 * the transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "commands/trigger.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "capture/make_plan.h"
#include "capture/plans.h"
#include "store/captures.h"
#include "store/table_writer.h"

PG_FUNCTION_INFO_V1(outbox_capture_changed);

typedef struct PlanKey
{
	int32 id;
	Oid table;
} PlanKey;

typedef struct PlanEntry
{
	PlanKey key;
	Oid published; /* the table itself, or the one it is a partition of */
	bool valid;
	MemoryContext context; /* has the plan and all that is in it */
	OutboxCapturePlan *plan;
} PlanEntry;

static HTAB *plans = NULL;

/* the last one that was asked for; NULL = look */
static PlanEntry *last = NULL;

/* the table from which they were read; InvalidOid: not yet */
static Oid capture_table = InvalidOid;

/* counts what may have changed */
static uint32 changes = 0;

/* A table has changed, or the rows of ours; InvalidOid: perhaps any. */
static void
table_changed(Datum arg, Oid table)
{
	HASH_SEQ_STATUS scan;
	PlanEntry *entry;

	(void) arg;
	changes++;
	last = NULL;
	hash_seq_init(&scan, plans);
	while ((entry = hash_seq_search(&scan)) != NULL)
	{
		if (!OidIsValid(table) || table == entry->key.table ||
			table == entry->published || table == capture_table)
			entry->valid = false;
	}
}

/* A schema may have another name, or a function another result. */
static void
catalog_changed(Datum arg, int cache, uint32 hash)
{
	(void) cache;
	(void) hash;
	table_changed(arg, InvalidOid);
}

/* Once in a session: the callbacks stay. */
static void
prepare(void)
{
	HASHCTL control = {.keysize = sizeof(PlanKey),
					   .entrysize = sizeof(PlanEntry),
					   .hcxt = TopMemoryContext};

	if (plans != NULL)
		return;
	plans = hash_create("outbox captures", 16, &control,
						HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	CacheRegisterRelcacheCallback(table_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, catalog_changed, (Datum) 0);
	CacheRegisterSyscacheCallback(PROCOID, catalog_changed, (Datum) 0);
}

/*
 * Is the table the one that was published, or a partition of it, or of one that
 * is being detached? If not, the trigger came with a dump of the table alone,
 * and its number is that of another one here.
 */
static bool
is_published(const OutboxCapture *capture, Relation rel)
{
	Oid table = RelationGetRelid(rel);
	List *ancestors;

	if (table == capture->relation)
		return true;
	if (!rel->rd_rel->relispartition)
		return false;
	ancestors = get_partition_ancestors(table);
	return list_member_oid(ancestors, capture->relation) ||
		   get_rel_relispartition(ancestors == NIL ? table
												   : llast_oid(ancestors));
}

static OutboxCapture *
read_capture(int32 id, Relation rel)
{
	OutboxCapture *capture;

	capture_table = get_relname_relid(OUTBOX_CAPTURE_TABLE,
									  get_namespace_oid(OUTBOX_SCHEMA, false));
	if (!OidIsValid(capture_table))
		outbox_table_writer_refuse(OUTBOX_CAPTURE_TABLE);
	capture = outbox_captures_read(capture_table, id);
	if (capture == NULL || !is_published(capture, rel))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a trigger publishes changes of table \"%s\", but "
						"outbox does not know where to",
						RelationGetRelationName(rel)),
				 errhint("Call outbox.publish_table(), and drop this trigger, "
						 "whose name begins with \"" OUTBOX_CAPTURE_TRIGGER
						 "\".")));
	return capture;
}

/* What is old is left to the transaction. */
static void
drop_plan(PlanEntry *entry)
{
	if (entry->context != NULL)
		MemoryContextSetParent(entry->context, TopTransactionContext);
	entry->context = NULL;
	entry->plan = NULL;
}

/*
 * How rows of a table become events by the row of outbox.capture with that id.
 * Valid in the current transaction. Raises an error if they cannot any more.
 */
OutboxCapturePlan *
outbox_capture_plan(int32 id, Relation rel)
{
	PlanKey key = {.id = id, .table = RelationGetRelid(rel)};
	MemoryContext old_context;
	MemoryContext context;
	OutboxCapturePlan *plan;
	OutboxCapture *capture;
	PlanEntry *entry;
	uint32 before;
	bool found;

	if (last != NULL && last->key.id == id && last->key.table == key.table)
		return last->plan;
	prepare();
	entry = hash_search(plans, &key, HASH_FIND, NULL);
	if (entry != NULL && entry->valid)
	{
		last = entry;
		return entry->plan;
	}

	/* in the transaction's, until nothing can fail any more */
	before = changes;
	context = AllocSetContextCreate(TopTransactionContext, "outbox capture",
									ALLOCSET_SMALL_SIZES);
	old_context = MemoryContextSwitchTo(context);
	capture = read_capture(id, rel);
	plan = outbox_capture_make_plan(capture, rel);
	MemoryContextSwitchTo(old_context);
	if (changes != before)
		return plan;

	entry = hash_search(plans, &key, HASH_ENTER, &found);
	if (found)
		drop_plan(entry);
	MemoryContextSetParent(context, TopMemoryContext);
	entry->context = context;
	entry->plan = plan;
	entry->published = capture->relation;
	entry->valid = true;
	last = entry;
	return plan;
}

/* outbox.capture_changed(): the trigger that tells all sessions, at commit */
Datum
outbox_capture_changed(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("outbox.capture_changed() must be called as a "
							   "trigger")));
	CacheInvalidateRelcache(((TriggerData *) fcinfo->context)->tg_relation);
	return PointerGetDatum(NULL);
}
