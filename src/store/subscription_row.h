/*-------------------------------------------------------------------------
 *
 * subscription_row.h
 *	  This subscriber's own row in outbox.subscription.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_SUBSCRIPTION_ROW_H
#define OUTBOX_SUBSCRIPTION_ROW_H

#include "shared/subscription.h"
#include "store/transaction.h"

extern OutboxStoreStatus
outbox_subscription_row_read(const char *name,
							 OutboxSubscription **subscription);

#endif /* OUTBOX_SUBSCRIPTION_ROW_H */
