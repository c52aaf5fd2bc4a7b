/*-------------------------------------------------------------------------
 *
 * segment.h
 *	  The ring of tables that hold the events, and which is written to.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_SEGMENT_H
#define OUTBOX_SEGMENT_H

#include "outbox.h"

#include "datatype/timestamp.h"
#include "utils/relcache.h"

#include "shared/shmem.h"

/* What a segment holds; ids are 0 if it is empty */
typedef struct OutboxSegmentBounds
{
	uint64 first_id;
	uint64 last_id;
	TimestampTz first_at; /* when these two were emitted */
	TimestampTz last_at;
} OutboxSegmentBounds;

extern Oid outbox_segment_relation(const char *prefix, int segment);
extern bool outbox_segment_open(int segment, Relation *rel, Relation *index);
extern bool outbox_segment_is_quiet(int segment);
extern int outbox_segment_current(OutboxDatabase *db);
extern Oid outbox_segment_lock_current(OutboxDatabase *db);
extern uint32 outbox_segment_turn(OutboxDatabase *db);
extern void outbox_segment_switch(OutboxDatabase *db, uint32 turn,
								  int segment);
extern bool outbox_segment_bounds(int segment, OutboxSegmentBounds *bounds);

#endif /* OUTBOX_SEGMENT_H */
