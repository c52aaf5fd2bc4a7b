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

#include <syslog.h>

#include "access/xlog.h"
#include "horizon.h"
#include "liblog.h"
#include "miscadmin.h"
#include "publish.h"
#include "record.h"
#include "status.h"
#include "storage/procsignal.h"
#include "utils/timestamp.h"
#include "wait.h"

/* rows that one transaction reads at most */
#define PAGE_ROWS     2000

/* how soon tables that others have locked are tried again */
#define BUSY_RETRY_MS 50

/* how long brokers may be silent until it is called an outage */
#define SILENCE_MS    5000

/* The position, which only grows. */
uint64
outbox_publish_position(const OutboxStream *stream)
{
	if (stream->window == NULL || outbox_window_is_empty(stream->window))
		return stream->read_upto;
	return outbox_window_oldest(stream->window) - 1;
}

/* Shows others how far we are. */
static void
show_position(OutboxStream *stream)
{
	uint64 position = outbox_publish_position(stream);

	if (pg_atomic_read_u64(&stream->db->position) == position)
		return;
	pg_atomic_write_u64(&stream->db->position, position);
	ConditionVariableBroadcast(&stream->db->position_moved);
}

static void
tell_unreachable(OutboxStream *stream, const char *reason)
{
	/* a connection lost while there is nothing to send is no outage */
	if (stream->unavailable_since != 0 ||
		outbox_window_is_empty(stream->window))
		return;
	stream->unavailable_since = GetCurrentTimestamp();
	outbox_status_error(stream->db, reason);
	outbox_status_set(stream->db, OUTBOX_RELAY_UNAVAILABLE);
	ereport(LOG, (errmsg("outbox relay for database \"%s\": Kafka is "
						 "unavailable: %s",
						 stream->database, reason),
				  errdetail("Events are kept, and published when it is "
							"back.")));
}

/*
 * How long until missing answers are called an outage; -1 if none are
 * missing, or it is called one already. The sink may tell of a lost connection
 * once only, perhaps while there was nothing to send, and it tells nothing
 * while brokers refuse for now or keep silent.
 */
long
outbox_publish_patience_ms(const OutboxStream *stream)
{
	if (stream->sink == NULL || stream->unavailable_since != 0 ||
		outbox_window_is_empty(stream->window))
		return -1;
	return TimestampDifferenceMilliseconds(
		GetCurrentTimestamp(),
		TimestampTzPlusMilliseconds(stream->answered_at, SILENCE_MS));
}

/* Keeps what the sink has said last, in case no answer comes. */
static void
keep_complaint(OutboxStream *stream, const char *message)
{
	strlcpy(stream->complaint, message, sizeof(stream->complaint));
}

static void
tell_reachable(OutboxStream *stream)
{
	long seconds =
		(GetCurrentTimestamp() - stream->unavailable_since) / USECS_PER_SEC;

	stream->unavailable_since = 0;
	outbox_status_set(stream->db, OUTBOX_RELAY_PUBLISHING);
	ereport(LOG, (errmsg("outbox relay for database \"%s\": Kafka is "
						 "available again after %ld s",
						 stream->database, seconds)));
}

static void
fail(OutboxStream *stream, const char *what, const char *reason)
{
	outbox_status_error(stream->db, reason);
	ereport(ERROR, (errcode(ERRCODE_CONNECTION_FAILURE),
					errmsg("%s: %s", what, reason)));
}

/* Takes in all that the sink has to tell. Returns whether there was any. */
bool
outbox_publish_poll(OutboxStream *stream)
{
	OutboxSinkEvent event;
	uint64 delivered = 0;
	bool any = false;

	if (stream->sink == NULL)
		return false;
	while (stream->api->poll(stream->sink, &event))
	{
		any = true;
		switch (event.type)
		{
			case OUTBOX_SINK_DELIVERED:
				outbox_window_done(stream->window, event.tag);
				delivered++;
				break;
			case OUTBOX_SINK_PURGED:
				break;
			case OUTBOX_SINK_FAILED:
				fail(stream,
					 psprintf("could not publish event %llu",
							  (unsigned long long) outbox_window_id(
								  stream->window, event.tag)),
					 event.message);
				break;
			case OUTBOX_SINK_FATAL:
				fail(stream, "the Kafka producer has failed", event.message);
				break;
			case OUTBOX_SINK_UNREACHABLE:
				keep_complaint(stream, event.message);
				tell_unreachable(stream, event.message);
				break;
			case OUTBOX_SINK_LOG:
				if (event.log_level <= LOG_WARNING)
					keep_complaint(stream, event.message);
				outbox_liblog(event.log_level, event.message);
				break;
		}
	}

	if (delivered > 0)
	{
		pg_atomic_fetch_add_u64(&stream->db->published, delivered);
		stream->answered_at = GetCurrentTimestamp();
		stream->complaint[0] = '\0';
		if (stream->unavailable_since != 0)
			tell_reachable(stream);
		show_position(stream);
	}
	else if (outbox_publish_patience_ms(stream) == 0)
		tell_unreachable(stream, stream->complaint[0] ? stream->complaint
													  : "no broker answers");
	return any;
}

/* What outbox_store_read() left off at */
typedef struct PageState
{
	OutboxStream *stream;
	uint64 last_id; /* 0 = none taken */
	bool stopped;   /* window or sink are full */
} PageState;

/* Hands one event to the sink; false if it must wait. */
static bool
publish_event(const OutboxEvent *event, void *arg)
{
	PageState *page = arg;
	OutboxStream *stream = page->stream;
	OutboxRecord record;
	char error[OUTBOX_SINK_ERROR_MAX];
	int64 bytes;

	outbox_record_from_event(&record, event);
	record.tag = outbox_window_next_tag(stream->window);
	bytes = outbox_record_bytes(&record);
	if (!outbox_window_has_room(stream->window, bytes))
	{
		page->stopped = true;
		return false;
	}

	switch (stream->api->publish(stream->sink, &record, error))
	{
		case OUTBOX_SINK_ACCEPTED:
			break;
		case OUTBOX_SINK_FULL:
			page->stopped = true;
			return false;
		case OUTBOX_SINK_REFUSED:
			fail(stream,
				 psprintf("could not publish event %llu",
						  (unsigned long long) event->id),
				 error);
	}
	if (outbox_window_is_empty(stream->window))
		stream->answered_at = GetCurrentTimestamp();
	outbox_window_add(stream->window, event->id, bytes);
	page->last_id = event->id;
	return true;
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
	PageState page = {.stream = stream};
	uint64 horizon;
	uint64 rows;
	int limit;

	*progress = false;
	if (stream->sink == NULL)
		return OUTBOX_STORE_OK;
	limit = Min(PAGE_ROWS, outbox_window_room(stream->window));
	if (limit == 0 || GetCurrentTimestamp() < stream->busy_until)
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

	XLogFlush(commit_lsn);
	status = outbox_store_read(stream->read_upto, horizon, limit,
							   publish_event, &page, &rows);
	if (status != OUTBOX_STORE_OK)
	{
		stream->busy_until =
			TimestampTzPlusMilliseconds(GetCurrentTimestamp(), BUSY_RETRY_MS);
		return status;
	}

	*progress = (rows > 0);
	stream->more = page.stopped || rows == (uint64) limit;
	if (!stream->more)
		stream->read_upto = horizon - 1;
	else if (page.last_id != 0)
		stream->read_upto = page.last_id;
	show_position(stream);
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
		if (outbox_window_is_empty(stream->window))
			return true;
		left =
			TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);
		/* a request to end makes a long grace a short one */
		if (left <= 0 ||
			(ProcDiePending && grace_ms > OUTBOX_PUBLISH_STOP_GRACE_MS))
			return false;
		outbox_wait_fd(stream->api->event_fd(stream->sink), Min(left, 100),
					   OUTBOX_WAIT_RELAY_DRAIN);
	}
}

/* Goes on with another sink and an empty window. */
void
outbox_publish_open(OutboxStream *stream, OutboxSink *sink,
					const OutboxSinkConfig *config)
{
	outbox_publish_close(stream);
	stream->sink = sink;
	stream->window = outbox_window_create(
		config->window_events, (int64) config->window_size_kb * 1024);
	stream->unavailable_since = 0;
	stream->complaint[0] = '\0';
	stream->more = true;
	outbox_status_set(stream->db, OUTBOX_RELAY_PUBLISHING);
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
	stream->read_upto = outbox_publish_position(stream);
	outbox_window_free(stream->window);
	stream->window = NULL;
}
