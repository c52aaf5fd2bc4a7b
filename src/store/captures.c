/*-------------------------------------------------------------------------
 *
 * captures.c
 *	  outbox.capture: which tables are published, and how.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#include "store/captures.h"
#include "store/table_reader.h"

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

/*
 * The function that makes payloads, by its name with its schema and arguments;
 * InvalidOid if it is not there any more. Whoever changes the table need not
 * have any right on that schema.
 */
static Oid
function_named(const char *signature)
{
	static const Oid types[] = {TEXTOID, JSONBOID, JSONBOID};
	const char *arguments = strrchr(signature, '(');
	Oid schema_oid = PG_CATALOG_NAMESPACE;
	char *schema;
	char *name;

	if (arguments == NULL)
		return InvalidOid;
	DeconstructQualifiedName(textToQualifiedNameList(cstring_to_text_with_len(
								 signature, (int) (arguments - signature))),
							 &schema, &name);
	if (schema != NULL)
		schema_oid = get_namespace_oid(schema, true);
	return GetSysCacheOid3(
		PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum(name),
		PointerGetDatum(buildoidvector(types, lengthof(types))),
		ObjectIdGetDatum(schema_oid));
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
		capture->function = function_named(string_in(slot, COLUMN_FUNCTION));
	capture->condition = string_in(slot, COLUMN_CONDITION);
	capture->version = string_in(slot, COLUMN_VERSION);
	capture->tombstones = DatumGetBool(values[COLUMN_TOMBSTONES]);
	capture->on_truncate = string_in(slot, COLUMN_ON_TRUNCATE);
	capture->type = string_in(slot, COLUMN_TYPE);
	capture->source = string_in(slot, COLUMN_SOURCE);
	capture->content_type = string_in(slot, COLUMN_CONTENT_TYPE);
	return capture;
}

/* The row that is looked for */
typedef struct Search
{
	int32 id;
	OutboxCapture *found; /* NULL = not yet */
} Search;

static bool
look_at(TupleTableSlot *row, void *arg)
{
	Search *search = arg;

	if (DatumGetInt32(row->tts_values[COLUMN_ID]) == search->id)
		search->found = capture_in(row);
	return search->found == NULL;
}

/* The row of that id, as outbox_table_read() reads it, in the current context;
 * NULL if there is none */
OutboxCapture *
outbox_captures_read(Oid table, int32 id)
{
	static const Oid types[COLUMNS] = {
		INT4OID,      REGCLASSOID, TEXTOID, TEXTARRAYOID, TEXTARRAYOID,
		TEXTARRAYOID, TEXTOID,     TEXTOID, TEXTOID,      TEXTOID,
		BOOLOID,      TEXTOID,     TEXTOID, TEXTOID,      TEXTOID};
	static const OutboxTableShape shape = {
		.types = types, .columns = COLUMNS, .has_more = true};
	Search search = {.id = id};

	outbox_table_read(table, &shape, look_at, &search);
	return search.found;
}
