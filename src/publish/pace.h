/*-------------------------------------------------------------------------
 *
 * pace.h
 *	  How much the stream reads at once, and how often it looks.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_PACE_H
#define OUTBOX_PACE_H

#include "publish/stream.h"
#include "shared/task.h"

extern int outbox_pace_page_limit(const OutboxStream *stream);
extern void outbox_pace_awake(void);
extern bool outbox_pace_rests(const OutboxStream *stream);
extern bool outbox_pace_look(TimestampTz now);
extern void outbox_pace_only_others(void);
extern long outbox_pace_timeout_ms(const OutboxRound *round);

#endif /* OUTBOX_PACE_H */
