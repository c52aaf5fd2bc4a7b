/*-------------------------------------------------------------------------
 *
 * retention.c
 *	  The ring of segments in the course of time: the relay lets new
 *	  transactions write to the next segment when the current one has been
 *	  in use for its share of outbox.retention, and empties those that are
 *	  not needed any more.
 *
 * A segment is emptied, by TRUNCATE, when
 *
 *	  - it is not the current one,
 *	  - nobody writes to it any more, or reads it: it can be locked at once;
 *	  - the position of every relay is behind its last event, and that has
 *		been written to a table that is not emptied with it;
 *	  - no replay still has to read it;
 *	  - the last of them was published longer than outbox.retention ago.
 *
 * All but the last are looked at once more under the lock. If the next
 * segment is not empty yet, the current one grows: nothing waits, nothing
 * fails. The positions go into the new segment's table when it is switched,
 * a whole retention before the old one is emptied: so a dump, which sees
 * TRUNCATE but not what was inserted after its snapshot, always has them. Those
 * of relays that do not run just now, too: they would be lost with the old one.
 *
 * Of a database with several relays, one does all that, with the chores; the
 * others only learn from time to time which segments are drained.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "utils/timestamp.h"

#include "guc.h"
#include "schedule/retention.h"
#include "shared/chores.h"
#include "shared/my_relay.h"
#include "shared/relay_state.h"
#include "shared/relays.h"
#include "shared/segment.h"
#include "store/position.h"
#include "store/replay_jobs.h"
#include "store/segment_emptier.h"
#include "store/segment_reader.h"

/* of a ring of n segments, one is being filled, and one may be half empty */
#define SEGMENTS_SPARE 2

#define CHECK_MIN_MS   1000
#define CHECK_MAX_MS   60000

static TimestampTz check_at = 1; /* 0 = there is nothing to look after */
static int opened_segment = -1;
static TimestampTz opened_at;
static TimestampTz passed_at[OUTBOX_SEGMENTS]; /* seen so first; 0 = not yet */

/* How long a segment is written to */
static int64
share_ms(void)
{
	int64 share =
		(int64) outbox_retention_s * 1000 / (outbox_segments - SEGMENTS_SPARE);

	return Max(share, CHECK_MIN_MS);
}

static void
check_not_after(TimestampTz when)
{
	if (check_at == 0 || when < check_at)
		check_at = when;
}

/* When to look again at something that could not be done just now */
static TimestampTz
soon(TimestampTz now)
{
	int64 delay_ms = share_ms() / 10;

	delay_ms = Max(delay_ms, CHECK_MIN_MS);
	return TimestampTzPlusMilliseconds(now, Min(delay_ms, CHECK_MAX_MS));
}

/* No look is planned later than that, unless the clock has been set back. */
static TimestampTz
latest_check(TimestampTz now)
{
	return TimestampTzPlusMilliseconds(
		now, share_ms() + (int64) outbox_retention_s * 1000);
}

/* Events have been published: there is something to look after. */
void
outbox_retention_used(void)
{
	if (outbox_retention_s >= 0)
		check_not_after(
			TimestampTzPlusMilliseconds(GetCurrentTimestamp(), share_ms()));
}

static void
reload(void)
{
	check_at = GetCurrentTimestamp();
}

/* Says once, whoever does the chores, that space cannot be freed because that
 * relay is behind; "" = none is. */
static void
notify_behind(const char *relay)
{
	OutboxDatabase *db = outbox_my_relay.db;
	OutboxRelayStatus status = {0};
	OutboxRelaySlot *slot;
	uint32 behind = 0;

	LWLockAcquire(outbox_shmem->lock, LW_SHARED);
	slot = relay[0] != '\0' ? outbox_relays_find(db, relay) : NULL;
	if (slot != NULL)
	{
		status = slot->status;
		behind = (uint32) (slot - db->relays) + 1;
	}
	LWLockRelease(outbox_shmem->lock);
	if (behind != pg_atomic_exchange_u32(&db->behind_told, behind) &&
		behind != 0)
		ereport(
			WARNING,
			(errmsg("outbox keeps events for longer than "
					"outbox.retention"),
			 errdetail(
				 "Relay \"%s\" (%s) has not published them yet.", relay,
				 outbox_relay_state_name(&status, outbox_my_relay.database)),
			 errhint("Look at outbox.stat_storage and "
					 "outbox.stat_relay.")));
}

/* Is there anybody who still needs events up to that id? The positions that
 * tell it must be in another table, which stays. */
static OutboxStoreStatus
is_needed(Oid position_table, uint64 last_id, bool *needed)
{
	uint64 replay;
	OutboxStoreStatus status = outbox_replay_jobs_first_id(&replay);

	if (status != OUTBOX_STORE_OK)
		return status;
	*needed = replay <= last_id ||
			  !outbox_position_has_passed(last_id, position_table, NULL);
	return OUTBOX_STORE_OK;
}

/* Empties a segment in the current transaction, if nobody needs it. */
static OutboxStoreStatus
empty_segment(int segment)
{
	OutboxSegmentBounds bounds;
	OutboxStoreStatus status;
	Oid position_table;
	bool needed;

	status = outbox_segment_emptier_lock(segment, &position_table);
	if (status != OUTBOX_STORE_OK)
		return status;
	/* another relay may have been quicker, and switched to it since */
	if (outbox_segment_current(outbox_my_relay.db) == segment ||
		!outbox_segment_bounds(segment, &bounds))
		return OUTBOX_STORE_BUSY;
	/* a replay may have been asked for before we had the lock */
	outbox_store_new_snapshot();
	status = is_needed(position_table, bounds.last_id, &needed);
	if (status != OUTBOX_STORE_OK || needed)
		return status;
	status = outbox_segment_emptier_run(segment, &bounds);
	if (status != OUTBOX_STORE_OK)
		return status;
	passed_at[segment] = 0;
	return OUTBOX_STORE_OK;
}

/*
 * Until when a segment is kept of which all is published. Times of a clock
 * that was wrong, and ahead of today's, count no longer than from now on.
 */
static TimestampTz
kept_until(int segment, const OutboxSegmentBounds *bounds,
		   TimestampTz published_at, TimestampTz now)
{
	if (passed_at[segment] == 0 || passed_at[segment] > now)
		passed_at[segment] = now;
	return TimestampTzPlusMilliseconds(
		Min(Max(bounds->last_at, published_at), passed_at[segment]),
		(int64) outbox_retention_s * 1000);
}

/* Empties a segment in the current transaction, if it is time; behind: see
 * retire(). */
static OutboxStoreStatus
empty_if_over(int segment, const OutboxSegmentBounds *bounds, char *behind)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz published_at = 0;
	OutboxStoreStatus status = OUTBOX_STORE_OK;
	TimestampTz over;

	if (outbox_position_has_passed(bounds->last_id, InvalidOid, &published_at))
	{
		over = kept_until(segment, bounds, published_at, now);
		if (over <= now)
			status = empty_segment(segment);
	}
	else
	{
		passed_at[segment] = 0;
		over = TimestampTzPlusMilliseconds(bounds->last_at,
										   (int64) outbox_retention_s * 1000);
		if (now > TimestampTzPlusMilliseconds(over, share_ms()))
			outbox_position_slowest(behind);
	}
	check_not_after(over > now ? over : soon(now));
	return status;
}

/*
 * Tries to empty a segment that is not current. If it should have been emptied
 * long ago, and has events that are not published, behind (of NAMEDATALEN
 * bytes) becomes the relay that is the furthest behind.
 */
static OutboxStoreStatus
retire(int segment, const OutboxSegmentBounds *bounds, char *behind)
{
	OutboxStoreStatus status =
		outbox_store_begin("outbox: emptying a segment");

	if (status != OUTBOX_STORE_OK)
		return status;
	status = outbox_position_lock();
	if (status == OUTBOX_STORE_OK)
		status = empty_if_over(segment, bounds, behind);
	outbox_store_end();
	return status;
}

/* Switches to the next segment, if it is time, and that one is empty. */
static void
rotate(uint32 turn, int current, const OutboxSegmentBounds *bounds)
{
	TimestampTz now = GetCurrentTimestamp();
	int next = (current + 1) % outbox_segments;
	TimestampTz over;

	opened_at = Min(opened_at, now);
	over = TimestampTzPlusMilliseconds(opened_at, share_ms());

	if (bounds[current].last_id == 0)
		return;
	if (over > now)
		check_not_after(over);
	else
	{
		if (bounds[next].last_id == 0)
		{
			passed_at[next] = 0;
			outbox_segment_switch(outbox_my_relay.db, turn, next);
		}
		check_not_after(soon(now));
	}
}

/*
 * Finds out what a segment holds. If it is not written to any more, tells
 * segment_reader.c when all of it is published. False if it is locked.
 */
static bool
inspect(int segment, bool is_current, uint64 position,
		OutboxSegmentBounds *bounds)
{
	bool known = is_current || outbox_segment_is_drained(segment);
	/* before it is looked at, with a snapshot that sees the last writers */
	bool quiet = !known && outbox_segment_is_quiet(segment);

	if (!outbox_segment_bounds(segment, bounds))
		return false;
	if (quiet && bounds->last_id <= position)
		outbox_segment_set_drained(segment);
	else if (!known)
		check_not_after(soon(GetCurrentTimestamp()));
	return true;
}

/*
 * Finds out what the segments hold. If there is something to empty, writes
 * the position where it stays.
 */
static OutboxStoreStatus
look(uint64 position, OutboxSegmentBounds *bounds, int *current_segment)
{
	OutboxStoreStatus status =
		outbox_store_begin("outbox: looking at the segments");
	bool any = false;
	int current;

	if (status != OUTBOX_STORE_OK)
		return status;
	/* others can make it unknown at any time: load_guard.c */
	*current_segment = current = outbox_segment_current(outbox_my_relay.db);
	for (int i = 0; i < OUTBOX_SEGMENTS; i++)
	{
		if (!inspect(i, i == current, position, &bounds[i]))
			status = OUTBOX_STORE_BUSY;
		any = any || (i != current && bounds[i].last_id != 0);
	}
	if (status == OUTBOX_STORE_OK)
		status = outbox_position_lock();
	if (status == OUTBOX_STORE_OK && any)
		status = outbox_position_set(outbox_my_relay.name, position);
	if (status == OUTBOX_STORE_OK && any && outbox_chores_are_mine())
		status = outbox_position_keep_all();
	if (status == OUTBOX_STORE_OK && opened_segment != current &&
		bounds[current].last_id != 0)
	{
		opened_at = outbox_position_first_at(
			outbox_segment_relation(OUTBOX_POSITION_PREFIX, current),
			outbox_my_relay.name);
		opened_segment = current;
	}
	outbox_store_end();
	return status;
}

/* What was remembered of the segments may be older than their contents. */
static void
take_over(void)
{
	memset(passed_at, 0, sizeof(passed_at));
	opened_segment = -1;
	reload();
}

/* Looks after the segments, if it is time. */
static OutboxTaskResult
run(const OutboxRound *round)
{
	uint64 position = round->written;
	OutboxSegmentBounds bounds[OUTBOX_SEGMENTS];
	OutboxStoreStatus status;
	TimestampTz now = GetCurrentTimestamp();
	uint32 turn;
	int current = -1;
	char behind[NAMEDATALEN] = "";

	/* events that nobody publishes take space, too */
	if (check_at == 0 &&
		pg_atomic_read_u64(&outbox_my_relay.db->last_issued) > position)
		outbox_retention_used();
	if (check_at == 0 || (check_at > now && check_at <= latest_check(now)))
		return OUTBOX_TASK_IDLE;
	check_at = 0;
	if (outbox_retention_s < 0)
		return OUTBOX_TASK_IDLE;

	turn = outbox_segment_turn(outbox_my_relay.db);
	status = look(position, bounds, &current);
	/* the rest is done once for all relays */
	if (status == OUTBOX_STORE_OK && !outbox_chores_are_mine())
		return OUTBOX_TASK_IDLE;
	for (int i = 0; status == OUTBOX_STORE_OK && i < OUTBOX_SEGMENTS; i++)
	{
		if (i == current || bounds[i].last_id == 0)
			continue;
		status = retire(i, &bounds[i], behind);
		/* what others have locked is tried again; the rest need not wait */
		if (status == OUTBOX_STORE_BUSY)
			status = OUTBOX_STORE_OK;
	}
	if (status == OUTBOX_STORE_OK)
	{
		rotate(turn, current, bounds);
		notify_behind(behind);
	}
	else
		check_not_after(soon(GetCurrentTimestamp()));
	return outbox_store_task_result(status, false);
}

static long
timeout_ms(const OutboxRound *round)
{
	(void) round;
	if (check_at == 0)
		return -1;
	return TimestampDifferenceMilliseconds(GetCurrentTimestamp(), check_at);
}

static void
undo(const OutboxRound *round)
{
	(void) round;
	reload();
}

OutboxTask outbox_retention_task = {
	.name = "emptying segments",
	.run = run,
	.timeout_ms = timeout_ms,
	.undo = undo,
	.reload = reload,
	.take_over = take_over,
};
