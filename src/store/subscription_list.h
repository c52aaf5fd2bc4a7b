/*-------------------------------------------------------------------------
 *
 * subscription_list.h
 *	  Which subscriptions the database has.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_SUBSCRIPTION_LIST_H
#define OUTBOX_SUBSCRIPTION_LIST_H

#include "shared/subscribers.h"
#include "store/transaction.h"

extern OutboxStoreStatus
outbox_subscription_list_read(OutboxSubscriptionRows *list);

#endif /* OUTBOX_SUBSCRIPTION_LIST_H */
