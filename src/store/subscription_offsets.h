/*-------------------------------------------------------------------------
 *
 * subscription_offsets.h
 *	  The SQL on outbox.subscription_offset, how far subscriptions are.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_SUBSCRIPTION_OFFSETS_H
#define OUTBOX_SUBSCRIPTION_OFFSETS_H

#include "shared/subscription.h"
#include "store/transaction.h"

/* A row, valid during the transaction in which it is read */
typedef struct OutboxOffsetRow
{
	const char *topic;
	int32 partition;
	int64 next_offset;
	int64 repeat_upto;
	int64 end_offset;         /* -1 = null */
	TimestampTz published_at; /* 0 = null */
	const char *gap;          /* NULL = null; seek, too */
	const char *seek;
	ItemPointerData version;
} OutboxOffsetRow;

typedef void (*OutboxOffsetConsumer)(const OutboxOffsetRow *row, void *arg);

/* in the current transaction, as the superuser, which the caller sees to */
extern bool outbox_offsets_move(const char *subscription,
								OutboxPartition *partition, int64 next,
								TimestampTz published_at);

/* in transactions of their own */
extern OutboxStoreStatus outbox_offsets_read(const char *subscription,
											 OutboxOffsetConsumer consumer,
											 void *arg);
extern OutboxStoreStatus outbox_offsets_begin_topic(const char *subscription,
													const char *topic,
													const int64 *offsets,
													int count);
extern OutboxStoreStatus outbox_offsets_go_on(const char *subscription,
											  OutboxPartition *partition,
											  int64 next);
extern OutboxStoreStatus outbox_offsets_note_gap(const char *subscription,
												 OutboxPartition *partition,
												 const char *gap);
extern OutboxStoreStatus outbox_offsets_catch_up(const char *subscription,
												 List *partitions);

#endif /* OUTBOX_SUBSCRIPTION_OFFSETS_H */
