/*-------------------------------------------------------------------------
 *
 * handler.h
 *	  The subscription's function.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_HANDLER_H
#define OUTBOX_HANDLER_H

#include "subscribe/subscriber.h"

/* What it says of a message */
typedef enum OutboxVerdict
{
	OUTBOX_VERDICT_DONE,
	OUTBOX_VERDICT_RETRY,   /* to be tried again later */
	OUTBOX_VERDICT_DISCARD, /* done, but without effect */
} OutboxVerdict;

/* in a transaction */
extern void outbox_handler_prepare(void);
extern OutboxVerdict outbox_handler_call(const OutboxMessage *message);
extern void outbox_handler_settle(void);

extern void outbox_handler_undone(ErrorData *error);
extern bool outbox_handler_is_reason(void);

#endif /* OUTBOX_HANDLER_H */
