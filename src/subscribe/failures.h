/*-------------------------------------------------------------------------
 *
 * failures.h
 *	  What becomes of messages that fail, and of those behind them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_FAILURES_H
#define OUTBOX_FAILURES_H

#include "subscribe/subscriber.h"

/* for the batch, in its transaction */
extern bool outbox_failures_waits(const OutboxMessage *message);
extern void outbox_failures_queue(const OutboxMessage *message);
extern void outbox_failures_park(const OutboxMessage *message,
								 const ErrorData *error);
extern void outbox_failures_condemn(const OutboxMessage *message);
extern void outbox_failures_too_large(const OutboxMessage *message,
									  int64 bytes);

/* for retry_messages.c, likewise */
extern TimestampTz outbox_failures_again(const OutboxMessage *message,
										 const ErrorData *error);
extern void outbox_failures_condemn_parked(const OutboxMessage *message);
extern void outbox_failures_load(void);

/* for the process */
extern void outbox_failures_init(void);
extern bool outbox_failures_run(void);
extern long outbox_failures_timeout_ms(void);
extern void outbox_failures_forget(void);

#endif /* OUTBOX_FAILURES_H */
