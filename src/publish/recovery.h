/*-------------------------------------------------------------------------
 *
 * recovery.h
 *	  What becomes of the stream when events fail.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_RECOVERY_H
#define OUTBOX_RECOVERY_H

#include "publish/stream.h"
#include "shared/task.h"

extern void outbox_recovery_failed(OutboxStream *stream, uint64 tag,
								   OutboxFailure failure, const char *error);

extern OutboxTask outbox_recovery_task;

#endif /* OUTBOX_RECOVERY_H */
