/*-------------------------------------------------------------------------
 *
 * work.h
 *	  The transactions of a subscriber, and what it does with a message in one.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_WORK_H
#define OUTBOX_WORK_H

#include "subscribe/subscriber.h"

/* What has become of a transaction */
typedef enum OutboxWorkResult
{
	OUTBOX_WORK_DONE,   /* committed */
	OUTBOX_WORK_UNDONE, /* rolled back, as its body has asked for */
	OUTBOX_WORK_BUSY,   /* others have locked what it needs: again soon */
	OUTBOX_WORK_AGAIN,  /* rolled back, in favour of another one: again */
	OUTBOX_WORK_FAILED, /* rolled back: an error of a message's handler, or of
						 * what these have left for the end */
} OutboxWorkResult;

/* What is done in a transaction; false = it is to be rolled back */
typedef bool (*OutboxWorkBody)(void *arg);

/* What has become of a message */
typedef enum OutboxOutcome
{
	OUTBOX_HANDLED,   /* the handler has done its work */
	OUTBOX_REPEATED,  /* it had been received before: nothing is done */
	OUTBOX_DISCARDED, /* nothing is to be done, the handler says */
	OUTBOX_FAILED,    /* an error, or the handler asks for another attempt */
} OutboxOutcome;

extern OutboxWorkResult outbox_work_run(const char *activity,
										OutboxWorkBody body, void *arg,
										ErrorData **error);

/* in such a transaction */
extern OutboxOutcome outbox_work_handle(const OutboxMessage *message);
extern OutboxOutcome outbox_work_attempt(const OutboxMessage *message,
										 bool patient, ErrorData **error);

#endif /* OUTBOX_WORK_H */
