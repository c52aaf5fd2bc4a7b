/*-------------------------------------------------------------------------
 *
 * span.h
 *	  What one transaction does with messages from the queue.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_SPAN_H
#define OUTBOX_SPAN_H

#include "subscribe/subscriber.h"
#include "subscribe/work.h"

/* How messages are handled; see batch.c */
typedef enum OutboxManner
{
	OUTBOX_TOGETHER,
	OUTBOX_APART,
	OUTBOX_ALONE,
} OutboxManner;

/* To where a partition is moved */
typedef struct OutboxMove
{
	OutboxPartition *partition;
	int64 after; /* from where */
	int64 next;
	TimestampTz published_at;
} OutboxMove;

/* What a transaction is to do, and what has come of it */
typedef struct OutboxSpan
{
	OutboxManner manner;
	int length; /* from the first message of the queue on */
	bool patient;
	const ErrorData *reason; /* why the message is to be parked */
	bool condemned;          /* it has ended the process each time */
	OutboxMove *moves;
	int move_count;
	OutboxPartition *outdated;
	int64 handled;
	int64 repeated;
	int64 failed;
} OutboxSpan;

extern OutboxWorkResult outbox_span_run(OutboxSpan *span, ErrorData **error);

#endif /* OUTBOX_SPAN_H */
