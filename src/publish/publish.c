/*-------------------------------------------------------------------------
 *
 * publish.c
 *	  Events on their way from the store to the sink, and into the window. What
 *	  the sink answers: answers.c.
 *
 * Reading goes on while earlier pages are in flight, until the window is
 * full; nothing here waits. After an error what has been handed to the sink
 * stays in the window, and it goes on behind that: undo().
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

#include "format/record.h"
#include "guc.h"
#include "poison/condemned.h"
#include "publish/pace.h"
#include "publish/park.h"
#include "publish/publish.h"
#include "publish/recovery.h"
#include "publish/topic_filter.h"
#include "retry/blocked_keys.h"
#include "retry/parked_writer.h"
#include "retry/to_dead_letter.h"
#include "shared/addressed.h"
#include "shared/commit_times.h"
#include "shared/event_log.h"
#include "shared/horizon.h"
#include "shared/my_relay.h"
#include "shared/policy.h"
#include "shared/relay_state.h"

/* rows that one transaction reads at most */
#define PAGE_ROWS 2000

/* the sink is being given this event, which is not in the window yet */
static uint64 handing_over = 0;

/* What outbox_segment_read() left off at */
typedef struct PageState
{
	OutboxStream *stream;
	uint64 last_id;        /* 0 = none taken */
	bool own;              /* not all of them were passed over by topic */
	bool stopped;          /* window or sink are full */
	bool held;             /* by an outage */
	bool unflushed;        /* what is read may be undone by a crash */
	bool own_ahead;        /* such an event is ours: it is read again */
	uint64 addressed_upto; /* see addressed.c */
	TimestampTz now;
	OutboxParkedWriter parked;
} PageState;

/* An event has its place in the window. */
static void
taken(PageState *page, uint64 id)
{
	page->last_id = id;
	page->own = true;
	page->stream->read_upto = page->stream->own_upto = id;
}

/* Passes over an event that is done already. */
static bool
pass_done(uint64 id, void *arg)
{
	PageState *page = arg;
	OutboxWindow *window = page->stream->window;
	uint64 tag = outbox_window_next_tag(window);

	if (!outbox_stream_is_done(page->stream, id))
		return false;
	/* it has a place in the window, too, until the position passes it: so no
	 * more than a window is remembered when this sink ends */
	outbox_window_add(window, id, 0, NULL, page->now);
	outbox_window_done(window, tag);
	taken(page, id);
	return true;
}

/* Passes over an event of a topic that this relay does not publish: to it,
 * there is no such event. */
static bool
pass_topic(uint64 id, const text *topic, void *arg)
{
	PageState *page = arg;

	if (outbox_topic_filter_has(topic))
		return false;
	page->last_id = page->stream->read_upto = id;
	return true;
}

/* An event that is not sent, but parked: done with the page's transaction. */
static void
set_aside(PageState *page, uint64 id)
{
	outbox_window_set_aside(page->stream->window, id);
	taken(page, id);
}

/* Parks an event that must not be sent; false if it must. */
static bool
is_set_aside(PageState *page, const OutboxEvent *event)
{
	if (event->expires_at <= page->now)
		outbox_parked_writer_expired(&page->parked, event);
	else if (outbox_blocked_keys_has(event))
		outbox_parked_writer_queue(&page->parked, event);
	else if (!outbox_parked_writer_suspect(&page->parked, event))
		return false;
	set_aside(page, event->id);
	return true;
}

/* Events that must not be sent are refused here, others by the sink. */
static OutboxSinkAnswer
send(OutboxStream *stream, OutboxRecord *record, const OutboxEvent *event,
	 OutboxFailure *failure, char *error)
{
	OutboxSinkAnswer answer;
	OutboxTopic *topic;

	record->tag = outbox_window_next_tag(stream->window);
	record->bytes = 0;
	if (!outbox_record_from_event(record, event, &outbox_policy.envelope,
								  error))
	{
		*failure = OUTBOX_FAILURE_INVALID;
		return OUTBOX_SINK_REFUSED;
	}
	if (!outbox_window_has_room(stream->window, record->bytes))
		return OUTBOX_SINK_FULL;
	topic = outbox_topic_find(record->topic);
	if (topic->error != NULL)
	{
		/* its events are kept back, to be parked together */
		*failure = OUTBOX_FAILURE_TOPIC;
		strlcpy(error, topic->error, OUTBOX_SINK_ERROR_MAX);
		return OUTBOX_SINK_REFUSED;
	}
	outbox_crash_note_note(OUTBOX_LANE_STREAM, event->id);
	handing_over = event->id;
	answer = outbox_sender_hand_over(&stream->sender, record, failure, error);
	handing_over = 0;
	return answer;
}

/* The event gets its place in the window. */
static void
add_to_window(PageState *page, const OutboxEvent *event,
			  const OutboxRecord *record)
{
	OutboxStream *stream = page->stream;
	TimestampTz committed_at;

	if (outbox_window_is_empty(stream->window))
	{
		stream->outage.last_result_at = GetCurrentTimestamp();
		stream->life.expires_first = DT_NOEND;
	}
	stream->life.expires_first =
		Min(stream->life.expires_first, event->expires_at);
	outbox_window_add(stream->window, event->id, record->bytes,
					  outbox_topic_find(record->topic), page->now);
	committed_at = outbox_commit_times_of(outbox_my_relay.db, event->id);
	if (committed_at == 0)
		committed_at = event->emitted_at;
	outbox_window_measure(stream->window, outbox_record_size(record),
						  page->now - committed_at);
	taken(page, event->id);
	/* last: it may find no memory, and the event is under way */
	if (unlikely(outbox_log_events))
		outbox_window_note(stream->window, outbox_event_log_name(event));
}

/* Takes an event that the sink has refused; false if the page ends with it. */
static bool
take_refused(PageState *page, const OutboxEvent *event,
			 const OutboxRecord *record, OutboxFailure failure,
			 const char *error)
{
	OutboxFailedAttempt attempt = {.failure = failure, .error = error};

	/* the sink has never had it, and would not take it again */
	if (outbox_failure_fate(&attempt) == OUTBOX_FATE_DEAD)
	{
		outbox_park_failed(&page->parked, event, &attempt);
		set_aside(page, event->id);
		return true;
	}
	add_to_window(page, event, record);
	outbox_recovery_failed(page->stream, record->tag, failure, error);
	/* nothing of its key may overtake it */
	return page->stream->state == OUTBOX_STREAM_OPEN;
}

/* Passes over an event that another relay alone publishes. */
static bool
is_for_other(PageState *page, const OutboxEvent *event)
{
	if (event->id > page->addressed_upto ||
		!outbox_event_is_for_other(event, outbox_my_relay.name))
		return false;
	page->last_id = page->stream->read_upto = event->id;
	return true;
}

/* Takes one event; false if it must wait. */
static bool
publish_event(const OutboxEvent *event, void *arg)
{
	PageState *page = arg;
	OutboxStream *stream = page->stream;
	OutboxRecord record;
	OutboxFailure failure;
	char error[OUTBOX_SINK_ERROR_MAX];

	if (is_for_other(page, event))
		return true;
	if (page->unflushed)
	{
		page->own_ahead = true;
		return false;
	}
	if (outbox_parked_writer_is_full(&page->parked))
	{
		page->stopped = true;
		return false;
	}
	if (is_set_aside(page, event))
		return true;

	/* in an outage it waits here, not in the sink, which would publish it
	 * however late; but one event must try if the outage is over */
	if (event->expires_at != DT_NOEND && stream->outage.since != 0 &&
		outbox_stream_is_pending(stream))
	{
		page->stopped = page->held = true;
		return false;
	}

	switch (send(stream, &record, event, &failure, error))
	{
		case OUTBOX_SINK_ACCEPTED:
			add_to_window(page, event, &record);
			return true;
		case OUTBOX_SINK_FULL:
			break;
		case OUTBOX_SINK_ENDED:
			outbox_stream_end(stream);
			break;
		case OUTBOX_SINK_REFUSED:
			if (take_refused(page, event, &record, failure, error))
				return true;
			break;
	}
	page->stopped = true;
	return false;
}

/* Nothing is read while it is not known what is blocked, or it is settled
 * what becomes of events that have failed. */
static bool
can_read(OutboxStream *stream)
{
	bool halted = (outbox_policy.on_failure == OUTBOX_ON_FAILURE_HALT &&
				   outbox_blocked_keys_any_failed());

	if (stream->state != OUTBOX_STREAM_OPEN ||
		!outbox_blocked_keys_is_loaded())
		return false;
	if (halted)
		outbox_relay_state_set(
			OUTBOX_RELAY_HALTED,
			"An event has failed, and outbox.on_failure is halt",
			"outbox.blocked tells which. It is tried again and again; "
			"outbox.discard() gives it up.");
	else if (outbox_relay_state() == OUTBOX_RELAY_HALTED)
		outbox_relay_state_set(OUTBOX_RELAY_PUBLISHING,
							   "No event that has failed is in the way", NULL);
	return !halted;
}

/* Makes a dead letter of an event that has raised errors again and again, or
 * crashed the process; it is passed over when its turn comes. */
static OutboxStoreStatus
condemned_to_dead_letter(OutboxStream *stream)
{
	OutboxCondemned event;
	OutboxStoreStatus status;

	if (!outbox_condemned_find(OUTBOX_LANE_STREAM, &event))
		return OUTBOX_STORE_OK;
	status = outbox_to_dead_letter(outbox_my_relay.name, OUTBOX_EVENT_TABLE,
								   event.id, event.error, event.by_signal);
	if (status != OUTBOX_STORE_OK)
		return status;
	outbox_condemned_done(&event);
	outbox_stream_skip(stream, event.id);
	return OUTBOX_STORE_OK;
}

/*
 * Reads a page below the horizon and hands it to the sink. The order of the
 * steps is that of horizon.c; but where only others' events are expected, the
 * WAL is not flushed for them: it is once the first of ours has been seen,
 * which is then read again.
 */
static OutboxTaskResult
run(const OutboxRound *round)
{
	OutboxStream *stream = round->stream;
	XLogRecPtr commit_lsn;
	OutboxStoreStatus status;
	PageState page = {.stream = stream, .now = GetCurrentTimestamp()};
	OutboxPageReader reader = {
		.pass = pass_done, .take = publish_event, .arg = &page};
	uint64 horizon;
	uint64 rows;
	bool worked;
	int limit;

	outbox_pace_awake();
	if (!can_read(stream))
		return OUTBOX_TASK_IDLE;
	limit = outbox_pace_page_limit(stream);
	if (limit == 0 || outbox_pace_rests(stream))
		return OUTBOX_TASK_IDLE;
	page.unflushed = outbox_pace_look(page.now);
	status = condemned_to_dead_letter(stream);
	if (status != OUTBOX_STORE_OK)
		return outbox_store_task_result(status, false);

	if (!stream->has_more)
		outbox_horizon_sleep(outbox_my_relay.db, outbox_my_relay.slot);
	horizon = outbox_horizon_read(outbox_my_relay.db, &commit_lsn);
	pg_atomic_write_u64(&outbox_my_relay.slot->horizon, horizon);
	page.addressed_upto = outbox_addressed_upto(outbox_my_relay.db);
	if (horizon - 1 <= stream->read_upto)
	{
		worked = stream->has_more;
		stream->has_more = false;
		return worked ? OUTBOX_TASK_WORKED : OUTBOX_TASK_IDLE;
	}
	/* below this horizon there may be events that must queue behind what has
	 * just been requeued */
	if (!outbox_blocked_keys_is_loaded())
		return OUTBOX_TASK_WORKED;

	if (!page.unflushed)
		XLogFlush(commit_lsn);
	if (outbox_topic_filter_is_set())
		reader.pass_topic = pass_topic;
	status = outbox_parked_writer_read(&page.parked, stream->read_upto,
									   horizon, limit, &reader, &rows);
	if (status != OUTBOX_STORE_OK)
		return outbox_store_task_result(status, false);
	outbox_window_aside_done(stream->window);

	/* a sink that is full goes on with its next answer */
	worked = page.last_id != 0 || page.own_ahead ||
			 stream->state != OUTBOX_STREAM_OPEN ||
			 !(page.stopped || page.held);
	stream->has_events = stream->has_events || page.last_id != 0;
	stream->has_more =
		page.stopped || page.own_ahead || rows == (uint64) limit;
	if (!stream->has_more)
		stream->read_upto = horizon - 1;
	if (page.last_id != 0 && !page.own && !stream->has_more)
		outbox_pace_only_others();
	if (outbox_guard_suspect() <= stream->read_upto)
		outbox_guard_acquit();
	return worked ? OUTBOX_TASK_WORKED : OUTBOX_TASK_IDLE;
}

/*
 * An error has been raised by run(), and its transaction has
 * been undone. What was to be parked is read again, once it is known what
 * becomes of that which has been handed to the sink.
 */
static void
undo(const OutboxRound *round)
{
	OutboxStream *stream = round->stream;

	if (stream->state == OUTBOX_STREAM_CLOSED)
		return;
	stream->has_more = true;
	/* blocks that have been noted for rows which are not there */
	if (outbox_window_has_aside(stream->window))
		outbox_blocked_keys_reload();
	/* perhaps it has been, perhaps not: its tag is not used again */
	if (handing_over != 0)
		outbox_window_add(stream->window, handing_over, 0, NULL,
						  GetCurrentTimestamp());
	if (handing_over != 0 || outbox_window_has_aside(stream->window))
		outbox_stream_end(stream);
	handing_over = 0;
}

OutboxTask outbox_publish_task = {
	.name = "publishing events",
	.needs = OUTBOX_TASK_NEEDS_TO_PUBLISH,
	.care = OUTBOX_TASK_WHEN_SETTLED,
	.run = run,
	.timeout_ms = outbox_pace_timeout_ms,
	.undo = undo,
	.reload = outbox_topic_filter_forget,
};
