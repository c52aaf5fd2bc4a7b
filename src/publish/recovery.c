/*-------------------------------------------------------------------------
 *
 * recovery.c
 *	  What becomes of the stream when events fail.
 *
 * The sink stops when a batch is refused, so that nothing overtakes what was
 * in it. Then it is waited until each event of the window has its answer:
 * acknowledged, failed, or given back. What has failed is parked, if it is
 * known to be at fault; the sink is closed, and another one begins at the
 * position, leaving out what is acknowledged or parked. So the order of each
 * key is kept, nothing is repeated, and nobody else's event is lost.
 *
 * A batch is refused as a whole. If several events have failed, the next sink
 * makes smaller batches, until the culprit is alone: half as large each time
 * if the batch was too large, of one event each otherwise.
 *
 * A topic that cannot be written to fails without stopping the sink: when all
 * that the sink had of it is back, it is parked, and nobody else waits. Topics
 * that get no answer at all are found by stuck.c.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include <syslog.h>

#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "publish/park.h"
#include "publish/recovery.h"
#include "publish/stuck.h"
#include "retry/blocked_keys.h"
#include "shared/relay_state.h"
#include "sink/client_log.h"

/* how long the answers of a sink that has stopped are waited for, if they all
 * are of topics that have failed */
#define FAILED_MS  1000

/* how long what is under way may take when its topic is paused */
#define PAUSED_MS  1000

/* how long batches stay small after one was too large */
#define NARROW_MS  60000

/* after so long without an answer, events in the sink may expire */
#define EXPIRED_MS 1000

/* Notes that an event has failed; the task does the rest. */
void
outbox_recovery_failed(OutboxStream *stream, uint64 tag, OutboxFailure failure,
					   const char *error)
{
	OutboxTopic *topic = outbox_window_topic(stream->window, tag);

	if (failure == OUTBOX_FAILURE_TOPIC && topic != NULL)
	{
		outbox_topic_failed(topic, error);
		outbox_window_answered(stream->window, tag);
		return;
	}
	/* these are not at fault, and are read again with the others */
	if (failure == OUTBOX_FAILURE_CLUSTER || failure == OUTBOX_FAILURE_LOGIN)
		outbox_window_answered(stream->window, tag);
	else
		outbox_window_failed(stream->window, tag, failure, error);
	outbox_stream_end(stream);
}

static void
report_given_up(OutboxStream *stream)
{
	if (stream->sender.given_up[0] != '\0')
		outbox_client_log(LOG_WARNING, stream->sender.given_up);
}

/* Have all events their answers that can have one? The sink ends. */
static bool
is_answered(OutboxStream *stream)
{
	OutboxSender *sender = &stream->sender;
	/* events of a topic that gets no answers may never have one */
	bool all_failed = sender->in_flight == outbox_topic_failed_in_flight();

	return outbox_sender_take_back(
		sender, all_failed ? FAILED_MS : OUTBOX_SENDER_ENDING_MS);
}

/*
 * How small batches must be, if it is unclear which event of a refused batch
 * is the culprit; else 0. Events that have failed because of their topic have
 * nothing to do with it.
 */
static int
smaller_batches(OutboxStream *stream)
{
	const OutboxWindow *window = stream->window;
	bool too_large = true;
	int64 bytes = 0;
	uint64 last_id = 0;
	int refused = 0;

	if (stream->limit.bytes == 1)
		return 0;
	for (uint64 tag = outbox_window_first_tag(window);
		 tag < outbox_window_next_tag(window); tag++)
	{
		const OutboxFault *fault = outbox_window_fault(window, tag);

		if (outbox_window_is_done(window, tag) || fault == NULL)
			continue;
		refused++;
		too_large = too_large && fault->failure == OUTBOX_FAILURE_SIZE;
		bytes += outbox_window_bytes(window, tag);
		last_id = outbox_window_id(window, tag);
	}
	if (refused < 2)
		return 0;

	stream->limit.upto = Max(stream->limit.upto, last_id);
	if (!too_large)
		return 1;
	stream->limit.until =
		TimestampTzPlusMilliseconds(GetCurrentTimestamp(), NARROW_MS);
	return (int) Max(Min(bytes, stream->sender.api->batch_bytes_max) / 2, 1);
}

/* When the first event of the window is taken back, if no answer comes */
static TimestampTz
expires_at(const OutboxStream *stream)
{
	return Max(stream->life.expires_first,
			   TimestampTzPlusMilliseconds(stream->outage.last_result_at,
										   EXPIRED_MS));
}

/*
 * Has an event of the window expired while brokers are silent? The sink would
 * publish it as soon as they are back.
 */
static bool
is_expired(OutboxStream *stream)
{
	TimestampTz now = GetCurrentTimestamp();

	return outbox_stream_is_pending(stream) && expires_at(stream) <= now;
}

/* All answers are here: parks what must be, and closes the sink. */
static OutboxStoreStatus
park_and_close(OutboxStream *stream)
{
	OutboxBatchLimit *limit = &stream->limit;
	bool more;
	OutboxStoreStatus status = outbox_park(stream, limit->next == 0, &more);

	if (status != OUTBOX_STORE_OK || more)
		return status;
	if (limit->next > 0)
		limit->bytes = limit->next;
	report_given_up(stream);
	outbox_stream_close(stream);
	return OUTBOX_STORE_OK;
}

/* May batches be of any size again? */
static void
widen(OutboxStream *stream)
{
	if (stream->limit.bytes == 0 || stream->outage.since != 0 ||
		outbox_stream_position(stream) < stream->limit.upto ||
		GetCurrentTimestamp() < stream->limit.until)
		return;
	stream->limit.bytes = 0;
	stream->limit.upto = 0;
	outbox_stream_end(stream);
}

/* Has the sink events of a topic that is paused? */
static bool
has_paused(const OutboxWindow *window)
{
	for (uint64 tag = outbox_window_first_tag(window);
		 tag < outbox_window_next_tag(window); tag++)
	{
		const OutboxTopic *topic = outbox_window_topic(window, tag);

		if (topic != NULL && !outbox_window_is_answered(window, tag) &&
			outbox_blocked_keys_is_paused(topic->name))
			return true;
	}
	return false;
}

/*
 * Has a topic been paused, and what was under way of it has no answer? The sink
 * would publish it as soon as brokers are back. It is looked some time after
 * the blocks may have changed.
 */
static bool
keeps_paused(OutboxStream *stream)
{
	OutboxSinkLife *life = &stream->life;
	uint32 blocks = outbox_blocked_keys_generation();
	TimestampTz now = GetCurrentTimestamp();

	if (life->paused_look_at == 0 && life->blocks != blocks &&
		outbox_blocked_keys_any_paused())
	{
		life->blocks = blocks;
		life->paused_look_at = TimestampTzPlusMilliseconds(now, PAUSED_MS);
	}
	if (life->paused_look_at == 0 || life->paused_look_at > now)
		return false;
	life->paused_look_at = 0;
	return has_paused(stream->window);
}

/* The sink takes events: is it to end, or has a topic failed? */
static OutboxTaskResult
look_after_open(OutboxStream *stream)
{
	bool more;

	widen(stream);
	if (is_expired(stream) || keeps_paused(stream))
		outbox_stream_end(stream);
	if (outbox_topic_any_back())
		return outbox_store_task_result(outbox_park(stream, false, &more),
										true);
	if (stream->state == OUTBOX_STREAM_OPEN)
		outbox_stuck_check(stream);
	return OUTBOX_TASK_IDLE;
}

/* Goes on with what becomes of events that have failed. */
static OutboxTaskResult
recover(OutboxStream *stream)
{
	switch (stream->state)
	{
		case OUTBOX_STREAM_CLOSED:
			break;
		case OUTBOX_STREAM_OPEN:
			return look_after_open(stream);
		case OUTBOX_STREAM_ENDING:
			if (!is_answered(stream))
				break;
			stream->limit.next = smaller_batches(stream);
			outbox_stream_begin_parking(stream);
			/* FALLTHROUGH */
		case OUTBOX_STREAM_PARKING:
			return outbox_store_task_result(park_and_close(stream), true);
	}
	return OUTBOX_TASK_IDLE;
}

/* Opens a sink in place of one that has been given up. */
static void
reopen(OutboxStream *stream, const OutboxSinkConfig *running)
{
	OutboxSender sender;
	OutboxSinkConfig config;

	if (stream->state != OUTBOX_STREAM_CLOSED ||
		GetCurrentTimestamp() < stream->open_at)
		return;
	sender = stream->sender;
	config = *running;
	config.batch_bytes = stream->limit.bytes;
	outbox_sender_open(&sender, &config);
	outbox_stream_open(stream, &sender, &config);
}

static OutboxTaskResult
run(const OutboxRound *round)
{
	OutboxTaskResult result = recover(round->stream);

	if (result != OUTBOX_TASK_ABSENT)
		reopen(round->stream, round->config);
	return result;
}

static long
timeout_ms(const OutboxRound *round)
{
	const OutboxStream *stream = round->stream;
	TimestampTz now = GetCurrentTimestamp();

	switch (stream->state)
	{
		case OUTBOX_STREAM_CLOSED:
			return Max(TimestampDifferenceMilliseconds(now, stream->open_at),
					   0);
		case OUTBOX_STREAM_ENDING:
		case OUTBOX_STREAM_PARKING:
			return outbox_sender_timeout_ms(&stream->sender);
		case OUTBOX_STREAM_OPEN:
			break;
	}
	if (!outbox_window_is_empty(stream->window))
	{
		TimestampTz next = expires_at(stream);

		if (stream->life.paused_look_at != 0)
			next = Min(next, stream->life.paused_look_at);
		return Min(TimestampDifferenceMilliseconds(now, next),
				   outbox_stuck_timeout_ms(stream));
	}
	return stream->limit.bytes != 0 ? NARROW_MS : -1;
}

OutboxTask outbox_recovery_task = {
	.name = "parking events",
	.needs = OUTBOX_TASK_NEEDS_BROKERS,
	.run = run,
	.timeout_ms = timeout_ms,
};
