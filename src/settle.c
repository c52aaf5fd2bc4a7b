/*-------------------------------------------------------------------------
 *
 * settle.c
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
 * A topic that cannot be written to fails without stopping the sink. And
 * librdkafka may say nothing at all about a topic that we are not allowed to
 * see: if the oldest event gets no answer for a while although brokers can be
 * reached, the brokers are asked about its topic.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include <syslog.h>

#include "backoff.h"
#include "blocks.h"
#include "bury.h"
#include "deadletter.h"
#include "guard.h"
#include "guc.h"
#include "liblog.h"
#include "page.h"
#include "parked.h"
#include "settle.h"
#include "status.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* how long the answers of a sink that has stopped are waited for */
#define ANSWERS_MS           10000

/* how often it is asked for events back meanwhile: a retry may come back from
 * a broker, or a partition be on its way between two of them, just then */
#define PURGE_EVERY_MS       100

/* how long batches stay small after one was too large */
#define NARROW_MS            60000

/* after so long without an answer, the oldest event's topic is looked at */
#define STUCK_MS             4000
#define STUCK_UNREACHABLE_MS 10000

/* after so long without an answer, events in the sink may expire */
#define EXPIRED_MS           1000

/* delays while our credentials are refused */
#define LOGIN_MIN_MS         1000
#define LOGIN_MAX_MS         60000

/* the size of a batch of librdkafka, if nothing limits it */
#define BATCH_BYTES_MAX      1000000

/* Notes that an event has failed; outbox_settle_run() does the rest. */
void
outbox_settle_failed(OutboxStream *stream, uint64 tag, OutboxFailure failure,
					 const char *error)
{
	OutboxFailedEvent *failed;
	MemoryContext old_context;

	outbox_window_answered(stream->window, tag);
	outbox_settle_begin(stream);
	/* these are not at fault, and are read again with the others */
	if (failure == OUTBOX_FAILURE_CLUSTER || failure == OUTBOX_FAILURE_LOGIN)
		return;

	if (stream->failed_context == NULL)
		stream->failed_context = AllocSetContextCreate(
			TopMemoryContext, "outbox failed events", ALLOCSET_DEFAULT_SIZES);
	old_context = MemoryContextSwitchTo(stream->failed_context);
	if (stream->failed_count == stream->failed_capacity)
	{
		int capacity = Max(16, stream->failed_capacity * 2);
		Size size = capacity * sizeof(OutboxFailedEvent);

		stream->failed =
			stream->failed ? repalloc(stream->failed, size) : palloc(size);
		stream->failed_capacity = capacity;
	}
	failed = &stream->failed[stream->failed_count++];
	failed->tag = tag;
	failed->failure = failure;
	/* a whole batch has the same message */
	if (stream->failed_count > 1 && strcmp(failed[-1].error, error) == 0)
		failed->error = failed[-1].error;
	else
		failed->error = pstrdup(error);
	MemoryContextSwitchTo(old_context);
}

/* The sink has stopped, or must: waits for all answers, then begins anew. */
void
outbox_settle_begin(OutboxStream *stream)
{
	if (stream->ending)
		return;
	stream->ending = true;
	stream->ending_since = stream->purged_at = GetCurrentTimestamp();
	stream->open_at = 0;
	stream->api->purge(stream->sink);
}

/* The sink has ended by itself: because events have failed, or else for a
 * reason that is worth to be told. */
void
outbox_settle_given_up(OutboxStream *stream, const char *error)
{
	if (!stream->ending)
		strlcpy(stream->given_up, error, sizeof(stream->given_up));
	outbox_settle_begin(stream);
}

static void
tell_given_up(OutboxStream *stream)
{
	char message[OUTBOX_SINK_ERROR_MAX + 10];

	if (stream->given_up[0] != '\0' && stream->failed_count == 0)
	{
		snprintf(message, sizeof(message), "FATAL: %s", stream->given_up);
		outbox_liblog(LOG_WARNING, message);
	}
	stream->given_up[0] = '\0';
}

/* Are there answers to be waited for, of a sink that publishes nothing more? */
static bool
is_waiting(OutboxStream *stream)
{
	TimestampTz now = GetCurrentTimestamp();

	if (outbox_window_unanswered(stream->window) == 0 ||
		TimestampDifferenceExceeds(stream->ending_since, now, ANSWERS_MS))
		return false;
	if (TimestampDifferenceExceeds(stream->purged_at, now, PURGE_EVERY_MS))
	{
		stream->purged_at = now;
		stream->api->purge(stream->sink);
	}
	return true;
}

/* Our credentials are refused: slowly, so that no account gets locked. */
void
outbox_settle_login(OutboxStream *stream)
{
	int delay_ms = LOGIN_MIN_MS << Min(stream->login_failures, 16);

	if (stream->ending)
		return;
	stream->login_failures++;
	outbox_settle_begin(stream);
	stream->open_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
												  Min(delay_ms, LOGIN_MAX_MS));
}

/*
 * The window ends: remembers what is done beyond the position, in it or not
 * read again yet since an earlier sink had done it. That is in order.
 */
void
outbox_settle_remember(OutboxStream *stream)
{
	uint64 position = outbox_publish_position(stream);
	uint64 *skip =
		palloc((outbox_window_count(stream->window) + stream->skip_count + 1) *
			   sizeof(uint64));
	int count = outbox_window_take_done(stream->window, skip);

	for (int i = stream->skip_next; i < stream->skip_count; i++)
		skip[count++] = stream->skip[i];
	if (stream->skip != NULL)
		pfree(stream->skip);
	stream->skip = skip;
	stream->skip_count = count;
	stream->skip_next = 0;
	stream->read_upto = position;
	stream->more = true;
}

/* An event that has not been read yet is done, too. */
void
outbox_settle_skip(OutboxStream *stream, uint64 id)
{
	MemoryContext context =
		stream->skip ? GetMemoryChunkContext(stream->skip) : TopMemoryContext;
	uint64 *skip = MemoryContextAllocHuge(context, (stream->skip_count + 1) *
													   sizeof(uint64));
	int count = 0;
	int i = stream->skip_next;

	while (i < stream->skip_count && stream->skip[i] < id)
		skip[count++] = stream->skip[i++];
	skip[count++] = id;
	while (i < stream->skip_count)
		skip[count++] = stream->skip[i++];
	if (stream->skip != NULL)
		pfree(stream->skip);
	stream->skip = skip;
	stream->skip_count = count;
	stream->skip_next = 0;
}

/*
 * How small batches must be, if it is unclear which event of a refused batch
 * is the culprit; else 0. Events that have failed because of their topic have
 * nothing to do with it.
 */
static int
smaller_batches(OutboxStream *stream)
{
	bool too_large = true;
	int64 bytes = 0;
	uint64 last_id = 0;
	int refused = 0;

	if (stream->batch_bytes == 1 || !stream->ending)
		return 0;
	for (int i = 0; i < stream->failed_count; i++)
	{
		OutboxFailedEvent *failed = &stream->failed[i];

		if (failed->failure == OUTBOX_FAILURE_TOPIC)
			continue;
		refused++;
		too_large = too_large && failed->failure == OUTBOX_FAILURE_SIZE;
		bytes += outbox_window_bytes(stream->window, failed->tag);
		last_id = Max(last_id, outbox_window_id(stream->window, failed->tag));
	}
	if (refused < 2)
		return 0;

	stream->narrow_upto = Max(stream->narrow_upto, last_id);
	if (!too_large)
		return 1;
	stream->narrow_until =
		TimestampTzPlusMilliseconds(GetCurrentTimestamp(), NARROW_MS);
	return (int) Max(Min(bytes, BATCH_BYTES_MAX) / 2, 1);
}

/* Parks one event, or finds out that it is the topic's fault. */
static OutboxStoreStatus
park(OutboxStream *stream, OutboxFailedEvent *failed)
{
	bool halt = (outbox_on_failure == OUTBOX_ON_FAILURE_HALT);
	uint64 id = outbox_window_id(stream->window, failed->tag);
	OutboxParkReason reason = {
		.failure = failed->failure, .error = failed->error, .attempts = 1};
	OutboxStoreStatus status;
	const char *raised;

	reason.blocking = (outbox_on_failure != OUTBOX_ON_FAILURE_SKIP);
	/* a topic's others queue behind it; all are given up together, later */
	reason.dead = !halt && (failed->failure == OUTBOX_FAILURE_SIZE ||
							failed->failure == OUTBOX_FAILURE_INVALID ||
							(failed->failure == OUTBOX_FAILURE_EVENT &&
							 outbox_backoff_is_last(1)));
	reason.next_attempt = outbox_backoff_next(1);
	/* its row may be one that cannot be copied */
	if (outbox_guard_condemned(OUTBOX_TASK_SETTLE, &raised) == id)
	{
		status = outbox_bury(stream->relay, OUTBOX_EVENT_TABLE, id,
							 failed->error, false);
		outbox_guard_acquit(OUTBOX_TASK_SETTLE);
	}
	else
		status = outbox_parked_add(stream->relay, id, &reason);
	if (status != OUTBOX_STORE_OK)
		return status;

	outbox_status_error(stream->db, failed->error);
	ereport(LOG,
			(errmsg("outbox relay for database \"%s\": event %llu is %s: %s",
					stream->database, (unsigned long long) id,
					reason.dead ? "a dead letter" : "parked", failed->error)));
	if (reason.dead)
		outbox_deadletter_added();
	outbox_window_done(stream->window, failed->tag);
	outbox_blocks_reload();
	return OUTBOX_STORE_OK;
}

/*
 * Parks the culprits. Of those that fail because of their topic, the first
 * one stands for all: once it is parked, its topic is blocked, and the others
 * queue behind it when they are read again. With topics_only, the other
 * culprits are not known yet.
 */
static OutboxStoreStatus
park_culprits(OutboxStream *stream, bool topics_only)
{
	OutboxFailedEvent *first = NULL;

	for (int i = 0; i < stream->failed_count; i++)
	{
		OutboxFailedEvent *failed = &stream->failed[i];
		OutboxStoreStatus status;

		if (failed->failure == OUTBOX_FAILURE_TOPIC)
		{
			if (first == NULL || failed->tag < first->tag)
				first = failed;
			continue;
		}
		/* after a busy table we come here again */
		if (topics_only ||
			outbox_window_bytes(stream->window, failed->tag) < 0)
			continue;
		status = park(stream, failed);
		if (status != OUTBOX_STORE_OK)
			return status;
	}
	return first ? park(stream, first) : OUTBOX_STORE_OK;
}

static bool
copy_topic(const OutboxEvent *event, void *topic)
{
	text_to_cstring_buffer(event->topic, topic, OUTBOX_TOPIC_MAX + 1);
	return true;
}

/*
 * The oldest event has had no answer for a while: asks the brokers about its
 * topic. They answer through poll.
 */
static OutboxStoreStatus
check_topic(OutboxStream *stream)
{
	char topic[OUTBOX_TOPIC_MAX + 1] = "";
	uint64 rows;
	OutboxStoreStatus status =
		outbox_page_read(stream->stuck_id - 1, stream->stuck_id + 1, 1,
						 copy_topic, NULL, topic, &rows);

	if (status == OUTBOX_STORE_OK)
		outbox_store_end();
	stream->stuck_since = GetCurrentTimestamp();
	if (status == OUTBOX_STORE_OK && topic[0] != '\0')
		stream->api->ask_topic(stream->sink, topic);
	return status;
}

/* What brokers say about the topic of the oldest event. */
void
outbox_settle_topic(OutboxStream *stream, const OutboxSinkEvent *answer)
{
	if (answer->state == OUTBOX_TOPIC_FAULTY &&
		answer->failure == OUTBOX_FAILURE_TOPIC &&
		outbox_publish_is_pending(stream) &&
		outbox_window_oldest(stream->window) == stream->stuck_id)
		outbox_settle_failed(stream, outbox_window_first_tag(stream->window),
							 answer->failure, answer->message);
}

/* Is the oldest event still the one that it was a while ago? */
static bool
is_stuck(OutboxStream *stream)
{
	uint64 oldest;

	if (!outbox_publish_is_pending(stream))
	{
		stream->stuck_id = 0;
		return false;
	}
	oldest = outbox_window_oldest(stream->window);
	if (oldest != stream->stuck_id)
	{
		stream->stuck_id = oldest;
		stream->stuck_since = GetCurrentTimestamp();
		return false;
	}
	/* to ask takes time while nobody answers */
	return TimestampDifferenceExceeds(
		stream->stuck_since, GetCurrentTimestamp(),
		stream->unreachable_since != 0 ? STUCK_UNREACHABLE_MS : STUCK_MS);
}

/* When the first event of the window is taken back, if no answer comes */
static TimestampTz
expires_at(const OutboxStream *stream)
{
	return Max(stream->expires_first,
			   TimestampTzPlusMilliseconds(stream->answered_at, EXPIRED_MS));
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
	OutboxStoreStatus status = park_culprits(stream, batch_bytes > 0);

	if (status != OUTBOX_STORE_OK)
		return status;
	if (batch_bytes > 0)
		stream->batch_bytes = batch_bytes;
	tell_given_up(stream);
	stream->failed = NULL;
	stream->failed_count = stream->failed_capacity = 0;
	if (stream->failed_context != NULL)
		MemoryContextReset(stream->failed_context);
	outbox_publish_close(stream);
	stream->ending = false;
	return OUTBOX_STORE_OK;
}

/* May batches be of any size again? */
static void
widen(OutboxStream *stream)
{
	if (stream->batch_bytes == 0 || stream->sink == NULL ||
		stream->trouble_since != 0 ||
		outbox_publish_position(stream) < stream->narrow_upto ||
		GetCurrentTimestamp() < stream->narrow_until)
		return;
	stream->batch_bytes = 0;
	stream->narrow_upto = 0;
	outbox_settle_begin(stream);
}

/*
 * Goes on with settling; does not wait. When the sink has been closed, the
 * relay opens another one.
 */
OutboxStoreStatus
outbox_settle_run(OutboxStream *stream, bool *progress)
{
	if (stream->ending)
	{
		if (is_waiting(stream))
			return OUTBOX_STORE_OK;
		*progress = true;
		return end(stream);
	}
	widen(stream);
	if (is_expired(stream))
		outbox_settle_begin(stream);
	if (is_stuck(stream))
		return check_topic(stream);
	return OUTBOX_STORE_OK;
}

/* How long there is nothing to do but to take in answers; -1 = for ever */
long
outbox_settle_timeout_ms(const OutboxStream *stream)
{
	TimestampTz now = GetCurrentTimestamp();

	if (stream->sink == NULL)
		return Max(TimestampDifferenceMilliseconds(now, stream->open_at), 0);
	if (stream->ending)
		return PURGE_EVERY_MS;
	if (!outbox_window_is_empty(stream->window))
		return Min(TimestampDifferenceMilliseconds(now, expires_at(stream)),
				   STUCK_MS);
	if (stream->batch_bytes != 0)
		return NARROW_MS;
	return -1;
}
