/*-------------------------------------------------------------------------
 *
 * topic_rules.c
 *	  outbox.topic_rule_entry: what is asked of events by their topic.
 *
 * It is read in a transaction of the application, with nobody's privileges but
 * the library's own: so not by SQL.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "store/table_writer.h"
#include "store/topic_rules.h"

/* columns that are read, in their order in the table */
enum
{
	COLUMN_PATTERN,
	COLUMN_TYPE,
	COLUMN_SOURCE,
	COLUMN_CONTENT_TYPE,
	COLUMN_SCHEMA_ID,
	COLUMN_SCHEMA_GUID,
	COLUMN_SCHEMA_PLACEMENT,
	COLUMN_KEY_REQUIRED,
	COLUMN_KEY_PATTERN,
	COLUMN_MAX_SIZE,
	COLUMN_OBJECT_REQUIRED,
	COLUMNS
};

/* Raises 55000 if the table has other columns than those that are read. */
static void
check_columns(Relation rel)
{
	static const Oid types[COLUMNS] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID,
									   INT4OID, UUIDOID, TEXTOID, BOOLOID,
									   TEXTOID, INT4OID, BOOLOID};
	TupleDesc columns = RelationGetDescr(rel);

	for (int i = 0; i < COLUMNS; i++)
	{
		if (i >= columns->natts ||
			TupleDescAttr(columns, i)->atttypid != types[i])
			outbox_table_writer_refuse(RelationGetRelationName(rel));
	}
}

/* A column of text, or NULL. The row is in a buffer that is not ours for
 * long. */
static text *
text_in(TupleTableSlot *slot, int column)
{
	if (slot->tts_isnull[column])
		return NULL;
	return DatumGetTextPCopy(slot->tts_values[column]);
}

static OutboxTopicRule *
rule_in(TupleTableSlot *slot)
{
	OutboxTopicRule *rule = palloc0(sizeof(OutboxTopicRule));
	const Datum *values = slot->tts_values;
	const bool *nulls = slot->tts_isnull;

	rule->pattern = text_in(slot, COLUMN_PATTERN);
	for (int i = 0; i < OUTBOX_RULE_ATTRIBUTES; i++)
		rule->attributes[i] = text_in(slot, COLUMN_TYPE + i);
	if (!nulls[COLUMN_SCHEMA_PLACEMENT])
	{
		char *placement = TextDatumGetCString(values[COLUMN_SCHEMA_PLACEMENT]);

		rule->schema_prefix =
			strcmp(placement, "prefix") == 0 && !nulls[COLUMN_SCHEMA_ID];
		rule->schema_header =
			strcmp(placement, "header") == 0 && !nulls[COLUMN_SCHEMA_GUID];
	}
	if (rule->schema_prefix)
		rule->schema_id = DatumGetInt32(values[COLUMN_SCHEMA_ID]);
	if (rule->schema_header)
		rule->schema_guid = *DatumGetUUIDP(values[COLUMN_SCHEMA_GUID]);
	rule->key_required = DatumGetBool(values[COLUMN_KEY_REQUIRED]);
	rule->key_pattern = text_in(slot, COLUMN_KEY_PATTERN);
	if (!nulls[COLUMN_MAX_SIZE])
		rule->max_size = DatumGetInt32(values[COLUMN_MAX_SIZE]);
	rule->object_required = DatumGetBool(values[COLUMN_OBJECT_REQUIRED]);
	return rule;
}

/*
 * All rules, as they are now, and as the current transaction has changed them:
 * OutboxTopicRule, in the current context. The lock on the table is not kept.
 */
List *
outbox_topic_rules_read(Oid table)
{
	Relation rel = table_open(table, AccessShareLock);
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TableScanDesc scan;
	List *rules = NIL;

	check_columns(rel);
	scan = table_beginscan(rel, snapshot, 0, NULL);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		slot_getallattrs(slot);
		rules = lappend(rules, rule_in(slot));
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	return rules;
}
