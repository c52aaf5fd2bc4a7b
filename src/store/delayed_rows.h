/*-------------------------------------------------------------------------
 *
 * delayed_rows.h
 *	  The SQL on outbox.delayed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_DELAYED_ROWS_H
#define OUTBOX_DELAYED_ROWS_H

#include "datatype/timestamp.h"

#include "store/statement.h"

/* A place in the order in which events are due */
typedef struct OutboxDelayedPlace
{
	TimestampTz due;
	int64 id;
} OutboxDelayedPlace;

extern bool outbox_delayed_rows_first(OutboxDelayedPlace from,
									  OutboxDelayedPlace *first);
extern uint64 outbox_delayed_rows_take(OutboxDelayedPlace from,
									   TimestampTz now, int64 limit,
									   OutboxEventConsumer consumer,
									   void *arg);

#endif /* OUTBOX_DELAYED_ROWS_H */
