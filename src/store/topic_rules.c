/*-------------------------------------------------------------------------
 *
 * topic_rules.c
 *	  outbox.topic_rule_entry: what is asked of events by their topic.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "store/table_reader.h"
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

static bool
add_rule(TupleTableSlot *row, void *arg)
{
	List **rules = arg;

	*rules = lappend(*rules, rule_in(row));
	return true;
}

/* All rules, as outbox_table_read() reads them: OutboxTopicRule, in the current
 * context */
List *
outbox_topic_rules_read(Oid table)
{
	static const Oid types[COLUMNS] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID,
									   INT4OID, UUIDOID, TEXTOID, BOOLOID,
									   TEXTOID, INT4OID, BOOLOID};
	static const OutboxTableShape shape = {
		.types = types, .columns = COLUMNS, .has_more = true};
	List *rules = NIL;

	outbox_table_read(table, &shape, add_rule, &rules);
	return rules;
}
