/*-------------------------------------------------------------------------
 *
 * places.h
 *	  Where partitions are begun, and where they go on.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_PLACES_H
#define OUTBOX_PLACES_H

#include "source/source.h"
#include "subscribe/partitions.h"

extern OutboxStoreStatus outbox_places_run(bool *worked);
extern bool outbox_places_ask(const OutboxPartition *partition,
							  OutboxSourcePlace *place, int64 *time_ms);

#endif /* OUTBOX_PLACES_H */
