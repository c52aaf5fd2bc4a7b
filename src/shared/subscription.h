/*-------------------------------------------------------------------------
 *
 * subscription.h
 *	  What the parts of a subscriber know of each other, and what the store
 *	  reads and writes for them: its subscription, its partitions, messages. A
 *	  subscriber is a process that hands messages of a broker to a function of
 *	  this database; a subscription has one or more.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_SUBSCRIPTION_H
#define OUTBOX_SUBSCRIPTION_H

#include "outbox.h"

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "storage/itemptr.h"
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

/* Why a partition waits for an offset that the brokers are asked for */
typedef enum OutboxQuestion
{
	OUTBOX_QUESTION_NONE,
	OUTBOX_QUESTION_START, /* where the subscription begins */
	OUTBOX_QUESTION_SEEK,  /* where outbox.seek() wants to be */
	OUTBOX_QUESTION_FIRST, /* what is out of range: are the first ones gone, */
	OUTBOX_QUESTION_END,   /* ... or is the end before it? */
	OUTBOX_QUESTION_SKIP,  /* where it goes on behind a gap */
} OutboxQuestion;

/*
 * A partition of one of the topics, be it this worker's or another's. Kept
 * until the process ends.
 *
 * Who hands over messages of the batch sets next_offset and published_at when
 * that is committed, and says if they are dropped instead
 * (outbox_partition_rewind()). All else is written by partitions.c, places.c
 * and intake.c.
 */
typedef struct OutboxPartition
{
	char topic[OUTBOX_TOPIC_MAX + 1];
	int32 number;

	/* its row in outbox.subscription_offset, as far as we know it */
	int64 next_offset;        /* the fence; -1 = there is no row yet */
	int64 repeat_upto;        /* before it, what is known takes effect again */
	TimestampTz published_at; /* of the last message that is done; or 0 */
	int64 end_written;        /* end_offset; -1 = null */
	char *gap;                /* what is missing; NULL = nothing */
	char *seek;               /* where to go on instead; NULL = nowhere */
	ItemPointerData version;  /* of the row, the last one */

	int64 taken;          /* behind the last one taken into the batch */
	TimestampTz in_hand;  /* when the first one in it was published; or 0 */
	int64 end_offset;     /* behind the brokers' last one; -1 = not known */
	int64 end_reached;    /* there is nothing before that any more */
	int64 told;           /* next_offset, as the brokers know it */
	bool own;             /* this worker's, of a topic that is read */
	bool stale;           /* the row is to be read again */
	bool blocked;         /* by a message that has failed: not read */
	bool reading;         /* the source does, ... */
	bool started;         /* ... from where it should */
	bool troubled;        /* the brokers refuse it, for now */
	bool beyond;          /* it was out of range at the end, just now */
	TimestampTz retry_at; /* not before that it is started, or asked for */
	OutboxQuestion question;
	bool asked;         /* the source, and it has not answered yet */
	bool ignore_answer; /* it is to a question from before */
	int64 answer;       /* -1 = none yet */
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

#endif /* OUTBOX_SUBSCRIPTION_H */
