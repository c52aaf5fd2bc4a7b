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
#include "sink/sink.h"

typedef enum OutboxRoundKind
{
	OUTBOX_ROUND_ALONE,    /* each event is alone in its batch */
	OUTBOX_ROUND_TOGETHER, /* batches are as large as they get */
} OutboxRoundKind;

#define OUTBOX_ROUND_KINDS 2

extern void outbox_round_init(OutboxDatabase *db, const char *relay,
							  const OutboxSinkApi *api);
extern void outbox_round_begin(OutboxRoundKind kind,
							   const OutboxSinkConfig *config);
extern bool outbox_round_send(const OutboxEvent *event,
							  OutboxBlockEntry *entry);
extern void outbox_round_sent(void);
extern int outbox_round_room(void);
extern bool outbox_round_is_under_way(void);
extern bool outbox_round_is_empty(void);
extern bool outbox_round_is_answered(void);
extern bool outbox_round_poll(void);
extern bool outbox_round_is_waiting(void);
extern long outbox_round_timeout_ms(void);
extern OutboxStoreStatus outbox_round_end(uint64 position, bool *sink_ended);
extern void outbox_round_close(void);

#endif /* OUTBOX_RETRY_BATCH_H */
