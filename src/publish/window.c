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
 * What the sink has said of an event, and of its topic (topic.c), is of this
 * sink only, and ends with the window. So does the note that may be kept of an
 * event, of what is told when it is acknowledged; the first one makes room for
 * those of all.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "utils/memutils.h"

#include "publish/window.h"

/* what an event costs beside its bytes: bookkeeping here and in the library */
#define EVENT_OVERHEAD 512

typedef struct WindowEntry
{
	uint64 id;
	int64 bytes; /* 0 = done */
	OutboxTopic *topic;
	const OutboxFault *fault; /* NULL = none, or only its topic's */
	TimestampTz sent_at;
	uint32 size;      /* of what consumers see */
	uint32 waited_us; /* since its commit, until it was handed over */
	bool answered;    /* not done, but the sink has given it back */
	bool to_park;     /* not done, but about to be parked */
} WindowEntry;

struct OutboxWindow
{
	MemoryContext faults;
	const OutboxFault *last_fault;
	MemoryContext notes_context;
	char **notes; /* one for each entry, or NULL; NULL = there are none */
	uint64 first; /* tag of the oldest that is not done */
	uint64 next;  /* tag of the one that comes next */
	int64 bytes;
	int64 max_bytes;
	int to_park;
	uint64 to_park_first; /* tag of the first of them */
	int max_events;
	WindowEntry entries[FLEXIBLE_ARRAY_MEMBER];
};

/* A window of at most so many events and bytes, palloc'd. */
OutboxWindow *
outbox_window_create(int max_events, int64 max_bytes)
{
	OutboxWindow *window = palloc0(offsetof(OutboxWindow, entries) +
								   max_events * sizeof(WindowEntry));

	window->faults = AllocSetContextCreate(
		CurrentMemoryContext, "outbox faults", ALLOCSET_SMALL_SIZES);
	window->notes_context = AllocSetContextCreate(
		CurrentMemoryContext, "outbox notes", ALLOCSET_DEFAULT_SIZES);
	window->max_events = max_events;
	window->max_bytes = max_bytes;
	return window;
}

void
outbox_window_free(OutboxWindow *window)
{
	outbox_topic_forget_window();
	MemoryContextDelete(window->faults);
	MemoryContextDelete(window->notes_context);
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

/*
 * Adds an event, for which there is room. now is when it was handed over;
 * topic may be NULL if it is done at once.
 */
void
outbox_window_add(OutboxWindow *window, uint64 id, int64 bytes,
				  OutboxTopic *topic, TimestampTz now)
{
	WindowEntry *entry = entry_of(window, window->next++);

	Assert(window->next - window->first <= (uint64) window->max_events);
	entry->id = id;
	entry->bytes = bytes + EVENT_OVERHEAD;
	entry->topic = topic;
	entry->fault = NULL;
	entry->sent_at = now;
	entry->answered = entry->to_park = false;
	window->bytes += entry->bytes;
	if (topic != NULL)
	{
		topic->in_window++;
		topic->in_flight++;
	}
}

/* What is measured of the event that has just been added: the bytes that
 * consumers see, and for how long it has waited since its commit */
void
outbox_window_measure(OutboxWindow *window, uint32 size, int64 waited_us)
{
	WindowEntry *entry = entry_of(window, window->next - 1);

	entry->size = size;
	entry->waited_us = (uint32) Min(Max(waited_us, 0), PG_UINT32_MAX);
}

/* Keeps a note of the event that has just been added, until it is done. */
void
outbox_window_note(OutboxWindow *window, const char *note)
{
	uint64 index = (window->next - 1) % window->max_events;

	if (window->notes == NULL)
		window->notes = MemoryContextAllocExtended(
			window->notes_context, window->max_events * sizeof(char *),
			MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	window->notes[index] = MemoryContextStrdup(window->notes_context, note);
	window->bytes += (int64) GetMemoryChunkSpace(window->notes[index]);
}

/* The note of an event that is in the window and not done; NULL = none */
const char *
outbox_window_note_of(const OutboxWindow *window, uint64 tag)
{
	return likely(window->notes == NULL)
			   ? NULL
			   : window->notes[tag % window->max_events];
}

static void
forget_note(OutboxWindow *window, uint64 tag)
{
	char **note = &window->notes[tag % window->max_events];

	if (*note == NULL)
		return;
	window->bytes -= (int64) GetMemoryChunkSpace(*note);
	pfree(*note);
	*note = NULL;
}

/* The entry of a tag, if it is in the window and not done; else NULL */
static WindowEntry *
find(OutboxWindow *window, uint64 tag)
{
	WindowEntry *entry = entry_of(window, tag);

	if (tag < window->first || tag >= window->next || entry->bytes == 0)
		return NULL;
	return entry;
}

static void
set_answered(WindowEntry *entry)
{
	if (entry->answered)
		return;
	entry->answered = true;
	if (entry->topic != NULL)
		entry->topic->in_flight--;
}

/* The sink has given an event back; it stays in the window, to be sent again
 * or to be parked, which makes it done. */
void
outbox_window_answered(OutboxWindow *window, uint64 tag)
{
	WindowEntry *entry = find(window, tag);

	if (entry != NULL)
		set_answered(entry);
}

/* The same for an event that is at fault, or may be. */
void
outbox_window_failed(OutboxWindow *window, uint64 tag, OutboxFailure failure,
					 const char *error)
{
	WindowEntry *entry = find(window, tag);
	const OutboxFault *last = window->last_fault;

	if (entry == NULL)
		return;
	set_answered(entry);
	/* a whole batch has the same message */
	if (last == NULL || last->failure != failure ||
		strcmp(last->error, error) != 0)
	{
		OutboxFault *fault =
			MemoryContextAlloc(window->faults, sizeof(OutboxFault));

		fault->failure = failure;
		fault->error = MemoryContextStrdup(window->faults, error);
		window->last_fault = fault;
	}
	entry->fault = window->last_fault;
}

/* Adds an event that is not sent, but will be parked. */
void
outbox_window_set_aside(OutboxWindow *window, uint64 id)
{
	uint64 tag = window->next;

	outbox_window_add(window, id, 0, NULL, 0);
	outbox_window_answered(window, tag);
	entry_of(window, tag)->to_park = true;
	if (window->to_park++ == 0)
		window->to_park_first = tag;
}

/* Are there such events? */
bool
outbox_window_has_aside(const OutboxWindow *window)
{
	return window->to_park > 0;
}

/* They have been parked. */
void
outbox_window_aside_done(OutboxWindow *window)
{
	for (uint64 tag = window->to_park_first; window->to_park > 0; tag++)
	{
		WindowEntry *entry = entry_of(window, tag);

		if (!entry->to_park)
			continue;
		entry->to_park = false;
		window->to_park--;
		outbox_window_done(window, tag);
	}
}

/* An event is acknowledged or parked. */
void
outbox_window_done(OutboxWindow *window, uint64 tag)
{
	WindowEntry *entry = find(window, tag);

	if (entry == NULL)
		return;
	set_answered(entry);
	if (entry->topic != NULL)
		entry->topic->in_window--;
	window->bytes -= entry->bytes;
	entry->bytes = 0;
	if (unlikely(window->notes != NULL))
		forget_note(window, tag);
	while (window->first < window->next &&
		   entry_of(window, window->first)->bytes == 0)
		window->first++;
}

/* The tag of the oldest event that is not done */
uint64
outbox_window_first_tag(const OutboxWindow *window)
{
	return window->first;
}

/* How many events there are from the oldest that is not done */
int
outbox_window_count(const OutboxWindow *window)
{
	return (int) (window->next - window->first);
}

static const WindowEntry *
entry_at(const OutboxWindow *window, uint64 tag)
{
	return &window->entries[tag % window->max_events];
}

/* Is an event done? As in what follows, the tag must be in the window. */
bool
outbox_window_is_done(const OutboxWindow *window, uint64 tag)
{
	return entry_at(window, tag)->bytes == 0;
}

/* Has the sink said what became of it? */
bool
outbox_window_is_answered(const OutboxWindow *window, uint64 tag)
{
	return entry_at(window, tag)->bytes == 0 ||
		   entry_at(window, tag)->answered;
}

/* How large an event is that is not done */
int64
outbox_window_bytes(const OutboxWindow *window, uint64 tag)
{
	return entry_at(window, tag)->bytes - EVENT_OVERHEAD;
}

/* Bytes of memory that its events take */
int64
outbox_window_memory(const OutboxWindow *window)
{
	return window->bytes;
}

/* What has been measured of it */
uint32
outbox_window_size(const OutboxWindow *window, uint64 tag)
{
	return entry_at(window, tag)->size;
}

int64
outbox_window_waited_us(const OutboxWindow *window, uint64 tag)
{
	return entry_at(window, tag)->waited_us;
}

/* When it was handed over */
TimestampTz
outbox_window_sent_at(const OutboxWindow *window, uint64 tag)
{
	return entry_at(window, tag)->sent_at;
}

/* The topic of an event; NULL if it is done, or of another window */
OutboxTopic *
outbox_window_topic(const OutboxWindow *window, uint64 tag)
{
	const WindowEntry *entry = entry_at(window, tag);

	if (tag < window->first || tag >= window->next || entry->bytes == 0)
		return NULL;
	return entry->topic;
}

/* What is wrong with it; NULL = nothing that is known */
const OutboxFault *
outbox_window_fault(const OutboxWindow *window, uint64 tag)
{
	return entry_at(window, tag)->fault;
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
	return entry_at(window, tag)->id;
}

/* Writes the ids of events that are done, in order, to ids (which has room for
 * a whole window) and returns how many they are. */
int
outbox_window_done_ids(const OutboxWindow *window, uint64 *ids)
{
	int count = 0;

	for (uint64 tag = window->first; tag < window->next; tag++)
	{
		if (outbox_window_is_done(window, tag))
			ids[count++] = outbox_window_id(window, tag);
	}
	return count;
}
