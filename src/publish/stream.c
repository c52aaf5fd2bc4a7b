/*-------------------------------------------------------------------------
 *
 * stream.c
 *	  The stream's state, and how far it is. README.md tells its states.
 *
 *	  read_upto	every id up to here has been read or does not exist
 *	  position	every event up to here is done, which is published or parked:
 *				the oldest one of the window that is not, less one, or
 *				read_upto if the window is empty
 *
 * The window ends with the sink. The next one begins at the position; which
 * events beyond it are done is kept in between, so that none is repeated.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "storage/condition_variable.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "publish/stream.h"
#include "shared/my_relay.h"
#include "store/pending.h"

/* The one place where the state changes */
static void
set_state(OutboxStream *stream, OutboxStreamState state)
{
#ifdef USE_ASSERT_CHECKING
	static const uint8 next[] = {
		[OUTBOX_STREAM_CLOSED] = 1 << OUTBOX_STREAM_OPEN,
		[OUTBOX_STREAM_OPEN] =
			1 << OUTBOX_STREAM_ENDING | 1 << OUTBOX_STREAM_CLOSED,
		[OUTBOX_STREAM_ENDING] =
			1 << OUTBOX_STREAM_PARKING | 1 << OUTBOX_STREAM_CLOSED,
		[OUTBOX_STREAM_PARKING] = 1 << OUTBOX_STREAM_CLOSED,
	};
#endif

	Assert(next[stream->state] & 1 << state);
	Assert((stream->sender.state == OUTBOX_SENDER_CLOSED) ==
		   (state == OUTBOX_STREAM_CLOSED));
	Assert((stream->window == NULL) == (state == OUTBOX_STREAM_CLOSED));
	stream->state = state;
}

/* The position, which only grows. */
uint64
outbox_stream_position(const OutboxStream *stream)
{
	uint64 position = stream->read_upto;

	if (stream->window != NULL && !outbox_window_is_empty(stream->window))
		position = outbox_window_oldest(stream->window) - 1;
	return position;
}

/* Shows others how far we are. */
void
outbox_stream_show_position(OutboxStream *stream)
{
	uint64 position = outbox_stream_position(stream);

	if (pg_atomic_read_u64(&outbox_my_relay.slot->position) == position)
		return;
	pg_atomic_write_u64(&outbox_my_relay.slot->position, position);
	outbox_pending_passed(outbox_my_relay.db);
	ConditionVariableBroadcast(&outbox_my_relay.db->position_moved);
}

/* Does the sink owe us answers? */
bool
outbox_stream_is_pending(const OutboxStream *stream)
{
	return stream->sender.in_flight > 0;
}

/*
 * Goes on with another sink, which has been opened, instead of the one that
 * there was, if any. Events that are done are remembered, the others of the
 * window are read again.
 */
void
outbox_stream_open(OutboxStream *stream, const OutboxSender *sender,
				   const OutboxSinkConfig *config)
{
	outbox_stream_close(stream);
	stream->sender = *sender;
	stream->window = outbox_window_create(
		config->window_events, (int64) config->window_size_kb * 1024);
	set_state(stream, OUTBOX_STREAM_OPEN);
	stream->limit.next = 0;
	stream->has_more = true;
	stream->open_at = 0;
	outbox_outage_reopened(&stream->outage);
}

/* The sink has stopped, or must: waits for all answers, then begins anew. It
 * may be doing so already. */
void
outbox_stream_end(OutboxStream *stream)
{
	if (stream->state != OUTBOX_STREAM_OPEN)
		return;
	set_state(stream, OUTBOX_STREAM_ENDING);
	stream->open_at = 0;
	outbox_sender_end(&stream->sender);
}

/* All answers are here that can be expected. */
void
outbox_stream_begin_parking(OutboxStream *stream)
{
	set_state(stream, OUTBOX_STREAM_PARKING);
}

/*
 * Allocates the ids of what is done beyond the position, in the window or not
 * read again yet since an earlier sink had done it. That is in order. Returns
 * how many they are.
 */
int
outbox_stream_done_beyond(const OutboxStream *stream, uint64 **ids)
{
	const OutboxDoneIds *done = &stream->done;
	const OutboxWindow *window = stream->window;
	int room = done->count + (window ? outbox_window_count(window) : 0);
	int count = 0;

	*ids = palloc((room + 1) * sizeof(uint64));
	if (window != NULL)
		count = outbox_window_done_ids(window, *ids);
	for (int i = done->next; i < done->count; i++)
		(*ids)[count++] = done->ids[i];
	return count;
}

/* The window ends: remembers what is done beyond the position. */
static void
remember_done(OutboxStream *stream)
{
	OutboxDoneIds *done = &stream->done;
	uint64 position = outbox_stream_position(stream);
	uint64 *ids;
	int count = outbox_stream_done_beyond(stream, &ids);

	if (done->ids != NULL)
		pfree(done->ids);
	done->ids = ids;
	done->count = count;
	done->next = 0;
	stream->read_upto = position;
	stream->has_more = true;
}

/* Closes the sink, if there is one; events without an answer will be read
 * again. */
void
outbox_stream_close(OutboxStream *stream)
{
	OutboxWindow *window = stream->window;

	if (stream->state == OUTBOX_STREAM_CLOSED)
		return;
	outbox_sender_close(&stream->sender);
	remember_done(stream);
	stream->window = NULL;
	set_state(stream, OUTBOX_STREAM_CLOSED);
	memset(&stream->life, 0, sizeof(stream->life));
	outbox_window_free(window);
}

/* The brokers become other ones: what is known of these is of no use. */
void
outbox_stream_forget_brokers(OutboxStream *stream)
{
	stream->limit.bytes = 0;
	stream->outage.since = 0;
}

/* An event that has not been read yet is done, too. */
void
outbox_stream_skip(OutboxStream *stream, uint64 id)
{
	OutboxDoneIds *done = &stream->done;
	MemoryContext context =
		done->ids ? GetMemoryChunkContext(done->ids) : TopMemoryContext;
	uint64 *ids =
		MemoryContextAllocHuge(context, (done->count + 1) * sizeof(uint64));
	int count = 0;
	int i = done->next;

	while (i < done->count && done->ids[i] < id)
		ids[count++] = done->ids[i++];
	ids[count++] = id;
	while (i < done->count)
		ids[count++] = done->ids[i++];
	if (done->ids != NULL)
		pfree(done->ids);
	done->ids = ids;
	done->count = count;
	done->next = 0;
}

/* Has this event been published or parked already? The ids come in order. */
bool
outbox_stream_is_done(OutboxStream *stream, uint64 id)
{
	OutboxDoneIds *done = &stream->done;

	while (done->next < done->count && done->ids[done->next] < id)
		done->next++;
	if (done->next == done->count || done->ids[done->next] != id)
		return false;
	done->next++;
	return true;
}
