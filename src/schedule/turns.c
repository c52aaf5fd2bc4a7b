/*-------------------------------------------------------------------------
 *
 * turns.c
 *	  When a chore that has jobs in a table, replays or backfills, is to work
 *	  on the next of them. Jobs take turns, and each rests as long as its rate
 *	  asks for, which its row tells. Who adds or changes one counts
 *	  parked_changes up. While no events can be published, all rest.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "utils/timestamp.h"

#include "schedule/turns.h"
#include "shared/my_relay.h"
#include "shared/relay_state.h"
#include "shared/times.h"

/* the longest rest: of one event at the lowest rate, one a second */
#define REST_MAX_MS 1000

/* Are there jobs, as far as we know, and can they go on? */
static bool
can_work(OutboxTurns *turns)
{
	uint32 changes = pg_atomic_read_u32(&outbox_my_relay.db->parked_changes);

	if (changes != turns->changes_seen)
	{
		turns->changes_seen = changes;
		outbox_turns_forget(turns);
	}
	return !turns->none && outbox_relay_state() == OUTBOX_RELAY_PUBLISHING;
}

/* Is it time for a turn? It begins then. A job that rests until after latest
 * has its turn, too: the clock has been set back since. */
bool
outbox_turns_begin(OutboxTurns *turns, TimestampTz now, TimestampTz *latest)
{
	*latest = TimestampTzPlusMilliseconds(now, REST_MAX_MS);
	if (!can_work(turns) ||
		(now < turns->next_at && turns->next_at <= *latest))
		return false;
	turns->next_at = TimestampTzPlusMilliseconds(now, OUTBOX_TURN_EVERY_MS);
	return true;
}

/* No job is due: is any running, and when is the first of them to go on? */
void
outbox_turns_plan(OutboxTurns *turns, bool any, TimestampTz next,
				  TimestampTz now)
{
	turns->none = !any;
	/* due already, but locked by somebody */
	if (next <= now)
		next = TimestampTzPlusMilliseconds(now, OUTBOX_DUE_ROWS_RETRY_MS);
	turns->next_at = Min(next, TimestampTzPlusMilliseconds(now, REST_MAX_MS));
}

/* What is known may be old: the next turn looks at the jobs. */
void
outbox_turns_forget(OutboxTurns *turns)
{
	turns->none = false;
	turns->next_at = 0;
}

/* How long until the next turn, for the relay that sleeps; -1 = not known */
long
outbox_turns_timeout_ms(OutboxTurns *turns)
{
	if (!can_work(turns))
		return -1;
	return TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
										   turns->next_at);
}
