/*-------------------------------------------------------------------------
 *
 * batch.h
 *	  Messages that have come, until they are handled.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_BATCH_H
#define OUTBOX_BATCH_H

#include "source/source.h"
#include "subscribe/subscriber.h"

extern void outbox_batch_add(OutboxPartition *partition,
							 const OutboxSourceMessage *source);
extern bool outbox_batch_is_full(void);
extern bool outbox_batch_run(void);
extern long outbox_batch_timeout_ms(void);
extern void outbox_batch_forget(void);

#endif /* OUTBOX_BATCH_H */
