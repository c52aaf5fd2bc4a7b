/*-------------------------------------------------------------------------
 *
 * answers.c
 *	  Takes in what the stream's sink has to tell, and gives it to whom it
 *	  concerns: the window, recovery.c if an event has failed, stuck.c,
 *	  outage.c.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "utils/timestamp.h"

#include "guc.h"
#include "publish/answers.h"
#include "publish/recovery.h"
#include "publish/stuck.h"
#include "shared/event_log.h"
#include "shared/figures.h"
#include "shared/my_relay.h"
#include "shared/wait.h"

/* Counts an event that has been acknowledged and is not done yet. */
static void
count_delivered(const OutboxWindow *window, uint64 tag, TimestampTz now)
{
	OutboxTopic *topic = outbox_window_topic(window, tag);
	const char *note;
	int64 sent_us;
	int64 waited_us;
	OutboxTopicFigures *figures;

	if (topic == NULL)
		return;
	sent_us = now - outbox_window_sent_at(window, tag);
	waited_us = outbox_window_waited_us(window, tag);
	figures = outbox_figures_topic(topic->name);
	figures->published_at = now;
	outbox_figures_published(figures, outbox_window_size(window, tag), sent_us,
							 sent_us + waited_us);
	note = outbox_window_note_of(window, tag);
	if (unlikely(note != NULL) && outbox_log_events)
		outbox_event_log_acknowledged(note, waited_us, sent_us);
}

static void
take_delivered(OutboxStream *stream, uint64 count)
{
	pg_atomic_fetch_add_u64(&outbox_my_relay.slot->published, count);
	stream->outage.login_failures = 0;
	stream->life.delivered_at = GetCurrentTimestamp();
	outbox_outage_over(&stream->outage, outbox_stream_is_pending(stream));
}

/* No broker can be reached, or they refuse our credentials. */
static void
take_unreachable(OutboxStream *stream, const OutboxSinkEvent *event)
{
	OutboxOutage *outage = &stream->outage;

	if (event->failure != OUTBOX_FAILURE_LOGIN)
	{
		outbox_outage_unreachable(outage, outbox_stream_is_pending(stream));
		return;
	}
	if (stream->state == OUTBOX_STREAM_OPEN)
	{
		outbox_stream_end(stream);
		stream->open_at = TimestampTzPlusMilliseconds(
			GetCurrentTimestamp(), outbox_outage_login_delay_ms(outage));
	}
	outbox_outage_refused(outage, event->trouble, event->message);
}

/* Takes in all that the sink has to tell. Returns whether there was any. */
static bool
poll_sink(OutboxStream *stream)
{
	OutboxSinkEvent event;
	uint64 delivered = 0;
	TimestampTz now = 0;
	bool any = false;

	while (outbox_sender_poll(&stream->sender, &event))
	{
		any = true;
		switch (event.type)
		{
			case OUTBOX_SINK_DELIVERED:
				if (delivered == 0)
					now = GetCurrentTimestamp();
				count_delivered(stream->window, event.tag, now);
				outbox_window_done(stream->window, event.tag);
				delivered++;
				break;
			case OUTBOX_SINK_PURGED:
				outbox_window_answered(stream->window, event.tag);
				break;
			case OUTBOX_SINK_FAILED:
				outbox_recovery_failed(stream, event.tag, event.failure,
									   event.message);
				break;
			case OUTBOX_SINK_FATAL:
				outbox_stream_end(stream);
				break;
			case OUTBOX_SINK_TOPIC:
				outbox_stuck_answer(stream, &event);
				break;
			case OUTBOX_SINK_LOST:
				outbox_outage_lost(&stream->outage,
								   outbox_stream_is_pending(stream),
								   event.trouble, event.message);
				break;
			case OUTBOX_SINK_UNREACHABLE:
				take_unreachable(stream, &event);
				break;
			case OUTBOX_SINK_LOG:
				outbox_outage_complaint(&stream->outage, event.log_level,
										event.message);
				break;
			case OUTBOX_SINK_STATISTICS:
				outbox_figures_sink(event.statistics);
				break;
		}
	}
	if (delivered > 0)
		take_delivered(stream, delivered);
	else
		outbox_outage_check(&stream->outage, outbox_stream_is_pending(stream));
	return any;
}

/*
 * Reads nothing more and waits until all answers are here, but not longer
 * than that. Returns whether they are.
 */
bool
outbox_answers_drain(OutboxStream *stream, long grace_ms)
{
	TimestampTz deadline =
		TimestampTzPlusMilliseconds(GetCurrentTimestamp(), grace_ms);

	do
	{
		poll_sink(stream);
		if (!outbox_stream_is_pending(stream))
			return true;
	} while (outbox_wait_answers(deadline, grace_ms));
	return false;
}

static OutboxTaskResult
run(const OutboxRound *round)
{
	static uint64 published = 0;
	OutboxStream *stream = round->stream;
	uint64 before = published;

	/* an outage may end while the stream itself has nothing to send */
	published = pg_atomic_read_u64(&outbox_my_relay.slot->published);
	if (stream->outage.since != 0 && published != before &&
		!outbox_stream_is_pending(stream))
		outbox_outage_over(&stream->outage, false);
	return poll_sink(stream) ? OUTBOX_TASK_WORKED : OUTBOX_TASK_IDLE;
}

static long
timeout_ms(const OutboxRound *round)
{
	return outbox_outage_timeout_ms(&round->stream->outage,
									outbox_stream_is_pending(round->stream));
}

/* Answers may have been lost with the error. */
static void
undo(const OutboxRound *round)
{
	outbox_stream_end(round->stream);
}

OutboxTask outbox_answers_task = {
	.name = "taking in answers",
	.run = run,
	.timeout_ms = timeout_ms,
	.undo = undo,
};
