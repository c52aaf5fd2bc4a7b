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
#include "shared/relay_state.h"
#include "sink/client_log.h"

/* how long the answers of a sink that has stopped are waited for */
#define ANSWERS_MS      10000

/* if they all are of topics that have failed */
#define STUCK_MS        1000

/* how often it is asked for events back meanwhile: a retry may come back from
 * a broker, or a partition be on its way between two of them, just then */
#define PURGE_EVERY_MS  100

/* how long batches stay small after one was too large */
#define NARROW_MS       60000

/* after so long without an answer, events in the sink may expire */
#define EXPIRED_MS      1000

/* delays while our credentials are refused */
#define LOGIN_MIN_MS    1000
#define LOGIN_MAX_MS    60000

/* the size of a batch of librdkafka, if nothing limits it */
#define BATCH_BYTES_MAX 1000000

/* Notes that an event has failed; outbox_recovery_run() does the rest. */
void
outbox_recovery_failed(OutboxStream *stream, uint64 tag, OutboxFailure failure,
					   const char *error)
{
	OutboxTopic *topic = outbox_window_topic(stream->window, tag);

	/* then that is why the sink has ended */
	stream->life.given_up[0] = '\0';
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
	outbox_recovery_begin(stream);
}

/* The sink has stopped, or must: waits for all answers, then begins anew. */
void
outbox_recovery_begin(OutboxStream *stream)
{
	if (stream->life.ending)
		return;
	stream->life.ending = true;
	stream->life.ending_since = stream->life.purged_at = GetCurrentTimestamp();
	stream->open_at = 0;
	stream->api->purge(stream->sink);
}

/* The sink has ended by itself: because events have failed, or else for a
 * reason that is worth to be told. */
void
outbox_recovery_given_up(OutboxStream *stream, const char *error)
{
	if (!stream->life.ending)
		strlcpy(stream->life.given_up, error, sizeof(stream->life.given_up));
	outbox_recovery_begin(stream);
}

static void
report_given_up(OutboxStream *stream)
{
	char message[OUTBOX_SINK_ERROR_MAX + 10];

	if (stream->life.given_up[0] != '\0')
	{
		snprintf(message, sizeof(message), "FATAL: %s", stream->life.given_up);
		outbox_client_log(LOG_WARNING, message);
	}
}

/* Are there answers to be waited for, of a sink that publishes nothing more? */
static bool
is_waiting(OutboxStream *stream)
{
	TimestampTz now = GetCurrentTimestamp();

	int in_flight = outbox_window_in_flight(stream->window);

	if (in_flight == 0 ||
		TimestampDifferenceExceeds(stream->life.ending_since, now, ANSWERS_MS))
		return false;
	/* events of a topic that gets no answers may never have one */
	if (in_flight == outbox_topic_failed_in_flight() &&
		TimestampDifferenceExceeds(stream->life.ending_since, now, STUCK_MS))
		return false;
	if (TimestampDifferenceExceeds(stream->life.purged_at, now,
								   PURGE_EVERY_MS))
	{
		stream->life.purged_at = now;
		stream->api->purge(stream->sink);
	}
	return true;
}

/* Our credentials are refused: slowly, so that no account gets locked. */
void
outbox_recovery_login(OutboxStream *stream)
{
	int delay_ms = LOGIN_MIN_MS << Min(stream->login_failures, 16);

	if (stream->life.ending)
		return;
	stream->login_failures++;
	outbox_recovery_begin(stream);
	stream->open_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
												  Min(delay_ms, LOGIN_MAX_MS));
}

/*
 * The window ends: remembers what is done beyond the position, in it or not
 * read again yet since an earlier sink had done it. That is in order.
 */
void
outbox_recovery_remember(OutboxStream *stream)
{
	uint64 position = outbox_publish_position(stream);
	uint64 *done_ids =
		palloc((outbox_window_count(stream->window) + stream->done_count + 1) *
			   sizeof(uint64));
	int count = outbox_window_take_done(stream->window, done_ids);

	for (int i = stream->done_next; i < stream->done_count; i++)
		done_ids[count++] = stream->done_ids[i];
	if (stream->done_ids != NULL)
		pfree(stream->done_ids);
	stream->done_ids = done_ids;
	stream->done_count = count;
	stream->done_next = 0;
	stream->read_upto = position;
	stream->has_more = true;
}

/* An event that has not been read yet is done, too. */
void
outbox_recovery_skip(OutboxStream *stream, uint64 id)
{
	MemoryContext context = stream->done_ids
								? GetMemoryChunkContext(stream->done_ids)
								: TopMemoryContext;
	uint64 *done_ids = MemoryContextAllocHuge(
		context, (stream->done_count + 1) * sizeof(uint64));
	int count = 0;
	int i = stream->done_next;

	while (i < stream->done_count && stream->done_ids[i] < id)
		done_ids[count++] = stream->done_ids[i++];
	done_ids[count++] = id;
	while (i < stream->done_count)
		done_ids[count++] = stream->done_ids[i++];
	if (stream->done_ids != NULL)
		pfree(stream->done_ids);
	stream->done_ids = done_ids;
	stream->done_count = count;
	stream->done_next = 0;
}

/* Has this event been published or parked by an earlier sink? The ids come in
 * order. */
bool
outbox_recovery_is_done(OutboxStream *stream, uint64 id)
{
	while (stream->done_next < stream->done_count &&
		   stream->done_ids[stream->done_next] < id)
		stream->done_next++;
	if (stream->done_next == stream->done_count ||
		stream->done_ids[stream->done_next] != id)
		return false;
	stream->done_next++;
	return true;
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

	if (stream->batch_bytes == 1 || !stream->life.ending)
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

	stream->small_batches_upto = Max(stream->small_batches_upto, last_id);
	if (!too_large)
		return 1;
	stream->small_batches_until =
		TimestampTzPlusMilliseconds(GetCurrentTimestamp(), NARROW_MS);
	return (int) Max(Min(bytes, BATCH_BYTES_MAX) / 2, 1);
}

/* When the first event of the window is taken back, if no answer comes */
static TimestampTz
expires_at(const OutboxStream *stream)
{
	return Max(
		stream->life.expires_first,
		TimestampTzPlusMilliseconds(stream->last_result_at, EXPIRED_MS));
}

/*
 * Has an event of the window expired while brokers are silent? The sink would
 * publish it as soon as they are back.
 */
static bool
is_expired(OutboxStream *stream)
{
	TimestampTz now = GetCurrentTimestamp();

	return outbox_publish_is_pending(stream) && expires_at(stream) <= now;
}

/* All answers are here: parks what must be, and closes the sink. */
static OutboxStoreStatus
end(OutboxStream *stream)
{
	int batch_bytes = smaller_batches(stream);
	bool more;
	OutboxStoreStatus status = outbox_park(stream, batch_bytes == 0, &more);

	if (status != OUTBOX_STORE_OK || more)
		return status;
	if (batch_bytes > 0)
		stream->batch_bytes = batch_bytes;
	report_given_up(stream);
	outbox_publish_close(stream);
	return OUTBOX_STORE_OK;
}

/* May batches be of any size again? */
static void
widen(OutboxStream *stream)
{
	if (stream->batch_bytes == 0 || stream->sink == NULL ||
		stream->outage_since != 0 ||
		outbox_publish_position(stream) < stream->small_batches_upto ||
		GetCurrentTimestamp() < stream->small_batches_until)
		return;
	stream->batch_bytes = 0;
	stream->small_batches_upto = 0;
	outbox_recovery_begin(stream);
}

/*
 * Goes on with settling; does not wait. When the sink has been closed, the
 * relay opens another one.
 */
OutboxTaskResult
outbox_recovery_run(OutboxStream *stream)
{
	bool more;

	if (stream->life.ending)
	{
		if (is_waiting(stream))
			return OUTBOX_TASK_IDLE;
		return outbox_store_task_result(end(stream), true);
	}
	widen(stream);
	if (is_expired(stream))
		outbox_recovery_begin(stream);
	if (outbox_topic_any_back())
		return outbox_store_task_result(outbox_park(stream, false, &more),
										true);
	outbox_stuck_check(stream);
	return OUTBOX_TASK_IDLE;
}

/* How long there is nothing to do but to take in answers; -1 = for ever */
long
outbox_recovery_timeout_ms(const OutboxStream *stream)
{
	TimestampTz now = GetCurrentTimestamp();

	if (stream->sink == NULL)
		return Max(TimestampDifferenceMilliseconds(now, stream->open_at), 0);
	if (stream->life.ending)
		return PURGE_EVERY_MS;
	if (!outbox_window_is_empty(stream->window))
		return Min(TimestampDifferenceMilliseconds(now, expires_at(stream)),
				   outbox_stuck_timeout_ms(stream));
	if (stream->batch_bytes != 0)
		return NARROW_MS;
	return -1;
}
