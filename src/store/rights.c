/*-------------------------------------------------------------------------
 *
 * rights.c
 *	  outbox.emit_right: which roles have been granted which topics.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "store/rights.h"
#include "store/table_reader.h"

/* columns, in their order in the table */
enum
{
	COLUMN_ROLE,
	COLUMN_TOPIC,
	COLUMNS
};

/* Adds a row to the list. */
static bool
add_right(TupleTableSlot *row, void *arg)
{
	List **rights = arg;
	OutboxRight *right = palloc(sizeof(OutboxRight));

	right->role = DatumGetObjectId(row->tts_values[COLUMN_ROLE]);
	right->topic = DatumGetTextPCopy(row->tts_values[COLUMN_TOPIC]);
	*rights = lappend(*rights, right);
	return true;
}

/* All rights, as outbox_table_read() reads them: OutboxRight, in the current
 * context */
List *
outbox_rights_read(Oid table)
{
	static const Oid types[COLUMNS] = {REGROLEOID, TEXTOID};
	static const OutboxTableShape shape = {.types = types, .columns = COLUMNS};
	List *rights = NIL;

	outbox_table_read(table, &shape, add_right, &rights);
	return rights;
}
