/*-------------------------------------------------------------------------
 *
 * retry_batch.h
 *	  One round of attempts to publish parked events.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_RETRY_BATCH_H
#define OUTBOX_RETRY_BATCH_H

#include "retry/retry_outcome.h"
#include "sink/sender.h"

typedef enum OutboxRetryBatchKind
{
	OUTBOX_RETRY_BATCH_ALONE,    /* each event is alone in its batch */
	OUTBOX_RETRY_BATCH_TOGETHER, /* batches are as large as they get */
} OutboxRetryBatchKind;

#define OUTBOX_RETRY_BATCH_KINDS 2

extern void outbox_retry_batch_init(const OutboxSinkApi *api);
extern void outbox_retry_batch_begin(OutboxRetryBatchKind kind,
									 const OutboxSinkConfig *config);
extern bool outbox_retry_batch_send(const OutboxEvent *event,
									OutboxBlockedKey *entry);
extern void outbox_retry_batch_sent(void);
extern int outbox_retry_batch_room(void);
extern bool outbox_retry_batch_is_under_way(void);
extern bool outbox_retry_batch_is_empty(void);
extern bool outbox_retry_batch_is_answered(void);
extern bool outbox_retry_batch_poll(void);
extern bool outbox_retry_batch_is_waiting(void);
extern long outbox_retry_batch_timeout_ms(void);
extern OutboxStoreStatus outbox_retry_batch_end(uint64 position,
												bool *sink_ended);
extern void outbox_retry_batch_close(void);

#endif /* OUTBOX_RETRY_BATCH_H */
