/*-------------------------------------------------------------------------
 *
 * subscriber_figures.h
 *	  What a subscriber counts, for outbox.stat_subscription: since its slot
 *	  became its own, over all processes that it has had since.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_SUBSCRIBER_FIGURES_H
#define OUTBOX_SUBSCRIBER_FIGURES_H

#include "outbox.h"

#include "datatype/timestamp.h"

#include "shared/shmem.h"

/* how much is behind is not known */
#define OUTBOX_LAG_UNKNOWN (-1)

extern void outbox_subscriber_count_handled(int64 messages);
extern void outbox_subscriber_count_repeated(int64 messages);
extern void outbox_subscriber_count_failed(int64 messages);
extern void outbox_subscriber_show_partitions(int partitions);
extern void outbox_subscriber_show_lag(int64 messages, TimestampTz since);

/* anybody */
extern double outbox_subscriber_rate(const OutboxSubscriberSlot *slot,
									 TimestampTz now);

#endif /* OUTBOX_SUBSCRIBER_FIGURES_H */
