/*-------------------------------------------------------------------------
 *
 * dead_messages.h
 *	  Messages that are not tried again, and copies of them for a topic.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_DEAD_MESSAGES_H
#define OUTBOX_DEAD_MESSAGES_H

#include "store/inbox_parked.h"

/* Where the message is that becomes a dead letter */
typedef enum OutboxDeadFrom
{
	OUTBOX_DEAD_FROM_BATCH,
	OUTBOX_DEAD_FROM_PARKED,
	OUTBOX_DEAD_FROM_TOPIC, /* it is too large to be here */
} OutboxDeadFrom;

extern void outbox_dead_message(const OutboxMessage *message,
								const OutboxInboxFailure *failure,
								OutboxDeadFrom from);

#endif /* OUTBOX_DEAD_MESSAGES_H */
