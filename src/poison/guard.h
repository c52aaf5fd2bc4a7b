/*-------------------------------------------------------------------------
 *
 * guard.h
 *	  What becomes of an error in one of a relay's tasks.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_GUARD_H
#define OUTBOX_GUARD_H

#include "shared/shmem.h"

/* What a relay does in each of its rounds */
typedef enum OutboxTask
{
	OUTBOX_TASK_NONE = 0, /* an error ends the process */
	OUTBOX_TASK_ANSWERS,
	OUTBOX_TASK_SETTLE,
	OUTBOX_TASK_RETRY,
	OUTBOX_TASK_DEAD_LETTERS,
	OUTBOX_TASK_PAGE,
	OUTBOX_TASK_POSITION,
	OUTBOX_TASK_DELAYED,
	OUTBOX_TASK_REPLAY,
	OUTBOX_TASK_STORAGE,
	OUTBOX_TASKS
} OutboxTask;

extern bool outbox_guard_enter(OutboxTask task);
extern void outbox_guard_busy(void);
extern OutboxTask outbox_guard_failed(void);
extern bool outbox_guard_may_be_event(int sqlerrcode);
extern bool outbox_guard_is_failing(OutboxTask task);
extern uint64 outbox_guard_suspect(OutboxTask task);
extern uint64 outbox_guard_condemned(OutboxTask task, const char **error);
extern void outbox_guard_acquit(OutboxTask task);
extern long outbox_guard_timeout_ms(OutboxTask task, long timeout_ms);
extern void outbox_guard_forget(void);

#endif /* OUTBOX_GUARD_H */
