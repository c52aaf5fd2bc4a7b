/*-------------------------------------------------------------------------
 *
 * failure.h
 *	  What becomes of an event that has failed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_FAILURE_H
#define OUTBOX_FAILURE_H

#include "store/parked.h"

typedef enum OutboxFate
{
	OUTBOX_FATE_AGAIN, /* it is as if it had not been tried */
	OUTBOX_FATE_RETRY,
	OUTBOX_FATE_DEAD,
	OUTBOX_FATE_TOPIC_DEAD, /* so is all that is parked of its topic */
} OutboxFate;

/* An attempt to publish an event that has failed */
typedef struct OutboxFailedAttempt
{
	OutboxFailure failure;
	const char *error;
	int attempts;   /* that have been counted before this one */
	bool uncounted; /* the failure may last, and is no attempt */
	bool parked;    /* the event is; else it comes from the stream */
} OutboxFailedAttempt;

extern OutboxFate outbox_failure_fate(const OutboxFailedAttempt *attempt);
extern OutboxFate outbox_failure_reason(const OutboxFailedAttempt *attempt,
										OutboxParkReason *reason);
extern OutboxBlockScope outbox_failure_scope(const OutboxParkReason *reason,
											 bool has_key);

#endif /* OUTBOX_FAILURE_H */
