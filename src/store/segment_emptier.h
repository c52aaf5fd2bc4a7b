/*-------------------------------------------------------------------------
 *
 * segment_emptier.h
 *	  Empties a segment.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_SEGMENT_EMPTIER_H
#define OUTBOX_SEGMENT_EMPTIER_H

#include "shared/segment.h"
#include "store/statement.h"

extern OutboxStoreStatus outbox_segment_emptier_lock(int segment,
													 Oid *position_table);
extern OutboxStoreStatus
outbox_segment_emptier_run(int segment, const OutboxSegmentBounds *bounds);

#endif /* OUTBOX_SEGMENT_EMPTIER_H */
