/*-------------------------------------------------------------------------
 *
 * window.c
 *	  A ring of the events that have been handed to the sink, in the order of
 *	  their ids, until all before them and they themselves are acknowledged.
 *
 * Acknowledgements come in any order; the oldest event without one tells how
 * far everything is done. An event is known to the sink by its tag, which
 * counts up and is never used twice, so a report of an earlier life cannot be
 * taken for a later event's.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "window.h"

/* what an event costs beside its bytes: bookkeeping here and in the library */
#define EVENT_OVERHEAD 512

typedef struct WindowEntry
{
	uint64 id;
	int64 bytes; /* 0 = done */
} WindowEntry;

struct OutboxWindow
{
	uint64 first; /* tag of the oldest that is not done */
	uint64 next;  /* tag of the one that comes next */
	int64 bytes;
	int64 max_bytes;
	int max_events;
	WindowEntry entries[FLEXIBLE_ARRAY_MEMBER];
};

/* A window of at most so many events and bytes, palloc'd. */
OutboxWindow *
outbox_window_create(int max_events, int64 max_bytes)
{
	OutboxWindow *window = palloc0(offsetof(OutboxWindow, entries) +
								   max_events * sizeof(WindowEntry));

	window->max_events = max_events;
	window->max_bytes = max_bytes;
	return window;
}

void
outbox_window_free(OutboxWindow *window)
{
	pfree(window);
}

static WindowEntry *
entry_of(OutboxWindow *window, uint64 tag)
{
	return &window->entries[tag % window->max_events];
}

bool
outbox_window_is_empty(const OutboxWindow *window)
{
	return window->first == window->next;
}

/* How many more events fit, their size apart */
int
outbox_window_room(const OutboxWindow *window)
{
	if (window->bytes >= window->max_bytes)
		return 0;
	return window->max_events - (int) (window->next - window->first);
}

/* Does an event fit? One always does, so that a large one cannot be stuck. */
bool
outbox_window_has_room(const OutboxWindow *window, int64 bytes)
{
	if (outbox_window_is_empty(window))
		return true;
	return outbox_window_room(window) > 0 &&
		   window->bytes + bytes + EVENT_OVERHEAD <= window->max_bytes;
}

/* The tag that the next event gets */
uint64
outbox_window_next_tag(const OutboxWindow *window)
{
	return window->next;
}

/* Adds an event, for which there is room. */
void
outbox_window_add(OutboxWindow *window, uint64 id, int64 bytes)
{
	WindowEntry *entry = entry_of(window, window->next++);

	Assert(window->next - window->first <= (uint64) window->max_events);
	entry->id = id;
	entry->bytes = bytes + EVENT_OVERHEAD;
	window->bytes += entry->bytes;
}

/* An event is acknowledged. Tags of an earlier life are passed over. */
void
outbox_window_done(OutboxWindow *window, uint64 tag)
{
	WindowEntry *entry;

	if (tag < window->first || tag >= window->next)
		return;

	entry = entry_of(window, tag);
	window->bytes -= entry->bytes;
	entry->bytes = 0;
	while (window->first < window->next &&
		   entry_of(window, window->first)->bytes == 0)
		window->first++;
}

/* The id of the oldest event that is not done; the window is not empty. */
uint64
outbox_window_oldest(const OutboxWindow *window)
{
	Assert(!outbox_window_is_empty(window));
	return outbox_window_id(window, window->first);
}

uint64
outbox_window_id(const OutboxWindow *window, uint64 tag)
{
	return window->entries[tag % window->max_events].id;
}

/* Forgets all events; their tags are not used again. */
void
outbox_window_clear(OutboxWindow *window)
{
	window->first = window->next;
	window->bytes = 0;
}
