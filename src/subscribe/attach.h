/*-------------------------------------------------------------------------
 *
 * attach.h
 *	  How a subscriber finds its subscription.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_SUBSCRIBE_ATTACH_H
#define OUTBOX_SUBSCRIBE_ATTACH_H

#include "shared/shmem.h"
#include "store/transaction.h"

extern OutboxLaunchState outbox_subscriber_attach(void);
extern OutboxStoreStatus outbox_subscriber_look(OutboxLaunchState *state);

#endif /* OUTBOX_SUBSCRIBE_ATTACH_H */
