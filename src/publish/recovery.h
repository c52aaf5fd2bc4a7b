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
extern OutboxTaskResult outbox_recovery_run(OutboxStream *stream);
extern long outbox_recovery_timeout_ms(const OutboxStream *stream);

#endif /* OUTBOX_RECOVERY_H */
