/*-------------------------------------------------------------------------
 *
 * incoming.h
 *	  A message, from what the broker has to what a handler is given.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_INCOMING_H
#define OUTBOX_INCOMING_H

#include "source/source.h"
#include "subscribe/subscriber.h"

extern bool outbox_incoming_fits(const OutboxSourceMessage *source);
extern TimestampTz outbox_incoming_time(int64 timestamp_ms);

/* in a transaction */
extern Oid outbox_incoming_type(void);
extern void outbox_incoming_prepare(MemoryContext context);
extern void outbox_incoming_set_headers(OutboxMessage *message,
										const OutboxHeader *headers,
										int count);
extern text *outbox_incoming_key(const OutboxMessage *message);
extern Datum outbox_incoming_datum(const OutboxMessage *message);

#endif /* OUTBOX_INCOMING_H */
