/*-------------------------------------------------------------------------
 *
 * stuck.c
 *	  Events that get no answer, while brokers can be reached: a partition has
 *	  no leader, or too few replicas, or a broker hangs, or the client library
 *	  says nothing of a topic that we are not allowed to see.
 *
 * The brokers are asked about the topics of such events, all at once. What
 * they say is held against the topic,
 *
 *	  it is at fault					at once
 *	  a partition has no leader			if others are acknowledged; and after
 *										a while even if there are none
 *	  nothing is wrong with it			if others are acknowledged, after a
 *										while
 *	  (no broker answers)				never: that is an outage
 *
 * and then its events are taken back and parked, so that nobody else waits
 * for them. The sink must end for that: it has no other way to give them back.
 * That happens once for all of them, and not again as long as they are
 * blocked.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "utils/timestamp.h"

#include "publish/stuck.h"

/* an event's topic is asked about after OUTBOX_SENDER_STUCK_MS without an
 * answer, or so long while brokers cannot be reached */
#define STUCK_UNREACHABLE_MS 10000

/* so often, and about so many topics at once */
#define ASK_EVERY_MS         1000
#define ASK_TOPICS           500

/* how long the other answers are waited for, after one that is bad */
#define GATHER_MS            300

/* a partition has no leader for so long, while nobody else sends anything */
#define LEADERLESS_MS        30000

/* an acknowledgement counts for others that were sent so long before, ... */
#define AHEAD_MS             1000
/* ... for so long */
#define FRESH_MS             3000

static bool
is_older(TimestampTz since, int ms, TimestampTz now)
{
	return since <= TimestampTzPlusMilliseconds(now, -ms);
}

static int
patience_ms(const OutboxStream *stream)
{
	return stream->outage.unreachable_since != 0 ? STUCK_UNREACHABLE_MS
												 : OUTBOX_SENDER_STUCK_MS;
}

/* Asks about the topics of the events that have had no answer for a while. */
static void
ask(OutboxStream *stream, TimestampTz now)
{
	const OutboxWindow *window = stream->window;
	int topics = 0;

	for (uint64 tag = outbox_window_first_tag(window);
		 tag < outbox_window_next_tag(window) && topics < ASK_TOPICS; tag++)
	{
		OutboxTopic *topic = outbox_window_topic(window, tag);

		if (topic == NULL || outbox_window_is_answered(window, tag))
			continue;
		if (!is_older(outbox_window_sent_at(window, tag), patience_ms(stream),
					  now))
			break;
		/* the sink should have given it back */
		if (topic->error != NULL &&
			is_older(outbox_window_sent_at(window, tag),
					 OUTBOX_SENDER_SILENT_MS, now))
			stream->life.stuck = true;
		if (topic->asked_at == now || topic->error != NULL)
			continue;
		topic->asked_at = now;
		topic->stuck_since = outbox_window_sent_at(window, tag);
		outbox_sender_ask_topic(&stream->sender, topic->name);
		topics++;
	}
}

/* Looks after events without an answer, of an open sink; cheap if there are
 * none. */
void
outbox_stuck_check(OutboxStream *stream)
{
	TimestampTz now = GetCurrentTimestamp();
	OutboxSinkLife *life = &stream->life;

	if (!outbox_stream_is_pending(stream))
		return;
	if (life->stuck)
	{
		if (is_older(life->asked_at, GATHER_MS, now))
			outbox_stream_end(stream);
		return;
	}
	if (!is_older(life->asked_at, ASK_EVERY_MS, now) ||
		!is_older(outbox_window_sent_at(
					  stream->window, outbox_window_first_tag(stream->window)),
				  patience_ms(stream), now))
		return;
	life->asked_at = now;
	ask(stream, now);
}

/* Since when the topic has been stuck; 0 if an answer has come meanwhile */
static TimestampTz
stuck_since(const OutboxStream *stream, const OutboxTopic *topic)
{
	const OutboxWindow *window = stream->window;

	for (uint64 tag = outbox_window_first_tag(window);
		 tag < outbox_window_next_tag(window); tag++)
	{
		if (outbox_window_topic(window, tag) == topic &&
			!outbox_window_is_answered(window, tag))
			/* an outage is not held against the topic */
			return outbox_window_sent_at(window, tag) == topic->stuck_since
					   ? Max(topic->stuck_since, stream->outage.back_at)
					   : 0;
	}
	return 0;
}

/* Are others acknowledged that were sent later? */
static bool
others_pass(const OutboxStream *stream, TimestampTz since, TimestampTz now)
{
	TimestampTz delivered_at = stream->life.delivered_at;

	return is_older(since, AHEAD_MS, delivered_at) &&
		   !is_older(delivered_at, FRESH_MS, now);
}

static void
blame(OutboxStream *stream, OutboxTopic *topic, bool counted,
	  const char *error)
{
	outbox_topic_failed(topic, error);
	topic->uncounted = !counted;
	stream->life.stuck = true;
}

/* What brokers say about a topic */
void
outbox_stuck_answer(OutboxStream *stream, const OutboxSinkEvent *answer)
{
	OutboxTopic *topic = outbox_topic_find(answer->topic);
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz since;
	char error[OUTBOX_SINK_ERROR_MAX];

	if (topic->error != NULL || topic->in_flight == 0)
		return;
	since = stuck_since(stream, topic);
	if (since == 0)
		return;
	switch (answer->state)
	{
		case OUTBOX_TOPIC_FAULTY:
			if (answer->failure == OUTBOX_FAILURE_TOPIC)
				blame(stream, topic, true, answer->message);
			break;
		case OUTBOX_TOPIC_LEADERLESS:
			outbox_outage_complaint(&stream->outage, 0, answer->message);
			if (!others_pass(stream, since, now) &&
				!is_older(since, LEADERLESS_MS, now))
				break;
			blame(stream, topic, false, answer->message);
			/* that was no outage */
			outbox_outage_over(&stream->outage,
							   outbox_stream_is_pending(stream));
			break;
		case OUTBOX_TOPIC_FINE:
			if (stream->outage.since != 0 ||
				stream->outage.unreachable_since != 0 ||
				!others_pass(stream, since, now) ||
				!is_older(since, OUTBOX_SENDER_SILENT_MS, now))
				break;
			snprintf(error, sizeof(error),
					 "no answer from the brokers for %d s, while others are "
					 "acknowledged",
					 (int) ((now - since) / USECS_PER_SEC));
			blame(stream, topic, false, error);
			break;
		case OUTBOX_TOPIC_SILENT:
			break;
	}
}

/* How soon outbox_stuck_check() may have something to do */
long
outbox_stuck_timeout_ms(const OutboxStream *stream)
{
	const OutboxWindow *window = stream->window;
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz next;

	if (stream->life.stuck)
		next = TimestampTzPlusMilliseconds(stream->life.asked_at, GATHER_MS);
	else
		next = Max(
			TimestampTzPlusMilliseconds(
				outbox_window_sent_at(window, outbox_window_first_tag(window)),
				patience_ms(stream)),
			TimestampTzPlusMilliseconds(stream->life.asked_at, ASK_EVERY_MS));
	return Max(TimestampDifferenceMilliseconds(now, next), 1);
}
