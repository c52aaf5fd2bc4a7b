/*-------------------------------------------------------------------------
 *
 * position_task.h
 *	  The position is written now and then.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_POSITION_TASK_H
#define OUTBOX_POSITION_TASK_H

#include "publish/stream.h"
#include "shared/task.h"

extern OutboxTask outbox_position_task;

extern void outbox_position_task_open(uint64 position);
extern uint64 outbox_position_task_written(void);
extern bool outbox_position_task_is_settled(const OutboxStream *stream);
extern bool outbox_position_task_may_publish(const OutboxStream *stream);
extern OutboxTaskResult
outbox_position_task_write_last(const OutboxStream *stream);

#endif /* OUTBOX_POSITION_TASK_H */
