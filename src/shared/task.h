/*-------------------------------------------------------------------------
 *
 * task.h
 *	  What a task of a relay answers when it has had its turn.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_TASK_H
#define OUTBOX_TASK_H

#include "outbox.h"

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

#endif /* OUTBOX_TASK_H */
