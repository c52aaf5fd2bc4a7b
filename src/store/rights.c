/*-------------------------------------------------------------------------
 *
 * rights.c
 *	  outbox.emit_right: which roles have been granted which topics.
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

#include "store/rights.h"
#include "store/table_writer.h"

#define COLUMN_ROLE  1
#define COLUMN_TOPIC 2
#define COLUMNS      2

/* Raises 55000 if the table has other columns than those that are read. */
static void
check_columns(Relation rel)
{
	TupleDesc columns = RelationGetDescr(rel);

	if (columns->natts != COLUMNS ||
		TupleDescAttr(columns, COLUMN_ROLE - 1)->atttypid != REGROLEOID ||
		TupleDescAttr(columns, COLUMN_TOPIC - 1)->atttypid != TEXTOID)
		outbox_table_writer_refuse(RelationGetRelationName(rel));
}

static OutboxRight *
right_in(TupleTableSlot *slot)
{
	OutboxRight *right = palloc(sizeof(OutboxRight));
	text *topic;

	slot_getallattrs(slot);
	topic = DatumGetTextPP(slot->tts_values[COLUMN_TOPIC - 1]);
	right->role = DatumGetObjectId(slot->tts_values[COLUMN_ROLE - 1]);
	/* the row is in a buffer that is not ours for long */
	right->topic =
		cstring_to_text_with_len(VARDATA_ANY(topic), VARSIZE_ANY_EXHDR(topic));
	return right;
}

/*
 * All rights, as they are now, and as the current transaction has changed
 * them: OutboxRight, in the current context. The lock on the table is not
 * kept, which nobody who grants or revokes stands in the way of.
 */
List *
outbox_rights_read(Oid table)
{
	Relation rel = table_open(table, AccessShareLock);
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TableScanDesc scan;
	List *rights = NIL;

	check_columns(rel);
	scan = table_beginscan(rel, snapshot, 0, NULL);
	while (table_scan_getnextslot(scan, ForwardScanDirection, slot))
		rights = lappend(rights, right_in(slot));
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	return rights;
}
