/*-------------------------------------------------------------------------
 *
 * pass_over.c
 *	  While the stream does not read, because there are no brokers, or it is
 *	  halted, the position still moves on over events of topics that this
 *	  relay does not publish: as far as the first one that it does. So nobody
 *	  keeps or awaits events for a relay that does not want them.
 *
 * It is in no hurry, and does not ask to be woken by those who emit: it looks
 * once a second while there is something to read.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "utils/timestamp.h"

#include "publish/pass_over.h"
#include "publish/stream.h"
#include "publish/topic_filter.h"
#include "shared/horizon.h"
#include "shared/my_relay.h"
#include "shared/relay_state.h"
#include "store/segment_reader.h"

#define LOOK_EVERY_MS 1000

/* rows that one transaction reads at most */
#define PAGE_ROWS     2000

/* the next event is one that is published, if the stream has read up to here;
 * UINT64_MAX = that is not known */
static uint64 stopped_at = UINT64_MAX;
static TimestampTz looked_at = 0;

/* The patterns may be others. */
static void
reload(void)
{
	stopped_at = UINT64_MAX;
}

/* Does the stream stand still, and may there be something to pass over? */
static bool
is_wanted(const OutboxStream *stream)
{
	if (!outbox_topic_filter_is_set() || stopped_at == stream->read_upto ||
		pg_atomic_read_u64(&outbox_my_relay.db->last_issued) <=
			stream->read_upto)
		return false;
	return stream->state == OUTBOX_STREAM_CLOSED ||
		   (stream->state == OUTBOX_STREAM_OPEN &&
			outbox_window_is_empty(stream->window) &&
			outbox_relay_state() == OUTBOX_RELAY_HALTED);
}

static bool
pass_done(uint64 id, void *arg)
{
	OutboxStream *stream = arg;

	if (!outbox_stream_is_done(stream, id))
		return false;
	stream->read_upto = stream->own_upto = id;
	return true;
}

static bool
pass_topic(uint64 id, const text *topic, void *arg)
{
	OutboxStream *stream = arg;

	if (outbox_topic_filter_has(topic))
		return false;
	stream->read_upto = id;
	return true;
}

/* This one is for the stream, unless another relay alone publishes it. */
static bool
stop(const OutboxEvent *event, void *arg)
{
	OutboxStream *stream = arg;

	if (outbox_event_is_for_other(event, outbox_my_relay.name))
	{
		stream->read_upto = event->id;
		return true;
	}
	stopped_at = stream->read_upto;
	return false;
}

/* Reads a page below the horizon. The order of the steps is that of horizon.c,
 * but as nothing of it is published, a crash may undo it: no WAL is flushed. */
static OutboxStoreStatus
read_page(OutboxStream *stream, uint64 horizon, uint64 *rows)
{
	OutboxPageReader reader = {.pass = pass_done,
							   .pass_topic = pass_topic,
							   .take = stop,
							   .arg = stream};
	OutboxStoreStatus status =
		outbox_store_begin("outbox: passing over events");

	if (status != OUTBOX_STORE_OK)
		return status;
	status = outbox_segment_read(stream->read_upto, horizon, PAGE_ROWS,
								 &reader, rows);
	outbox_store_end();
	return status;
}

static OutboxTaskResult
run(const OutboxRound *round)
{
	OutboxStream *stream = round->stream;
	TimestampTz now = GetCurrentTimestamp();
	OutboxStoreStatus status;
	XLogRecPtr commit_lsn;
	uint64 horizon;
	uint64 rows;

	/* the clock may have been set back */
	looked_at = Min(looked_at, now);
	if (!is_wanted(stream) ||
		!TimestampDifferenceExceeds(looked_at, now, LOOK_EVERY_MS))
		return OUTBOX_TASK_IDLE;
	horizon = outbox_horizon_read(outbox_my_relay.db, &commit_lsn);
	pg_atomic_write_u64(&outbox_my_relay.slot->horizon, horizon);
	if (horizon - 1 <= stream->read_upto)
	{
		looked_at = now;
		return OUTBOX_TASK_IDLE;
	}
	status = read_page(stream, horizon, &rows);
	if (status != OUTBOX_STORE_OK)
		return outbox_store_task_result(status, false);
	stream->has_events = stream->has_events || rows > 0;
	if (rows == PAGE_ROWS)
		return OUTBOX_TASK_WORKED;
	looked_at = now;
	if (stopped_at != stream->read_upto)
		stream->read_upto = horizon - 1;
	return OUTBOX_TASK_IDLE;
}

static long
timeout_ms(const OutboxRound *round)
{
	if (!is_wanted(round->stream))
		return -1;
	return TimestampDifferenceMilliseconds(
		GetCurrentTimestamp(),
		TimestampTzPlusMilliseconds(looked_at, LOOK_EVERY_MS));
}

OutboxTask outbox_pass_over_task = {
	.name = "passing over events",
	.care = OUTBOX_TASK_WHEN_SETTLED,
	.run = run,
	.timeout_ms = timeout_ms,
	.reload = reload,
};
