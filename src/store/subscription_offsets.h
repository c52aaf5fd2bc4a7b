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

/* in the current transaction, as the superuser, which the caller sees to */
extern bool outbox_offsets_move(const char *subscription,
								OutboxPartition *partition, int64 next,
								TimestampTz published_at);

#endif /* OUTBOX_SUBSCRIPTION_OFFSETS_H */
