/*-------------------------------------------------------------------------
 *
 * task.h
 *	  A task of a relay: what it does in each of its rounds, beside others.
 *
 * A task is one OutboxTask, in the file that does the work, and one line in the
 * table of tasks.c. It is known to guard.c by its address.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_TASK_H
#define OUTBOX_TASK_H

#include "outbox.h"

#include "datatype/timestamp.h"

#include "shared/shmem.h"
#include "sink/sink.h"

struct OutboxStream;

/* In this order: of two answers, the later one is what counts */
typedef enum OutboxTaskResult
{
	OUTBOX_TASK_IDLE,   /* there was nothing to do */
	OUTBOX_TASK_WORKED, /* something has been done, and there may be more */
	OUTBOX_TASK_BUSY,   /* others have locked the tables: again in a moment */
	OUTBOX_TASK_ABSENT  /* the extension is not there (any more) */
} OutboxTaskResult;

/* The answer of a task that has done two things */
static inline OutboxTaskResult
outbox_task_both(OutboxTaskResult first, OutboxTaskResult second)
{
	return Max(first, second);
}

/* What a task is told when it has its turn */
typedef struct OutboxRound
{
	struct OutboxStream *stream;
	const OutboxSinkConfig *config; /* NULL: there are no brokers */
	uint64 position;                /* of the stream, ... */
	uint64 written;                 /* ... and the one on disk */
} OutboxRound;

/* What there must be, or it has no turn */
typedef enum OutboxTaskNeeds
{
	OUTBOX_TASK_NEEDS_NOTHING,
	OUTBOX_TASK_NEEDS_BROKERS,
	/* also a position that can be written, or what is published comes twice */
	OUTBOX_TASK_NEEDS_TO_PUBLISH,
} OutboxTaskNeeds;

/* When it has its turn in a careful life, as crash_note.c calls it */
typedef enum OutboxTaskCare
{
	OUTBOX_TASK_AS_ALWAYS,
	OUTBOX_TASK_BESIDE_NO_STREAM, /* no event of the stream is under way */
	OUTBOX_TASK_WHEN_SETTLED,     /* nothing is, and the position is written */
	OUTBOX_TASK_NOT_AT_ALL,
} OutboxTaskCare;

/* What is known of errors that it has raised; guard.c's */
typedef struct OutboxTaskErrors
{
	int failures; /* one after another */
	bool failing; /* it has not gone well since */
	TimestampTz failed_at;
	TimestampTz not_before;
	TimestampTz busy_until; /* others have locked the tables */
	uint64 suspect;         /* 0 = none */
	int tries;              /* of it alone */
	bool condemned;
	char error[OUTBOX_ERROR_MAX];
} OutboxTaskErrors;

typedef struct OutboxTask
{
	const char *name;   /* what the log says has failed */
	const char *detail; /* what follows from that; NULL = nothing */
	OutboxTaskNeeds needs;
	OutboxTaskCare care;
	bool chore; /* of the database: done by one of its relays (chores.c) */

	/* does what there is to do, and never waits; errors are undone */
	OutboxTaskResult (*run)(const OutboxRound *round);

	/* the others may be NULL */

	/* once, when the relay has attached */
	void (*init)(const OutboxSinkApi *api);
	/* for how long run has nothing to do unless somebody wakes us; -1 = for
	 * ever */
	long (*timeout_ms)(const OutboxRound *round);
	/* run has raised an error, and its transaction has been undone: the same
	 * for what it has noted in memory */
	void (*undo)(const OutboxRound *round);
	/* settings may have changed */
	void (*reload)(void);
	/* the chores have become this relay's: what it remembers of them is old */
	void (*take_over)(void);
	/* waits for what is under way, but not longer than that */
	void (*drain)(const OutboxRound *round, long grace_ms);
	/* its sinks, without waiting; also while the process ends */
	void (*close)(void);

	OutboxTaskErrors errors;
} OutboxTask;

#endif /* OUTBOX_TASK_H */
