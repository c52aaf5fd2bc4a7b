/*-------------------------------------------------------------------------
 *
 * event_receiver.h
 *	  Events as a query finds them, one by one.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_EVENT_RECEIVER_H
#define OUTBOX_EVENT_RECEIVER_H

#include "event.h"
#include "store/statement.h"

/* in a transaction of its own */
extern OutboxStoreStatus outbox_store_read(const char *activity,
										   OutboxStatement *statement,
										   Datum *values,
										   OutboxEventConsumer consumer,
										   void *arg, uint64 *rows);

/* in the current transaction */
extern uint64 outbox_store_stream(OutboxStatement *statement, Datum *values,
								  const char *nulls,
								  OutboxEventConsumer consumer, void *arg);
extern uint64 outbox_store_stream_page(OutboxStatement *statement,
									   Datum *values, int limit,
									   const OutboxPageReader *reader);

#endif /* OUTBOX_EVENT_RECEIVER_H */
