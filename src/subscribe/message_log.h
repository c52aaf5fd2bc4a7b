/*-------------------------------------------------------------------------
 *
 * message_log.h
 *	  Lines of the log that are about one message.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_MESSAGE_LOG_H
#define OUTBOX_MESSAGE_LOG_H

#include "subscribe/subscriber.h"

/* what becomes of most of them */
#define OUTBOX_MESSAGE_LOG_FAILED "has failed, and is tried again"
#define OUTBOX_MESSAGE_LOG_DEAD   "is a dead letter"

extern void outbox_message_log(const OutboxMessage *message, const char *what,
							   const char *why);

#endif /* OUTBOX_MESSAGE_LOG_H */
