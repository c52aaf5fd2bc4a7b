/*-------------------------------------------------------------------------
 *
 * stuck.h
 *	  Events that get no answer, while brokers can be reached.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_STUCK_H
#define OUTBOX_STUCK_H

#include "publish/stream.h"

extern void outbox_stuck_check(OutboxStream *stream);
extern void outbox_stuck_answer(OutboxStream *stream,
								const OutboxSinkEvent *answer);
extern long outbox_stuck_timeout_ms(const OutboxStream *stream);

#endif /* OUTBOX_STUCK_H */
