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

typedef struct OutboxRowWriter OutboxRowWriter;

extern void outbox_rows_refuse(const char *table);
extern void outbox_rows_check(Relation rel, TupleDesc columns);
extern bool outbox_rows_is_our_trigger(const char *name);
extern OutboxRowWriter *outbox_rows_begin(Oid table, TupleDesc columns);
extern void outbox_rows_add(OutboxRowWriter *writer, HeapTuple tuple);
extern void outbox_rows_end(OutboxRowWriter *writer);

#endif /* OUTBOX_TABLE_WRITER_H */
