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
#include "nodes/execnodes.h"
#include "utils/relcache.h"

typedef struct OutboxTableWriter OutboxTableWriter;

extern void outbox_table_writer_refuse(const char *table);
extern void outbox_table_writer_check(Relation rel, TupleDesc columns);
extern bool outbox_table_writer_is_our_trigger(const char *name);
extern bool outbox_table_writer_has_triggers(Relation rel);
extern ResultRelInfo *outbox_table_writer_rel_info(Relation rel,
												   bool with_triggers);
extern struct TransitionCaptureState *
outbox_table_writer_fire_before(EState *estate, ResultRelInfo *rel_info,
								TupleTableSlot **slots, int count);
extern void
outbox_table_writer_fire_after(EState *estate, ResultRelInfo *rel_info,
							   TupleTableSlot **slots, int count,
							   struct TransitionCaptureState *capture);
extern void outbox_table_writer_free(EState *estate);
extern OutboxTableWriter *outbox_table_writer_begin(Oid table,
													TupleDesc columns);
extern void outbox_table_writer_add(OutboxTableWriter *writer,
									HeapTuple tuple);
extern void outbox_table_writer_end(OutboxTableWriter *writer);

#endif /* OUTBOX_TABLE_WRITER_H */
