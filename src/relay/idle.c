/*-------------------------------------------------------------------------
 *
 * idle.c
 *	  When a relay ends because it has had nothing to do for
 *	  outbox.idle_timeout, so that a database that rarely emits needs no
 *	  process. The launcher starts it again when somebody has something for
 *	  it, or when one of its tasks is due (horizon.c).
 *
 * It has nothing to do if it publishes, all is acknowledged and written down,
 * no error is in the way, and no task will be due soon. Then it says that it
 * sleeps, for good, and looks once more: a whole round, since all that others
 * have brought before is seen in it, and all that comes later wakes the relay
 * as it would one that sleeps.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "utils/timestamp.h"

#include "guc.h"
#include "poison/crash_note.h"
#include "relay/idle.h"
#include "relay/position_task.h"
#include "retry/dead_letter_copies.h"
#include "shared/horizon.h"
#include "shared/my_relay.h"
#include "shared/relay_state.h"

static TimestampTz busy_at = 0; /* when there was something to do, last */
static bool leaving = false;    /* the round is the one more */

/* Could the process end now, for all that is under way? */
static bool
may_leave(const OutboxStream *stream)
{
	return outbox_idle_timeout_ms > 0 &&
		   outbox_relay_state() == OUTBOX_RELAY_PUBLISHING &&
		   outbox_my_relay.slot->status.failing_since == 0 &&
		   !stream->has_more && outbox_position_task_is_settled(stream) &&
		   !outbox_dead_letter_copies_are_under_way() &&
		   !outbox_crash_note_is_careful();
}

/* Is it worth while to end? Not if the process were needed again as soon. */
static bool
is_far(long due_ms)
{
	return due_ms < 0 || due_ms > outbox_idle_timeout_ms;
}

/*
 * A round has had that result, and the first task is due in so many ms (-1 =
 * none will be). Returns whether the process is to end; then outbox_my_relay
 * says until when.
 */
bool
outbox_idle_round(const OutboxStream *stream, OutboxTaskResult result,
				  long due_ms)
{
	TimestampTz now = GetCurrentTimestamp();
	bool idle = (result == OUTBOX_TASK_IDLE && may_leave(stream));

	if (leaving && idle && is_far(due_ms))
	{
		outbox_my_relay.wake_at =
			due_ms < 0 ? DT_NOEND : TimestampTzPlusMilliseconds(now, due_ms);
		return true;
	}
	if (leaving)
		outbox_horizon_stay();
	leaving = false;
	/* the clock may have been set back */
	busy_at = idle ? Min(busy_at, now) : now;
	if (idle && is_far(due_ms) &&
		TimestampDifferenceExceeds(busy_at, now, outbox_idle_timeout_ms))
	{
		leaving = true;
		outbox_horizon_sleep_for_good(outbox_my_relay.db,
									  outbox_my_relay.slot);
	}
	return false;
}

/* When there must be another round for that; -1 = not for that */
long
outbox_idle_wait_ms(long due_ms)
{
	if (leaving)
		return 0;
	if (outbox_idle_timeout_ms == 0 || !is_far(due_ms) ||
		outbox_relay_state() != OUTBOX_RELAY_PUBLISHING)
		return -1;
	/* what keeps it from ending although it is time for that wakes it */
	if (TimestampDifferenceExceeds(busy_at, GetCurrentTimestamp(),
								   outbox_idle_timeout_ms))
		return -1;
	return TimestampDifferenceMilliseconds(
			   GetCurrentTimestamp(),
			   TimestampTzPlusMilliseconds(busy_at, outbox_idle_timeout_ms)) +
		   1;
}
