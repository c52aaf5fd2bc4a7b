/*-------------------------------------------------------------------------
 *
 * table_writer.h
 *	  Writes rows into one of our tables.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_TABLE_WRITER_H
#define OUTBOX_TABLE_WRITER_H

#include "outbox.h"

#include "access/htup.h"
#include "access/tupdesc.h"
#include "utils/relcache.h"

typedef struct OutboxTableWriter OutboxTableWriter;

extern void outbox_table_writer_refuse(const char *table);
extern void outbox_table_writer_check(Relation rel, TupleDesc columns);
extern bool outbox_table_writer_is_our_trigger(const char *name);
extern OutboxTableWriter *outbox_table_writer_begin(Oid table,
													TupleDesc columns);
extern void outbox_table_writer_add(OutboxTableWriter *writer,
									HeapTuple tuple);
extern void outbox_table_writer_end(OutboxTableWriter *writer);

#endif /* OUTBOX_TABLE_WRITER_H */
