/*-------------------------------------------------------------------------
 *
 * parked.h
 *	  outbox.parked as the relay reads and writes it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_PARKED_H
#define OUTBOX_PARKED_H

#include "sink/sink.h"
#include "store/statement.h"

/* What is kept from being published */
typedef enum OutboxBlockScope
{
	OUTBOX_BLOCK_TOPIC,
	OUTBOX_BLOCK_KEY,
	OUTBOX_BLOCK_EVENT, /* all events together that block no other */
} OutboxBlockScope;

/* A block as the table tells it; what it points to is valid in the call */
typedef struct OutboxBlock
{
	OutboxBlockScope scope;
	const char *topic;
	uint64 key_hash[2]; /* of OUTBOX_BLOCK_KEY; keys may be long, and many */
	int64 rows;
	int64 queued;             /* of these, without a time */
	TimestampTz next_attempt; /* of the others; 0 = there are none */
	bool paused;              /* a topic of which nothing is tried */
} OutboxBlock;

typedef void (*OutboxBlockConsumer)(const OutboxBlock *block);

/* Why an event is parked */
typedef struct OutboxParkReason
{
	OutboxFailure failure;
	const char *error;
	bool dead;
	bool blocking;
	int attempts;
	TimestampTz next_attempt;
} OutboxParkReason;

extern const char *outbox_parked_class(OutboxFailure failure);
extern OutboxStoreStatus outbox_parked_load(const char *relay,
											OutboxBlockConsumer consumer);
extern OutboxStoreStatus outbox_parked_beyond(const char *relay,
											  uint64 position, uint64 **ids,
											  int *count);
extern OutboxStoreStatus outbox_parked_read(const char *relay,
											const OutboxBlock *block,
											uint64 upto, int limit,
											OutboxEventConsumer consumer,
											void *arg, uint64 *rows);
extern OutboxStoreStatus outbox_parked_read_all(const char *relay,
												OutboxEventConsumer consumer,
												void *arg);
extern OutboxStoreStatus outbox_parked_unblock_topic(const char *relay,
													 const char *topic);
extern OutboxStoreStatus outbox_parked_failed(const char *relay, uint64 id,
											  const OutboxParkReason *reason);

#endif /* OUTBOX_PARKED_H */
