/*-------------------------------------------------------------------------
 *
 * condemned.c
 *	  The event that a task must take out of the way, because it crashes the
 *	  process (crash_note.c), or raises errors again and again (guard.c).
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "poison/condemned.h"
#include "shared/policy.h"

/* Is there one? It is to become a dead letter; with on_failure = halt, the
 * task stops at one that raises errors, and tries again and again. */
bool
outbox_condemned_find(OutboxLane lane, OutboxCondemned *condemned)
{
	condemned->id = outbox_crash_note_condemned(lane);
	condemned->by_signal = (condemned->id != 0);
	if (condemned->by_signal)
		condemned->error = OUTBOX_CRASH_NOTE_ERROR;
	else if (outbox_policy.on_failure != OUTBOX_ON_FAILURE_HALT)
		condemned->id = outbox_guard_condemned(&condemned->error);
	return condemned->id != 0;
}

/* It has become one. */
void
outbox_condemned_done(const OutboxCondemned *condemned)
{
	if (condemned->by_signal)
		outbox_crash_note_acquit();
	else
		outbox_guard_acquit();
}
