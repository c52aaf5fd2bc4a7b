/*-------------------------------------------------------------------------
 *
 * plan.c
 *	  How the rows of a table become events of a topic: rows of outbox.capture
 *	  together with the columns of the table.
 *
 * A plan is remembered until the table, or anything in outbox.capture, has
 * changed. It may be in use then: by a function of a type, which changes a
 * table that is published, too. So what has become old lives until the end of
 * the transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_attribute.h"
#include "commands/trigger.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "capture/plan.h"
#include "compat.h"
#include "emit/event_args.h"
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
			table == capture_table)
			entry->valid = false;
	}
}

/* Once in a session: the callback stays. */
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
}

static void
refuse_column(const OutboxCapture *capture, Relation rel, const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("column \"%s\" of \"%s\" does not exist", name,
					RelationGetRelationName(rel)),
			 errdetail("It is published to topic \"%s\".", capture->topic),
			 errhint("Call outbox.publish_table() again with the columns that "
					 "there are, or outbox.unpublish_table().")));
}

/* What the column is called in events */
static const char *
field_name(const OutboxCapture *capture, const char *column)
{
	for (int i = 0; i + 1 < list_length(capture->renamed); i += 2)
	{
		if (strcmp(list_nth(capture->renamed, i), column) == 0)
			return list_nth(capture->renamed, i + 1);
	}
	return column;
}

static void
set_column(OutboxCaptureColumn *column, const OutboxCapture *capture,
		   Relation rel, AttrNumber number)
{
	Form_pg_attribute attribute =
		TupleDescAttr(RelationGetDescr(rel), number - 1);
	const char *field = field_name(capture, NameStr(attribute->attname));
	StringInfoData prefix;

	initStringInfo(&prefix);
	outbox_json_string(&prefix, field, (int) strlen(field));
	appendStringInfoChar(&prefix, ':');
	column->number = number;
	column->name = pstrdup(NameStr(attribute->attname));
	column->prefix = prefix.data;
	column->prefix_bytes = prefix.len;
	column->length = attribute->attlen;
	column->by_value = attribute->attbyval;
	outbox_json_type(&column->type, attribute->atttypid);
}

/* Can it be published? What is virtual is not there when triggers fire. */
static bool
is_there(Relation rel, AttrNumber number)
{
	Form_pg_attribute attribute =
		TupleDescAttr(RelationGetDescr(rel), number - 1);

	return !attribute->attisdropped &&
		   attribute->attgenerated != OUTBOX_GENERATED_VIRTUAL;
}

static AttrNumber
find_column(const OutboxCapture *capture, Relation rel, const char *name)
{
	AttrNumber number = get_attnum(RelationGetRelid(rel), name);

	if (number <= 0)
		refuse_column(capture, rel, name);
	if (!is_there(rel, number))
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("column \"%s\" of \"%s\" cannot be published",
							   name, RelationGetRelationName(rel)),
						errdetail("It is a virtual generated column."),
						errhint("Make it STORED, or publish without it.")));
	return number;
}

static void
add_columns(OutboxCapturePlan *plan, const OutboxCapture *capture,
			Relation rel)
{
	int natts = RelationGetNumberOfAttributes(rel);
	ListCell *cell;

	plan->column = palloc(Max(natts, list_length(capture->columns)) *
						  sizeof(OutboxCaptureColumn));
	foreach (cell, capture->columns)
		set_column(&plan->column[plan->columns++], capture, rel,
				   find_column(capture, rel, lfirst(cell)));
	for (int i = 1; !capture->has_columns && i <= natts; i++)
	{
		if (is_there(rel, (AttrNumber) i))
			set_column(&plan->column[plan->columns++], capture, rel,
					   (AttrNumber) i);
	}
	for (int i = 0; i < plan->columns; i++)
		plan->settings = plan->settings || plan->column[i].type.settings;
}

/* The columns of the primary key, by their names */
static List *
primary_key(Relation rel)
{
	List *names = NIL;
	Oid index;
	Relation index_rel;

	/* finds out which index it is */
	list_free(RelationGetIndexList(rel));
	index = outbox_primary_key_index(rel);
	if (!OidIsValid(index))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("table \"%s\" has no primary key",
						RelationGetRelationName(rel)),
				 errhint("Name the columns that are the key of its events: "
						 "outbox.publish_table(..., key => '{...}').")));
	index_rel = index_open(index, AccessShareLock);
	for (int i = 0; i < IndexRelationGetNumberOfKeyAttributes(index_rel); i++)
	{
		AttrNumber number = index_rel->rd_index->indkey.values[i];

		names = lappend(
			names,
			pstrdup(NameStr(
				TupleDescAttr(RelationGetDescr(rel), number - 1)->attname)));
	}
	index_close(index_rel, AccessShareLock);
	return names;
}

static void
add_key(OutboxCapturePlan *plan, const OutboxCapture *capture, Relation rel)
{
	List *names = capture->has_key ? capture->key : primary_key(rel);
	ListCell *cell;

	plan->key_column =
		palloc((list_length(names) + 1) * sizeof(OutboxCaptureColumn));
	foreach (cell, names)
		set_column(&plan->key_column[plan->key_columns++], capture, rel,
				   find_column(capture, rel, lfirst(cell)));
	for (int i = 0; i < plan->key_columns; i++)
		plan->key_settings =
			plan->key_settings || plan->key_column[i].type.settings;
}

/* Makes a plan, in the current memory context. */
static OutboxCapturePlan *
make_plan(const OutboxCapture *capture, Relation rel)
{
	OutboxCapturePlan *plan = palloc0(sizeof(OutboxCapturePlan));

	plan->topic = outbox_event_topic(cstring_to_text(capture->topic));
	plan->table = pstrdup(RelationGetRelationName(rel));
	for (int i = 0; i < list_length(capture->renamed); i += 2)
		(void) find_column(capture, rel, list_nth(capture->renamed, i));
	add_columns(plan, capture, rel);
	add_key(plan, capture, rel);
	return plan;
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
	if (capture == NULL)
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
	plan = make_plan(read_capture(id, rel), rel);
	MemoryContextSwitchTo(old_context);
	if (changes != before)
		return plan;

	entry = hash_search(plans, &key, HASH_ENTER, &found);
	if (found)
		drop_plan(entry);
	MemoryContextSetParent(context, TopMemoryContext);
	entry->context = context;
	entry->plan = plan;
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
