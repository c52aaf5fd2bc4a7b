/*-------------------------------------------------------------------------
 *
 * publish.c
 *	  The stream of events from the store through the window to the sink: the
 *	  only place that knows all three.
 *
 *	  read_upto	every id up to here has been read or does not exist
 *	  position	every event up to here is acknowledged: the oldest one in the
 *				window less one, or read_upto if the window is empty
 *
 * Reading goes on while earlier pages are in flight, until the window is
 * full. The functions do not wait, but for outbox_publish_drain(); an error
 * ends the process, and the next one goes on from the written position.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/xlog.h"
#include "aside.h"
#include "blocks.h"
#include "guc.h"
#include "horizon.h"
#include "liblog.h"
#include "miscadmin.h"
#include "page.h"
#include "publish.h"
#include "record.h"
#include "settle.h"
#include "status.h"
#include "stop.h"
#include "storage/procsignal.h"
#include "trouble.h"
#include "utils/timestamp.h"
#include "wait.h"

/* rows that one transaction reads at most */
#define PAGE_ROWS     2000

/* how soon tables that others have locked are tried again */
#define BUSY_RETRY_MS 50

/* The position, which only grows. */
uint64
outbox_publish_position(const OutboxStream *stream)
{
	uint64 position = stream->read_upto;

	if (stream->window != NULL && !outbox_window_is_empty(stream->window))
		position = outbox_window_oldest(stream->window) - 1;
	return position;
}

/* Does the sink owe us answers? */
bool
outbox_publish_is_pending(const OutboxStream *stream)
{
	return stream->sink != NULL &&
		   outbox_window_unanswered(stream->window) > 0;
}

/* Shows others how far we are. */
void
outbox_publish_show_position(OutboxStream *stream)
{
	uint64 position = outbox_publish_position(stream);

	if (pg_atomic_read_u64(&stream->db->position) == position)
		return;
	pg_atomic_write_u64(&stream->db->position, position);
	ConditionVariableBroadcast(&stream->db->position_moved);
}

static void
take_delivered(OutboxStream *stream, uint64 count)
{
	pg_atomic_fetch_add_u64(&stream->db->published, count);
	stream->login_failures = 0;
	outbox_trouble_over(stream);
}

/* Takes in all that the sink has to tell. Returns whether there was any. */
bool
outbox_publish_poll(OutboxStream *stream)
{
	OutboxSinkEvent event;
	uint64 delivered = 0;
	bool any = false;

	while (stream->sink != NULL && stream->api->poll(stream->sink, &event))
	{
		any = true;
		switch (event.type)
		{
			case OUTBOX_SINK_DELIVERED:
				outbox_window_done(stream->window, event.tag);
				delivered++;
				break;
			case OUTBOX_SINK_PURGED:
				outbox_window_answered(stream->window, event.tag);
				break;
			case OUTBOX_SINK_FAILED:
				outbox_settle_failed(stream, event.tag, event.failure,
									 event.message);
				break;
			case OUTBOX_SINK_FATAL:
				outbox_settle_given_up(stream, event.message);
				break;
			case OUTBOX_SINK_TOPIC:
				outbox_settle_topic(stream, &event);
				break;
			case OUTBOX_SINK_LOST:
				outbox_trouble_lost(stream, event.message);
				break;
			case OUTBOX_SINK_UNREACHABLE:
				outbox_trouble_unreachable(stream, event.failure,
										   event.message);
				break;
			case OUTBOX_SINK_LOG:
				outbox_trouble_complaint(stream, event.log_level,
										 event.message);
				outbox_liblog(event.log_level, event.message);
				break;
		}
	}
	if (delivered > 0)
		take_delivered(stream, delivered);
	else
		outbox_trouble_check(stream);
	return any;
}

/* What outbox_page_read() left off at */
typedef struct PageState
{
	OutboxStream *stream;
	uint64 last_id; /* 0 = none taken */
	bool stopped;   /* window or sink are full */
	bool held;      /* by an outage */
	TimestampTz now;
	OutboxAside aside;
} PageState;

/* Has this event been published or parked by an earlier sink? */
static bool
is_done(OutboxStream *stream, uint64 id)
{
	while (stream->skip_next < stream->skip_count &&
		   stream->skip[stream->skip_next] < id)
		stream->skip_next++;
	if (stream->skip_next == stream->skip_count ||
		stream->skip[stream->skip_next] != id)
		return false;
	stream->skip_next++;
	return true;
}

/*
 * An event that is not sent. If the transaction that reads the page, and parks
 * it, fails, the process ends with all that it believes.
 */
static void
pass_over(PageState *page, uint64 id)
{
	OutboxWindow *window = page->stream->window;
	uint64 tag = outbox_window_next_tag(window);

	/* it has a place in the window, too, until the position passes it: so no
	 * more than a window is remembered when this sink ends */
	outbox_window_add(window, id, 0);
	outbox_window_done(window, tag);
	page->last_id = id;
}

/* Events that must not be sent are refused here, others by the sink. */
static OutboxSinkAnswer
send(OutboxStream *stream, OutboxRecord *record, const OutboxEvent *event,
	 OutboxFailure *failure, char *error)
{
	record->tag = outbox_window_next_tag(stream->window);
	record->bytes = 0;
	if (!outbox_record_from_event(record, event, error))
	{
		*failure = OUTBOX_FAILURE_INVALID;
		return OUTBOX_SINK_REFUSED;
	}
	if (!outbox_window_has_room(stream->window, record->bytes))
		return OUTBOX_SINK_FULL;
	return stream->api->publish(stream->sink, record, failure, error);
}

/* Hands one event to the sink; false if it must wait. */
static bool
publish_event(const OutboxEvent *event, void *arg)
{
	PageState *page = arg;
	OutboxStream *stream = page->stream;
	OutboxRecord record;
	OutboxFailure failure;
	char error[OUTBOX_SINK_ERROR_MAX];

	if (outbox_aside_is_full(&page->aside))
	{
		page->stopped = true;
		return false;
	}
	if (is_done(stream, event->id))
	{
		pass_over(page, event->id);
		return true;
	}
	if (event->expires_at <= page->now)
	{
		outbox_aside_expired(&page->aside, event);
		pass_over(page, event->id);
		return true;
	}
	if (outbox_blocks_has(event))
	{
		outbox_aside_queue(&page->aside, event);
		pass_over(page, event->id);
		return true;
	}

	/* in an outage it waits here, not in the sink, which would publish it
	 * however late; but one event must try if the outage is over */
	if (event->expires_at != DT_NOEND && stream->trouble_since != 0 &&
		outbox_window_unanswered(stream->window) > 0)
	{
		page->stopped = page->held = true;
		return false;
	}

	switch (send(stream, &record, event, &failure, error))
	{
		case OUTBOX_SINK_ACCEPTED:
			break;
		case OUTBOX_SINK_FULL:
			page->stopped = true;
			return false;
		case OUTBOX_SINK_ENDED:
			outbox_settle_begin(stream);
			page->stopped = true;
			return false;
		case OUTBOX_SINK_REFUSED:
			outbox_window_add(stream->window, event->id, record.bytes);
			outbox_settle_failed(stream, record.tag, failure, error);
			page->last_id = event->id;
			/* nothing of its key may overtake it */
			page->stopped = true;
			return false;
	}
	if (outbox_window_is_empty(stream->window))
	{
		stream->answered_at = GetCurrentTimestamp();
		stream->expires_first = DT_NOEND;
	}
	stream->expires_first = Min(stream->expires_first, event->expires_at);
	outbox_window_add(stream->window, event->id, record.bytes);
	page->last_id = event->id;
	return true;
}

/* Nothing is read while it is not known what is blocked, or it is settled
 * what becomes of events that have failed. */
static bool
can_read(OutboxStream *stream)
{
	bool halted =
		(outbox_on_failure == OUTBOX_ON_FAILURE_HALT && outbox_blocks_any());

	if (stream->sink == NULL || stream->ending || stream->failed_count > 0 ||
		!outbox_blocks_is_loaded())
		return false;
	if (halted)
		outbox_status_set(stream->db, OUTBOX_RELAY_HALTED);
	else if (stream->db->relay.state == OUTBOX_RELAY_HALTED)
		outbox_status_set(stream->db, OUTBOX_RELAY_PUBLISHING);
	return !halted;
}

static OutboxStoreStatus
busy(OutboxStream *stream, OutboxStoreStatus status)
{
	if (status == OUTBOX_STORE_BUSY)
		stream->busy_until =
			TimestampTzPlusMilliseconds(GetCurrentTimestamp(), BUSY_RETRY_MS);
	return status;
}

/*
 * Reads a page below the horizon and hands it to the sink; progress becomes
 * whether there was anything. The order of the steps is that of horizon.c.
 */
OutboxStoreStatus
outbox_publish_page(OutboxStream *stream, bool *progress)
{
	XLogRecPtr commit_lsn;
	OutboxStoreStatus status;
	PageState page = {.stream = stream,
					  .now = GetCurrentTimestamp(),
					  .aside.relay = stream->relay};
	uint64 horizon;
	uint64 rows;
	int limit;

	*progress = false;
	if (!can_read(stream))
		return OUTBOX_STORE_OK;
	limit = Min(PAGE_ROWS, outbox_window_room(stream->window));
	if (limit == 0 || page.now < stream->busy_until)
		return OUTBOX_STORE_OK;

	if (!stream->more)
		outbox_horizon_sleep(stream->db);
	horizon = outbox_horizon_read(stream->db, &commit_lsn);
	pg_atomic_write_u64(&stream->db->horizon, horizon);
	if (horizon - 1 <= stream->read_upto)
	{
		*progress = stream->more;
		stream->more = false;
		return OUTBOX_STORE_OK;
	}
	/* below this horizon there may be events that must queue behind what has
	 * just been requeued */
	if (!outbox_blocks_is_loaded())
	{
		*progress = true;
		return OUTBOX_STORE_OK;
	}

	XLogFlush(commit_lsn);
	status = outbox_page_read(stream->read_upto, horizon, limit, publish_event,
							  &page, &rows);
	if (status != OUTBOX_STORE_OK)
		return busy(stream, status);
	/* as for the page itself: a request to end waits for what belongs to it */
	HOLD_INTERRUPTS();
	outbox_aside_write(&page.aside);
	outbox_store_end();
	RESUME_INTERRUPTS();
	outbox_aside_tell(&page.aside);

	/* a sink that is full goes on with its next answer */
	*progress =
		page.last_id != 0 || stream->ending || !(page.stopped || page.held);
	stream->used = stream->used || page.last_id != 0;
	stream->more = page.stopped || rows == (uint64) limit;
	if (!stream->more)
		stream->read_upto = horizon - 1;
	else if (page.last_id != 0)
		stream->read_upto = page.last_id;
	return OUTBOX_STORE_OK;
}

/*
 * Reads nothing more and waits until all answers are here, but not longer
 * than that. Returns whether they are.
 */
bool
outbox_publish_drain(OutboxStream *stream, long grace_ms)
{
	TimestampTz deadline =
		TimestampTzPlusMilliseconds(GetCurrentTimestamp(), grace_ms);

	if (stream->sink == NULL)
		return true;
	for (;;)
	{
		long left;

		/* others wait for every process to answer, whatever it is doing */
		if (ProcSignalBarrierPending)
			ProcessProcSignalBarrier();
		outbox_publish_poll(stream);
		if (stream->sink == NULL || outbox_window_is_empty(stream->window))
			return true;
		left =
			TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);
		if (left <= 0 || outbox_stop_cuts_short(grace_ms))
			return false;
		outbox_wait_answers(Min(left, 100), OUTBOX_WAIT_RELAY_DRAIN);
	}
}

/*
 * Goes on with another sink. Events that are done are remembered, the others
 * of the window are read again.
 */
void
outbox_publish_open(OutboxStream *stream, OutboxSink *sink,
					const OutboxSinkConfig *config)
{
	outbox_publish_close(stream);
	stream->sink = sink;
	stream->window = outbox_window_create(
		config->window_events, (int64) config->window_size_kb * 1024);
	stream->complaint[0] = '\0';
	stream->complaint_untold = false;
	stream->more = true;
	stream->expires_first = DT_NOEND;
	if (stream->trouble_since == 0)
	{
		stream->unreachable_since = 0;
		outbox_status_set(stream->db, OUTBOX_RELAY_PUBLISHING);
	}
}

/* Closes the sink; events without an answer will be read again. */
void
outbox_publish_close(OutboxStream *stream)
{
	OutboxSink *sink = stream->sink;

	stream->sink = NULL;
	if (sink == NULL)
		return;
	stream->api->close(sink);
	outbox_settle_remember(stream);
	outbox_window_free(stream->window);
	stream->window = NULL;
}
