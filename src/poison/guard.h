/*-------------------------------------------------------------------------
 *
 * guard.h
 *	  What becomes of an error in one of a relay's tasks.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_GUARD_H
#define OUTBOX_GUARD_H

#include "shared/task.h"

extern OutboxTaskResult outbox_guard_run(OutboxTask *task,
										 const OutboxRound *round);
extern bool outbox_guard_is_failing(const OutboxTask *task);
extern long outbox_guard_timeout_ms(const OutboxTask *task, long timeout_ms);
extern void outbox_guard_forget(OutboxTask *task);

/* for the task that has its turn, of itself */
extern bool outbox_guard_may_be_event(int sqlerrcode);
extern uint64 outbox_guard_suspect(void);
extern uint64 outbox_guard_condemned(const char **error);
extern void outbox_guard_acquit(void);

#endif /* OUTBOX_GUARD_H */
