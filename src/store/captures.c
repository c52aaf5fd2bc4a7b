/*-------------------------------------------------------------------------
 *
 * captures.c
 *	  outbox.capture: which tables are published, and how.
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
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "store/captures.h"
#include "store/table_writer.h"

/* columns that are read, in their order in the table */
enum
{
	COLUMN_ID,
	COLUMN_RELATION,
	COLUMN_TOPIC,
	COLUMN_KEY,
	COLUMN_COLUMNS,
	COLUMN_RENAMED,
	COLUMN_FORMAT,
	COLUMN_FUNCTION,
	COLUMN_CONDITION,
	COLUMN_VERSION,
	COLUMN_TOMBSTONES,
	COLUMN_ON_TRUNCATE,
	COLUMN_TYPE,
	COLUMN_SOURCE,
	COLUMN_CONTENT_TYPE,
	COLUMNS
};

/* Raises 55000 if the table has other columns than those that are read. */
static void
check_columns(Relation rel)
{
	static const Oid types[COLUMNS] = {
		INT4OID,      REGCLASSOID, TEXTOID, TEXTARRAYOID, TEXTARRAYOID,
		TEXTARRAYOID, TEXTOID,     TEXTOID, TEXTOID,      TEXTOID,
		BOOLOID,      TEXTOID,     TEXTOID, TEXTOID,      TEXTOID};
	TupleDesc columns = RelationGetDescr(rel);

	for (int i = 0; i < COLUMNS; i++)
	{
		if (i >= columns->natts ||
			TupleDescAttr(columns, i)->atttypid != types[i])
			outbox_table_writer_refuse(RelationGetRelationName(rel));
	}
}

/* The strings of an array, in the current context */
static List *
strings_in(Datum array)
{
	List *strings = NIL;
	Datum *values;
	int count;

	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false,
					  TYPALIGN_INT, &values, NULL, &count);
	for (int i = 0; i < count; i++)
		strings = lappend(strings, TextDatumGetCString(values[i]));
	return strings;
}

/* A text, in the current context; NULL for null */
static char *
string_in(TupleTableSlot *slot, int column)
{
	return slot->tts_isnull[column]
			   ? NULL
			   : TextDatumGetCString(slot->tts_values[column]);
}

static OutboxCapture *
capture_in(TupleTableSlot *slot)
{
	OutboxCapture *capture = palloc0(sizeof(OutboxCapture));
	const Datum *values = slot->tts_values;
	const bool *nulls = slot->tts_isnull;

	capture->id = DatumGetInt32(values[COLUMN_ID]);
	capture->relation = DatumGetObjectId(values[COLUMN_RELATION]);
	capture->topic = string_in(slot, COLUMN_TOPIC);
	capture->has_key = !nulls[COLUMN_KEY];
	if (capture->has_key)
		capture->key = strings_in(values[COLUMN_KEY]);
	capture->has_columns = !nulls[COLUMN_COLUMNS];
	if (capture->has_columns)
		capture->columns = strings_in(values[COLUMN_COLUMNS]);
	if (!nulls[COLUMN_RENAMED])
		capture->renamed = strings_in(values[COLUMN_RENAMED]);
	capture->format = string_in(slot, COLUMN_FORMAT);
	if (!nulls[COLUMN_FUNCTION])
		capture->function = DatumGetObjectId(DirectFunctionCall1(
			regprocedurein,
			CStringGetDatum(string_in(slot, COLUMN_FUNCTION))));
	capture->condition = string_in(slot, COLUMN_CONDITION);
	capture->version = string_in(slot, COLUMN_VERSION);
	capture->tombstones = DatumGetBool(values[COLUMN_TOMBSTONES]);
	capture->on_truncate = string_in(slot, COLUMN_ON_TRUNCATE);
	capture->type = string_in(slot, COLUMN_TYPE);
	capture->source = string_in(slot, COLUMN_SOURCE);
	capture->content_type = string_in(slot, COLUMN_CONTENT_TYPE);
	return capture;
}

/*
 * The row of that id, as it is now, and as the current transaction has changed
 * it, in the current context; NULL if there is none.
 */
OutboxCapture *
outbox_captures_read(Oid table, int32 id)
{
	Relation rel = table_open(table, AccessShareLock);
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TableScanDesc scan;
	OutboxCapture *capture = NULL;

	check_columns(rel);
	scan = table_beginscan(rel, snapshot, 0, NULL);
	while (capture == NULL &&
		   table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		slot_getallattrs(slot);
		if (DatumGetInt32(slot->tts_values[COLUMN_ID]) == id)
			capture = capture_in(slot);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	return capture;
}
