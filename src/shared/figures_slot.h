/*-------------------------------------------------------------------------
 *
 * figures_slot.h
 *	  What is counted of a relay, as it lies in shared memory; figures.c tells
 *	  how it is written and read.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_FIGURES_SLOT_H
#define OUTBOX_FIGURES_SLOT_H

#include "outbox.h"

#include "datatype/timestamp.h"
#include "port/atomics.h"

#include "shared/histogram.h"
#include "sink/kind.h"
#include "sink/sink.h"

/* topics that are counted apart; what is of others is summed up */
#define OUTBOX_FIGURES_TOPICS 100

/* how far back the rate looks, and how often it is noted what it needs */
#define OUTBOX_RATE_S         10
#define OUTBOX_RATE_MARKS     16

typedef struct OutboxTopicFigures
{
	char name[OUTBOX_TOPIC_MAX + 1]; /* "" = all others */
	uint64 published;
	uint64 bytes; /* of key, payload and headers */
	uint64 failures;
	uint64 dead_letters;
	TimestampTz published_at; /* the last one; 0 = none */
	TimestampTz failed_at;
} OutboxTopicFigures;

/* So many events had been published then */
typedef struct OutboxRateMark
{
	TimestampTz at;
	uint64 published;
} OutboxRateMark;

/* Since reset_at; all but the sink's and the rate's only grow. */
typedef struct OutboxFigures
{
	TimestampTz reset_at;
	uint32 reset; /* which wish for that this has been */
	uint64 published;
	uint64 bytes;
	uint64 failures[OUTBOX_FAILURES]; /* attempts, by OutboxFailure */
	uint64 dead_letters;              /* made */
	uint64 expired;                   /* of these */
	OutboxHistogram commit_to_ack;
	OutboxHistogram sent_to_ack;
	uint32 marks; /* made; they are a ring */
	OutboxRateMark mark[OUTBOX_RATE_MARKS];
	uint64 queue_events; /* that the stream's sink has, sent or not */
	uint64 queue_bytes;  /* of memory for these and what waits for them */
	OutboxSinkStatistics sink;
	TimestampTz sink_at; /* 0 = it has told none */
	int topics;          /* without the first one, which is all others */
	OutboxTopicFigures topic[OUTBOX_FIGURES_TOPICS + 1];
} OutboxFigures;

/* A place for the figures of one relay. Those of a relay that has ended stay
 * until another one needs the place. */
typedef struct OutboxFiguresSlot
{
	/* whose they are; guarded by outbox_shmem->lock */
	Oid dbid;               /* InvalidOid = the place is free */
	TimestampTz created_at; /* of the relay */
	char relay[NAMEDATALEN];
	int pid; /* 0 = it does not run */
	TimestampTz left_at;

	pg_atomic_uint32 resets;    /* how often they were to begin anew */
	pg_atomic_uint64 resets_at; /* the last time */
	pg_atomic_uint32 changes;   /* odd while the relay writes what follows */
	OutboxFigures figures;
} OutboxFiguresSlot;

#endif /* OUTBOX_FIGURES_SLOT_H */
