/*-------------------------------------------------------------------------
 *
 * figures.h
 *	  What relays have done, in numbers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_FIGURES_H
#define OUTBOX_FIGURES_H

#include "outbox.h"

#include "shared/figures_slot.h"

/* the relay's own */
extern void outbox_figures_attach(void);
extern void outbox_figures_detach(void);
extern OutboxTopicFigures *outbox_figures_topic(const char *name);
extern void outbox_figures_published(OutboxTopicFigures *topic, uint32 bytes,
									 int64 sent_us, int64 commit_us);
extern void outbox_figures_retried(const char *topic, uint32 bytes);
extern void outbox_figures_failed(const char *topic, OutboxFailure failure);
extern void outbox_figures_dead(const char *topic, uint64 count, bool expired);
extern void outbox_figures_queue(uint64 events, uint64 bytes);
extern void outbox_figures_sink(const OutboxSinkStatistics *sink);
extern void outbox_figures_show(bool now);

/* everybody's */
extern bool outbox_figures_read(const char *relay, OutboxFigures *figures);
extern bool outbox_figures_exist(const char *relay);
extern void outbox_figures_reset(const char *relay);
extern double outbox_figures_rate(const OutboxFigures *figures,
								  TimestampTz now);

#endif /* OUTBOX_FIGURES_H */
