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

#include "utils/timestamp.h"

#include "shared/my_relay.h"
#include "shared/subscriber_figures.h"

static void
add(pg_atomic_uint64 *figure, int64 count)
{
	pg_atomic_write_u64(figure, pg_atomic_read_u64(figure) + (uint64) count);
}

/* Remembers how many had been handled when this second began. */
static void
note_second(OutboxSubscriberSlot *slot)
{
	uint64 second = (uint64) (GetCurrentTimestamp() / USECS_PER_SEC);
	OutboxSubscriberMark *mark = &slot->marks[second % OUTBOX_RATE_S];

	if (pg_atomic_read_u64(&mark->second) == second)
		return;
	pg_atomic_write_u64(&mark->handled, pg_atomic_read_u64(&slot->handled));
	pg_write_barrier();
	pg_atomic_write_u64(&mark->second, second);
}

/* Messages whose effects are committed, or that were discarded by the function
 * of the subscription */
void
outbox_subscriber_count_handled(int64 messages)
{
	if (outbox_my_relay.subscriber == NULL || messages == 0)
		return;
	note_second(outbox_my_relay.subscriber);
	add(&outbox_my_relay.subscriber->handled, messages);
}

/* Messages handled a second, over the last seconds */
double
outbox_subscriber_rate(const OutboxSubscriberSlot *slot, TimestampTz now)
{
	uint64 from = (uint64) (now / USECS_PER_SEC) - OUTBOX_RATE_S + 1;
	uint64 first = UINT64_MAX;
	uint64 begin = 0;
	double seconds = (double) (now - slot->counted_since) / USECS_PER_SEC;

	for (int i = 0; i < OUTBOX_RATE_S; i++)
	{
		const OutboxSubscriberMark *mark = &slot->marks[i];
		uint64 second =
			pg_atomic_read_u64(unconstify(pg_atomic_uint64 *, &mark->second));

		if (second < from || second >= first)
			continue;
		pg_read_barrier();
		first = second;
		begin =
			pg_atomic_read_u64(unconstify(pg_atomic_uint64 *, &mark->handled));
	}
	if (first == UINT64_MAX)
		return 0;
	return (double) (pg_atomic_read_u64(
						 unconstify(pg_atomic_uint64 *, &slot->handled)) -
					 begin) /
		   Max(Min(seconds, OUTBOX_RATE_S), 1);
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
