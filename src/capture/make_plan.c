/*-------------------------------------------------------------------------
 *
 * make_plan.c
 *	  From a row of outbox.capture and the columns of a table to a plan. Columns
 *	  are found by their names, which may be in other places in a partition.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/genam.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/rel.h"

#include "capture/condition.h"
#include "capture/make_plan.h"
#include "compat.h"
#include "emit/event_args.h"

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
	column->computed = NULL;
	if (attribute->attgenerated == OUTBOX_GENERATED_VIRTUAL)
		column->computed = outbox_capture_expression(
			outbox_generation_expression(rel, number));
}

static AttrNumber
find_column(const OutboxCapture *capture, Relation rel, const char *name)
{
	AttrNumber number = get_attnum(RelationGetRelid(rel), name);

	if (number <= 0)
		refuse_column(capture, rel, name);
	return number;
}

/* Raises an error if one of the columns before it has the same name in events:
 * a column may have been added, or renamed, since the table was published. */
static void
check_field(const OutboxCapturePlan *plan, const OutboxCapture *capture,
			int number)
{
	const OutboxCaptureColumn *column = &plan->column[number];

	for (int i = 0; i < number; i++)
	{
		if (strcmp(plan->column[i].prefix, column->prefix) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_COLUMN),
					 errmsg("columns \"%s\" and \"%s\" of \"%s\" would have "
							"the same name in events",
							plan->column[i].name, column->name, plan->table),
					 errdetail("They are published to topic \"%s\".",
							   capture->topic),
					 errhint("Call outbox.publish_table() again, and give "
							 "them different names by rename, or leave one "
							 "out of columns.")));
	}
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
		if (!TupleDescAttr(RelationGetDescr(rel), i - 1)->attisdropped)
			set_column(&plan->column[plan->columns++], capture, rel,
					   (AttrNumber) i);
	}
	for (int i = 0; i < plan->columns; i++)
	{
		plan->settings = plan->settings || plan->column[i].type.settings;
		check_field(plan, capture, i);
	}
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
				 errdetail("One that is DEFERRABLE does not count."),
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

/* A member of a JSON object, and a comma */
static void
add_member(StringInfo out, const char *name, const char *value)
{
	appendStringInfo(out, "\"%s\":", name);
	outbox_json_string(out, value, (int) strlen(value));
	appendStringInfoChar(out, ',');
}

/* What Debezium calls the source of an event, without what each event
 * has of its own */
static char *
source_of(const OutboxCapture *capture)
{
	const char *database = get_database_name(MyDatabaseId);
	const char *table = get_rel_name(capture->relation);
	StringInfoData out;

	if (table == NULL)
		table = "";
	initStringInfo(&out);
	add_member(&out, "version", OUTBOX_VERSION);
	add_member(&out, "connector", OUTBOX_EXTENSION);
	add_member(&out, "name", database);
	add_member(&out, "db", database);
	add_member(&out, "schema",
			   get_namespace_name(get_rel_namespace(capture->relation)));
	add_member(&out, "table", table);
	out.data[--out.len] = '\0';
	return out.data;
}

/* Raises an error unless the function that makes payloads is there, and still
 * one that can: nothing keeps it from being dropped, and created otherwise. */
static void
check_function(const OutboxCapture *capture)
{
	Oid function = capture->function;
	Oid result = InvalidOid;

	if (OidIsValid(function) &&
		get_func_prokind(function) == PROKIND_FUNCTION &&
		!get_func_retset(function))
		result = get_func_rettype(function);
	if (result != JSONBOID && result != JSONOID && result != TEXTOID &&
		result != BYTEAOID)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("the function that makes payloads of \"%s\" is not "
						"there any more",
						get_rel_name(capture->relation)),
				 errdetail("The table is published to topic \"%s\".",
						   capture->topic),
				 errhint("Create it again, or call outbox.publish_table() "
						 "with another format.")));
	if (func_strict(function))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("function %s must not be STRICT",
						format_procedure(function)),
				 errdetail("It is given null where there is no row before, or "
						   "after.")));
}

static void
set_format(OutboxCapturePlan *plan, const OutboxCapture *capture)
{
	if (strcmp(capture->format, "before_after") == 0)
		plan->format = OUTBOX_CAPTURE_BEFORE_AFTER;
	else if (strcmp(capture->format, "debezium") == 0)
	{
		plan->format = OUTBOX_CAPTURE_DEBEZIUM;
		plan->source = source_of(capture);
	}
	else if (strcmp(capture->format, "function") == 0)
	{
		check_function(capture);
		plan->function = capture->function;
		plan->function_result = get_func_rettype(plan->function);
	}
}

/* The header with the version */
static Jsonb *
headers_of(const OutboxCapture *capture)
{
	StringInfoData out;

	if (capture->version == NULL)
		return NULL;
	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	add_member(&out, "version", capture->version);
	out.data[out.len - 1] = '}';
	return DatumGetJsonbP(
		DirectFunctionCall1(jsonb_in, CStringGetDatum(out.data)));
}

/* An attribute of all events; NULL if there is none */
static text *
attribute_of(const char *name, const char *value)
{
	if (value == NULL)
		return NULL;
	return outbox_event_attribute(name, cstring_to_text(value));
}

/* Makes a plan, in the current memory context. Raises an error if rows of the
 * table cannot become such events. */
OutboxCapturePlan *
outbox_capture_make_plan(const OutboxCapture *capture, Relation rel)
{
	OutboxCapturePlan *plan = palloc0(sizeof(OutboxCapturePlan));

	plan->topic = outbox_event_topic(cstring_to_text(capture->topic));
	plan->table = pstrdup(RelationGetRelationName(rel));
	for (int i = 0; i < list_length(capture->renamed); i += 2)
		(void) find_column(capture, rel, list_nth(capture->renamed, i));
	add_columns(plan, capture, rel);
	add_key(plan, capture, rel);
	plan->headers = headers_of(capture);
	plan->type = attribute_of("type", capture->type);
	plan->origin = attribute_of("source", capture->source);
	plan->content_type = attribute_of("content_type", capture->content_type);
	set_format(plan, capture);
	if (capture->condition != NULL)
		plan->condition = outbox_capture_condition(rel, capture->condition);
	plan->tombstones = capture->tombstones;
	plan->refuses_truncate = strcmp(capture->on_truncate, "refuse") == 0;
	return plan;
}
