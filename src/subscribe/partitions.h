/*-------------------------------------------------------------------------
 *
 * partitions.h
 *	  Which partitions there are, and from where each is read.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_PARTITIONS_H
#define OUTBOX_PARTITIONS_H

#include "subscribe/subscriber.h"

/* for who has messages in hand: the batch, and failures */
extern OutboxPartition *outbox_partition_find(const char *topic, int32 number);
extern void outbox_partition_rewind(OutboxPartition *partition);
extern void outbox_partition_outdated(OutboxPartition *partition);
extern void outbox_partition_block(OutboxPartition *partition, bool blocked);

#endif /* OUTBOX_PARTITIONS_H */
