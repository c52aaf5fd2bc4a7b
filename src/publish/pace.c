/*-------------------------------------------------------------------------
 *
 * pace.c
 *	  How much the stream reads at once, and how often it looks.
 *
 * While no broker answers, events would only fill the window; and where the
 * last ones were all of topics of other relays, so are the next ones. So they
 * are looked for now and then, and who commits need not wake us.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "utils/timestamp.h"

#include "poison/crash_note.h"
#include "poison/guard.h"
#include "publish/pace.h"

/* rows that one transaction reads at most */
#define PAGE_ROWS      2000

/* events that a sink is given before it has delivered any: more than brokers
 * need to be kept busy with, far less than a window, which would be filled in
 * vain for those that do not answer */
#define FIRST_EVENTS   8192

/* how often events are looked for while no broker answers, and while there are
 * only others' */
#define OUTAGE_LOOK_MS 1000
#define OTHERS_LOOK_MS 2

static TimestampTz looked_at = 0;
static bool only_others = false; /* then, and there were no more */
static bool resting = false;     /* nobody wakes us: it is looked again */

/*
 * How many events a page may have. One, until the suspect has been handled;
 * 0 if there is no room.
 */
int
outbox_pace_page_limit(const OutboxStream *stream)
{
	int room = outbox_window_room(stream->window);

	if (stream->life.delivered_at == 0)
		room = Min(room, Max(FIRST_EVENTS - stream->sender.in_flight, 0));
	if (outbox_guard_suspect() > stream->read_upto)
		return Min(room, 1);
	if (outbox_crash_note_is_careful())
		return Min(room, outbox_crash_note_limit(stream->read_upto));
	return Min(room, PAGE_ROWS);
}

/* How long no events need be read; 0 if they must */
static long
rest_ms(const OutboxStream *stream)
{
	TimestampTz now = GetCurrentTimestamp();
	long every_ms = only_others ? OTHERS_LOOK_MS : 0;

	if (stream->outage.since != 0 && outbox_stream_is_pending(stream))
		every_ms = OUTAGE_LOOK_MS;
	/* the clock may have been set back */
	if (every_ms == 0 || looked_at > now)
		return 0;
	return TimestampDifferenceMilliseconds(
		now, TimestampTzPlusMilliseconds(looked_at, every_ms));
}

/* A round begins in which it is not known yet whether the stream rests. */
void
outbox_pace_awake(void)
{
	resting = false;
}

/* Need no events be read now? outbox_pace_timeout_ms() tells how long. */
bool
outbox_pace_rests(const OutboxStream *stream)
{
	resting = rest_ms(stream) > 0;
	return resting;
}

/* Events are looked for now. Returns whether only others' are expected. */
bool
outbox_pace_look(TimestampTz now)
{
	bool expected = only_others;

	looked_at = now;
	only_others = false;
	return expected;
}

/* There were only others' events, and no more. */
void
outbox_pace_only_others(void)
{
	only_others = true;
}

/* A rest that has ended since then is over at once: who commits meanwhile does
 * not wake us. */
long
outbox_pace_timeout_ms(const OutboxRound *round)
{
	return resting ? rest_ms(round->stream) : -1;
}
