/*-------------------------------------------------------------------------
 *
 * position_task.c
 *	  When the stream's position is written: about once a second, while
 *	  events are published.
 *
 * What is published while the position cannot be written would be repeated by
 * the next process, and the next. So nothing is, until it has been written
 * once by this process, or after that has failed.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "utils/timestamp.h"

#include "poison/crash_note.h"
#include "poison/guard.h"
#include "publish/topic_filter.h"
#include "relay/position_task.h"
#include "retry/retry_batch.h"
#include "schedule/retention.h"
#include "shared/my_relay.h"
#include "store/position.h"

#define POSITION_EVERY_MS    1000

/* the same while it has only passed over events that others publish: nothing
 * is repeated if that is forgotten */
#define PASSED_OVER_EVERY_MS 5000

static uint64 written;         /* position in the table */
static bool can_write = false; /* it was this process that has written it */
static TimestampTz written_at = 0;

/* Called once, with the position from which the relay goes on. */
void
outbox_position_task_open(uint64 position)
{
	written = position;
}

/* The position in the table */
uint64
outbox_position_task_written(void)
{
	return written;
}

/* Has the position moved since it was written? */
static bool
needs_writing(const OutboxStream *stream)
{
	return stream->has_events &&
		   (!can_write || outbox_stream_position(stream) != written);
}

/* Shows since when the position has moved without being written. */
static void
show_unwritten(bool unwritten)
{
	pg_atomic_uint64 *since = &outbox_my_relay.slot->unwritten_since;

	if ((pg_atomic_read_u64(since) != 0) != unwritten)
		pg_atomic_write_u64(since,
							unwritten ? (uint64) GetCurrentTimestamp() : 0);
}

/* How soon after the last time is it written? */
static int
interval_ms(const OutboxStream *stream)
{
	return can_write && outbox_topic_filter_is_set() &&
				   stream->own_upto <= written
			   ? PASSED_OVER_EVERY_MS
			   : POSITION_EVERY_MS;
}

/* Is it the time to write it? */
static bool
is_due(const OutboxStream *stream)
{
	TimestampTz now = GetCurrentTimestamp();

	/* the clock may have been set back */
	written_at = Min(written_at, now);
	if (!needs_writing(stream))
		return false;
	if (outbox_crash_note_is_careful() && !outbox_stream_is_pending(stream))
		return true;
	return TimestampDifferenceExceeds(written_at, now, interval_ms(stream));
}

/* Is nothing under way, and everything written down? In a careful life, that
 * is waited for after each step. */
bool
outbox_position_task_is_settled(const OutboxStream *stream)
{
	return !outbox_stream_is_pending(stream) &&
		   !outbox_retry_batch_is_under_way() && !needs_writing(stream);
}

/* May events be published, as told above? */
bool
outbox_position_task_may_publish(const OutboxStream *stream)
{
	return (can_write || !stream->has_events) &&
		   !outbox_guard_is_failing(&outbox_position_task);
}

/*
 * Writes the position if it has moved, or there is something to be told beyond
 * it; not while others lock the table, and not before there have been events:
 * it may be a restore that has brought the sequence, and has yet to bring
 * events and position.
 */
static OutboxTaskResult
write_position(const OutboxStream *stream, const uint64 *beyond, int count)
{
	uint64 position = outbox_stream_position(stream);
	OutboxStoreStatus status;

	if (!needs_writing(stream) && (count == 0 || !stream->has_events))
		return OUTBOX_TASK_IDLE;
	status =
		outbox_position_write(outbox_my_relay.name, position, beyond, count);
	written_at = GetCurrentTimestamp();
	if (status == OUTBOX_STORE_OK)
	{
		if (!can_write || outbox_crash_note_is_careful())
			XLogFlush(XactLastCommitEnd);
		written = position;
		can_write = true;
		show_unwritten(false);
		outbox_retention_used();
	}
	/* a careful life goes on when it has been written */
	return outbox_store_task_result(status, outbox_crash_note_is_careful());
}

/*
 * The same when the process ends: an event that has no answer may keep the
 * position back, and what is done beyond it is not to be published again.
 */
OutboxTaskResult
outbox_position_task_write_last(const OutboxStream *stream)
{
	uint64 *ids;
	int count = outbox_stream_done_beyond(stream, &ids);

	return write_position(stream, ids, count);
}

static OutboxTaskResult
run(const OutboxRound *round)
{
	show_unwritten(needs_writing(round->stream));
	/* it has not gone well before it has been written */
	if (!is_due(round->stream) &&
		!outbox_guard_is_failing(&outbox_position_task))
		return OUTBOX_TASK_IDLE;
	return write_position(round->stream, NULL, 0);
}

static long
timeout_ms(const OutboxRound *round)
{
	if (!needs_writing(round->stream))
		return -1;
	return TimestampDifferenceMilliseconds(
		GetCurrentTimestamp(),
		TimestampTzPlusMilliseconds(written_at, interval_ms(round->stream)));
}

OutboxTask outbox_position_task = {
	.name = "writing the position",
	.detail = "Nothing is published until the position can be written.",
	.run = run,
	.timeout_ms = timeout_ms,
};
