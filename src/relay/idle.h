/*-------------------------------------------------------------------------
 *
 * idle.h
 *	  When a relay ends because it has nothing to do.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_IDLE_H
#define OUTBOX_IDLE_H

#include "publish/stream.h"
#include "shared/task.h"

extern bool outbox_idle_round(const OutboxStream *stream,
							  OutboxTaskResult result, long due_ms);
extern long outbox_idle_wait_ms(long due_ms);

#endif /* OUTBOX_IDLE_H */
