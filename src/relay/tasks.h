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

extern void outbox_tasks_init(OutboxStream *relay_stream);
extern OutboxTaskResult outbox_tasks_round(void);
extern long outbox_tasks_timeout_ms(void);
extern OutboxTaskResult outbox_tasks_wind_up(void);

#endif /* OUTBOX_TASKS_H */
