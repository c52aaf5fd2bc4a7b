/*-------------------------------------------------------------------------
 *
 * tasks.h
 *	  The rounds of a relay's work.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_TASKS_H
#define OUTBOX_TASKS_H

#include "publish/stream.h"
#include "shared/task.h"

extern void outbox_tasks_init(OutboxStream *stream);
extern OutboxTaskResult outbox_tasks_round(const OutboxSinkConfig *config);
extern long outbox_tasks_due_ms(const OutboxSinkConfig *config);
extern long outbox_tasks_timeout_ms(long due_ms);
extern void outbox_tasks_reload(void);
extern void outbox_tasks_drain(long grace_ms);
extern void outbox_tasks_close(void);
extern OutboxTaskResult outbox_tasks_wind_up(void);

#endif /* OUTBOX_TASKS_H */
