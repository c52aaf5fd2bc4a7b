/*-------------------------------------------------------------------------
 *
 * subscriber.h
 *	  The process that hands messages of a broker to a function of this
 *	  database.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_SUBSCRIBER_H
#define OUTBOX_SUBSCRIBER_H

#include <signal.h>

#include "shared/subscription.h"

/* Which of the subscription's workers this process is: partition % workers ==
 * worker is its own */
typedef struct OutboxSubscriber
{
	OutboxSubscription *subscription;
	int worker;
	volatile sig_atomic_t asked_to_end; /* by SIGTERM */
} OutboxSubscriber;

extern OutboxSubscriber outbox_subscriber;

#endif /* OUTBOX_SUBSCRIBER_H */
