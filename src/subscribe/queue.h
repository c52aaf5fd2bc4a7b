/*-------------------------------------------------------------------------
 *
 * queue.h
 *	  Messages that have come, in their order, until they are handled.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_QUEUE_H
#define OUTBOX_QUEUE_H

#include "source/source.h"
#include "subscribe/subscriber.h"

/* A message that waits for its turn */
typedef struct OutboxQueued
{
	OutboxMessage message;
	int64 after;     /* all before that offset is done when its turn comes */
	int64 too_large; /* its bytes, if it is; there is no payload then */
	bool dropped;    /* it is not handled: the partition is read again */
	bool ready;      /* the message has its headers, and its id */
	const OutboxHeader *headers; /* as the broker has them */
	int header_count;
} OutboxQueued;

extern void outbox_queue_add(OutboxPartition *partition,
							 const OutboxSourceMessage *source);
extern bool outbox_queue_is_full(void);
extern int outbox_queue_length(void);
extern OutboxQueued *outbox_queue_at(int place);
extern const OutboxMessage *outbox_queue_message(OutboxQueued *queued);
extern void outbox_queue_remove(int count);
extern void outbox_queue_drop(const OutboxPartition *partition);
extern void outbox_queue_clear(void);

#endif /* OUTBOX_QUEUE_H */
