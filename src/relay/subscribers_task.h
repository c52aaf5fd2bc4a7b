/*-------------------------------------------------------------------------
 *
 * subscribers_task.h
 *	  The task that tells everybody which subscriptions there are.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_SUBSCRIBERS_TASK_H
#define OUTBOX_SUBSCRIBERS_TASK_H

#include "shared/task.h"

extern OutboxTask outbox_subscribers_task;

#endif /* OUTBOX_SUBSCRIBERS_TASK_H */
