/*-------------------------------------------------------------------------
 *
 * recovery.h
 *	  What becomes of the stream when events fail.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_RECOVERY_H
#define OUTBOX_RECOVERY_H

#include "publish/publish.h"

extern void outbox_recovery_failed(OutboxStream *stream, uint64 tag,
								   OutboxFailure failure, const char *error);
extern void outbox_recovery_begin(OutboxStream *stream);
extern void outbox_recovery_given_up(OutboxStream *stream, const char *error);
extern void outbox_recovery_login(OutboxStream *stream);
extern void outbox_recovery_remember(OutboxStream *stream);
extern void outbox_recovery_skip(OutboxStream *stream, uint64 id);
extern bool outbox_recovery_is_done(OutboxStream *stream, uint64 id);
extern OutboxTaskResult outbox_recovery_run(OutboxStream *stream);
extern long outbox_recovery_timeout_ms(const OutboxStream *stream);

#endif /* OUTBOX_RECOVERY_H */
