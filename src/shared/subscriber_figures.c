/*-------------------------------------------------------------------------
 *
 * subscriber_figures.c
 *	  What a subscriber counts. The process is the only one to write there, so
 *	  no atomic operation is needed but for reading; outside of a subscriber,
 *	  nothing is counted.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "shared/my_relay.h"
#include "shared/subscriber_figures.h"

static void
add(pg_atomic_uint64 *figure, int64 count)
{
	pg_atomic_write_u64(figure, pg_atomic_read_u64(figure) + (uint64) count);
}

/* Messages whose effects are committed, or that were discarded by the function
 * of the subscription */
void
outbox_subscriber_count_handled(int64 messages)
{
	if (outbox_my_relay.subscriber != NULL)
		add(&outbox_my_relay.subscriber->handled, messages);
}

/* Messages that were known, and have been passed over */
void
outbox_subscriber_count_repeated(int64 messages)
{
	if (outbox_my_relay.subscriber != NULL)
		add(&outbox_my_relay.subscriber->repeated, messages);
}

/* Attempts that have failed */
void
outbox_subscriber_count_failed(int64 messages)
{
	if (outbox_my_relay.subscriber != NULL)
		add(&outbox_my_relay.subscriber->failed, messages);
}

/* How many partitions are this worker's */
void
outbox_subscriber_show_partitions(int partitions)
{
	if (outbox_my_relay.subscriber != NULL)
		pg_atomic_write_u32(&outbox_my_relay.subscriber->partitions,
							(uint32) partitions);
}

/*
 * How many messages there are that are not done, in all of its partitions, or
 * OUTBOX_LAG_UNKNOWN; and when the oldest one of which that is known was
 * published, 0 = there is none.
 */
void
outbox_subscriber_show_lag(int64 messages, TimestampTz since)
{
	OutboxSubscriberSlot *slot = outbox_my_relay.subscriber;

	if (slot == NULL)
		return;
	pg_atomic_write_u64(&slot->lag_messages, (uint64) messages);
	pg_atomic_write_u64(&slot->lag_since, (uint64) since);
}
