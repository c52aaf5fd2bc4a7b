/*-------------------------------------------------------------------------
 *
 * retry_outcome.h
 *	  One attempt to publish a parked event, and what becomes of it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_RETRY_OUTCOME_H
#define OUTBOX_RETRY_OUTCOME_H

#include "retry/blocked_keys.h"

typedef enum OutboxAttemptState
{
	OUTBOX_ATTEMPT_SENT,
	OUTBOX_ATTEMPT_DELIVERED,
	OUTBOX_ATTEMPT_RETURNED, /* not tried, because another one failed */
	OUTBOX_ATTEMPT_FAILED,
} OutboxAttemptState;

/* One event of the round */
typedef struct OutboxAttempt
{
	uint64 id;
	OutboxBlockedKey *entry;
	OutboxAttemptState state;
	int attempts; /* before this one */
	OutboxFailure failure;
	bool uncounted; /* the failure may last, and is no attempt */
	char *error;    /* of the failure; NULL = none */
	char *topic;
	char *name;  /* for the log */
	uint32 size; /* of what consumers see */
	/* when it was emitted and handed over, and how long brokers have taken */
	TimestampTz emitted_at;
	TimestampTz sent_at;
	int64 sent_us;
} OutboxAttempt;

extern OutboxStoreStatus
outbox_retry_outcome_note_deliveries(OutboxAttempt *attempts, int count,
									 uint64 position);
extern void outbox_retry_outcome_blame(OutboxAttempt *attempts, int count,
									   const OutboxSinkEvent *answer,
									   bool silent);
extern bool outbox_retry_outcome_all_blamed(const OutboxAttempt *attempts,
											int count);
extern void outbox_retry_outcome_judge(const OutboxAttempt *attempts,
									   int count, uint32 round, bool alone);
extern void outbox_retry_outcome_suspect(OutboxAttempt *attempts, int count);
extern OutboxStoreStatus
outbox_retry_outcome_note_failures(OutboxAttempt *attempts, int count);

#endif /* OUTBOX_RETRY_OUTCOME_H */
