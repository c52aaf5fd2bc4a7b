/*-------------------------------------------------------------------------
 *
 * subscriber.h
 *	  What the parts of a subscriber know of each other: its subscription, its
 *	  partitions, messages. A subscriber is a process that hands messages of a
 *	  broker to a function of this database; a subscription has one or more.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_SUBSCRIBER_H
#define OUTBOX_SUBSCRIBER_H

#include "outbox.h"

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"

#include "guc.h"

/* beside block_key, skip and halt, which relays have, too */
#define OUTBOX_ON_FAILURE_BLOCK_PARTITION 100

/* A row of outbox.subscription, in a memory context of its own. The policy for
 * failures is in outbox_policy, as a relay's is. */
typedef struct OutboxSubscription
{
	MemoryContext context;
	const char *name;
	int number;
	TimestampTz created_at; /* another one means another subscription */
	List *topics;           /* of char * */
	const char *handler;    /* schema-qualified, with its argument's type */
	Oid role;               /* as which it runs */
	const char *cluster;
	const char *start; /* earliest, latest, or a time */
	int workers;
	int on_failure; /* OutboxOnFailure, or the one above */
	int handler_timeout_ms;
	const char *id_header;         /* NULL = event_id, id, ce_id in turn */
	bool skip_gaps;                /* go on behind what retention has passed */
	const char *dead_letter_topic; /* "" = none */
	const char *group;
	int batch_size; /* messages in a transaction, at most */
	bool paused;
	const char *pause_reason;
} OutboxSubscription;

/* Which of the subscription's workers this process is: partition % workers ==
 * worker is its own */
typedef struct OutboxSubscriber
{
	OutboxSubscription *subscription;
	int worker;
} OutboxSubscriber;

extern OutboxSubscriber outbox_subscriber;

/* One partition that this process reads. Kept until the process ends. */
typedef struct OutboxPartition
{
	char topic[OUTBOX_TOPIC_MAX + 1];
	int32 number;
	int64 next_offset; /* on disk, as far as we know: the fence */
	int64 taken;       /* behind the last one taken into the batch */
	int64 repeat_upto; /* before it, what is known takes effect again */
	int64 end_offset;  /* behind the broker's last one; -1 = not known */
	TimestampTz published_at; /* of the last message that is done */
	bool started;             /* the source reads it */
	bool stale;   /* what is known of its row is not true: read it again */
	bool blocked; /* by a message that has failed: not read meanwhile */
	bool gap;     /* next_offset is not there: not read meanwhile */
} OutboxPartition;

/* A message, copied into the batch's memory, or one that was parked */
typedef struct OutboxMessage
{
	OutboxPartition *partition; /* NULL: one that was parked */
	const char *topic;
	int32 number; /* of the partition */
	int64 offset;
	TimestampTz published_at;
	bytea *key;     /* NULL = none */
	bytea *payload; /* NULL = tombstone */
	Jsonb *headers;
	text *message_id; /* NULL = none but its place */
	int attempt;      /* 1 = the first */
} OutboxMessage;

#endif /* OUTBOX_SUBSCRIBER_H */
