/*-------------------------------------------------------------------------
 *
 * table_reader.c
 *	  Reads small tables of ours in a transaction of the application, with
 *	  nobody's privileges but the library's own: so not by SQL.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/table.h"
#include "access/tableam.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "store/table_reader.h"
#include "store/table_writer.h"

/* Raises 55000 if the table has other columns than those that are read. */
static void
check_columns(Relation rel, const OutboxTableShape *shape)
{
	TupleDesc columns = RelationGetDescr(rel);
	bool fits = shape->has_more ? columns->natts >= shape->columns
								: columns->natts == shape->columns;

	for (int i = 0; fits && i < shape->columns; i++)
		fits = TupleDescAttr(columns, i)->atttypid == shape->types[i];
	if (!fits)
		outbox_table_writer_refuse(RelationGetRelationName(rel));
}

/*
 * Gives all rows to the consumer, as they are now, and as the current
 * transaction has changed them. The lock on the table is not kept, which nobody
 * who writes to it stands in the way of.
 */
void
outbox_table_read(Oid table, const OutboxTableShape *shape,
				  OutboxRowConsumer consumer, void *arg)
{
	Relation rel = table_open(table, AccessShareLock);
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	TableScanDesc scan;
	bool more = true;

	check_columns(rel, shape);
	scan = table_beginscan(rel, snapshot, 0, NULL);
	while (more && table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		slot_getallattrs(slot);
		more = consumer(slot, arg);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
}
