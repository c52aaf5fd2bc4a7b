/*-------------------------------------------------------------------------
 *
 * commit_times.c
 *	  When the last transactions that emitted events have committed, so that a
 *	  relay can tell how long after that it has published them.
 *
 * A ring: who commits takes the next place, with the last of his ids. The
 * place is his before he has written to it, so what is read there counts only
 * if its turn is right, before and after. A relay goes through the ring once,
 * while it reads events in the order of their ids. Commits are in another
 * order than ids only if they ran at the same time, which makes no difference
 * here.
 *
 * Who commits writes it before he leaves (horizon.c), so a relay that sees an
 * event finds it. One that is so late that it has been overwritten does not,
 * nor does one that was committed before the server started.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "utils/timestamp.h"

#include "shared/commit_times.h"

/* of this relay: the turn to look at next, and up to which id nothing is
 * known */
static uint64 next_turn = 1;
static uint64 unknown_upto = 0;

/* Our transaction, whose events have ids from first_id to last_id, has
 * committed just now. */
void
outbox_commit_times_note(OutboxDatabase *db, uint64 first_id, uint64 last_id)
{
	uint64 turn = pg_atomic_fetch_add_u64(&db->commits, 1) + 1;
	OutboxCommitTime *place = &db->commit_time[turn % OUTBOX_COMMIT_TIMES];

	if (turn == 1)
		pg_atomic_write_u64(&db->commits_from, first_id);
	pg_atomic_write_u64(&place->turn, 0);
	pg_write_barrier();
	pg_atomic_write_u64(&place->last_id, last_id);
	pg_atomic_write_u64(&place->at, (uint64) GetCurrentTimestamp());
	pg_write_barrier();
	pg_atomic_write_u64(&place->turn, turn);
}

/* Reads what that turn has written; false if it is not there yet, or any
 * more. */
static bool
read_turn(OutboxDatabase *db, uint64 turn, uint64 *last_id, TimestampTz *at)
{
	OutboxCommitTime *place = &db->commit_time[turn % OUTBOX_COMMIT_TIMES];

	if (pg_atomic_read_u64(&place->turn) != turn)
		return false;
	pg_read_barrier();
	*last_id = pg_atomic_read_u64(&place->last_id);
	*at = (TimestampTz) pg_atomic_read_u64(&place->at);
	pg_read_barrier();
	return pg_atomic_read_u64(&place->turn) == turn;
}

/*
 * When the transaction of that event has committed; 0 if that is not known any
 * more. For ids that grow, in a relay's process.
 */
TimestampTz
outbox_commit_times_of(OutboxDatabase *db, uint64 id)
{
	uint64 commits = pg_atomic_read_u64(&db->commits);
	uint64 last_id;
	TimestampTz at;

	/* what has been overwritten, or is about to be, is lost */
	if (commits >= next_turn + OUTBOX_COMMIT_TIMES / 2)
	{
		next_turn = commits - OUTBOX_COMMIT_TIMES / 2 + 1;
		if (read_turn(db, next_turn, &last_id, &at))
			unknown_upto = last_id;
	}
	if (id <= unknown_upto || id < pg_atomic_read_u64(&db->commits_from))
		return 0;
	/* whoever has not written yet has committed later */
	for (; next_turn <= commits && read_turn(db, next_turn, &last_id, &at);
		 next_turn++)
	{
		if (last_id >= id)
			return at;
	}
	return 0;
}
