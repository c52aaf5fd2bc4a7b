/*-------------------------------------------------------------------------
 *
 * chores.c
 *	  Which relay does the chores of its database, what has to be done once
 *	  for all relays: delayed events, replays and backfills are emitted,
 *	  segments switched and emptied, and what is pending is counted.
 *
 * A word in shared memory has the relay's number, and whether it publishes.
 * Each relay looks at the beginning of a round. It takes the chores
 *
 *	  - if nobody has them: the relay that had has ended, and given them up;
 *	  - if it publishes, and the one that has them does not, because it is
 *		paused, has no settings, or its brokers are away;
 *	  - if their time is over.
 *
 * That time is a second from the beginning of each round of the relay that has
 * them, and when it goes to sleep, a second from the end of that sleep. Who
 * brings something new to do (a delayed event, a replay) lowers it to a second
 * from then on. So what is due, and not done for a second, is done by another
 * relay, whatever is wrong with the first one, a signal that has stopped it,
 * say; nobody need look more often for that.
 *
 * It may go on at any time, in the middle of what it was doing. So two relays
 * may do the chores at once, and each has to see to it that this is harmless:
 * rows are locked by who takes them, segments by who empties them, and who
 * switches to another one must know the last switch (segment.c).
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "utils/timestamp.h"

#include "shared/chores.h"
#include "shared/my_relay.h"
#include "shared/relays.h"

/* for how long what is due may be left undone */
#define LATE_MS   1000
#define MOMENT_MS 200

/* the word: a relay's number plus one, and whether it publishes */
#define NUMBER    ((uint32) 0xff)
#define PUBLISHES ((uint32) 0x100)

/* The word of this relay */
static uint32
my_word(bool publishes)
{
	uint32 slot = (uint32) (outbox_my_relay.slot - outbox_my_relay.db->relays);

	return (slot + 1) | (publishes ? PUBLISHES : 0);
}

static bool
is_mine(uint32 word)
{
	return (word & NUMBER) == my_word(false);
}

static TimestampTz
until(void)
{
	return (TimestampTz) pg_atomic_read_u64(&outbox_my_relay.db->chores_until);
}

/* The chores are looked after for so long, and a second. Not written for a
 * moment's sake: there may be thousands of rounds a second, and others read
 * what is beside it. */
static void
set_until(long timeout_ms)
{
	TimestampTz end = TimestampTzPlusMilliseconds(
		GetCurrentTimestamp(), (int64) timeout_ms + LATE_MS);
	TimestampTz old = until();

	if (old > end || old < TimestampTzPlusMilliseconds(end, -MOMENT_MS))
		pg_atomic_write_u64(&outbox_my_relay.db->chores_until, (uint64) end);
}

/* Are they to be taken from the relay that has them? */
static bool
are_free(uint32 word, bool publishes)
{
	return word == 0 || (publishes && (word & PUBLISHES) == 0) ||
		   until() < GetCurrentTimestamp();
}

/* Does this relay do the chores? */
bool
outbox_chores_are_mine(void)
{
	return is_mine(pg_atomic_read_u32(&outbox_my_relay.db->chores));
}

/*
 * A round of this relay begins, which publishes, or does not. Takes the chores
 * if that is necessary, as told above; then all that it remembers of them may
 * be old. Returns whether it has.
 */
bool
outbox_chores_turn(bool publishes)
{
	OutboxDatabase *db = outbox_my_relay.db;
	uint32 word = pg_atomic_read_u32(&db->chores);
	uint32 mine = my_word(publishes);

	if (!is_mine(word) && !are_free(word, publishes))
		return false;
	set_until(0);
	if (word == mine ||
		!pg_atomic_compare_exchange_u32(&db->chores, &word, mine))
		return false;
	if (!is_mine(word))
		return true;
	/* another one may publish */
	if (!publishes)
		outbox_relays_wake(db);
	return false;
}

/* For how long this relay has nothing to do for the chores' sake, other than
 * doing them; -1 = forever */
long
outbox_chores_timeout_ms(bool publishes)
{
	uint32 word = pg_atomic_read_u32(&outbox_my_relay.db->chores);

	if (is_mine(word))
		return word == my_word(publishes) ? -1 : 0;
	if (are_free(word, publishes))
		return 0;
	return TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until()) + 1;
}

/* This relay goes to sleep; if it has chores, there is nothing to do for so
 * long. */
void
outbox_chores_sleep(long timeout_ms)
{
	if (outbox_chores_are_mine())
		set_until(timeout_ms);
}

/* This relay ends: another one is to do the chores, if it had them. wake: at
 * once; else this relay is started again when they are due. */
void
outbox_chores_give_up(bool wake)
{
	OutboxDatabase *db = outbox_my_relay.db;
	uint32 word = pg_atomic_read_u32(&db->chores);

	if (is_mine(word) &&
		pg_atomic_compare_exchange_u32(&db->chores, &word, 0) && wake)
		outbox_relays_wake(db);
}

/* There is something new to do: within a second, or another relay does it.
 * Takes no lock; the relays must be woken. */
void
outbox_chores_wanted(OutboxDatabase *db)
{
	TimestampTz end =
		TimestampTzPlusMilliseconds(GetCurrentTimestamp(), LATE_MS);
	uint64 old = pg_atomic_read_u64(&db->chores_until);

	while ((TimestampTz) old > end)
	{
		if (pg_atomic_compare_exchange_u64(&db->chores_until, &old,
										   (uint64) end))
			return;
	}
}
