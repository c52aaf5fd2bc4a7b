/*-------------------------------------------------------------------------
 *
 * pending.c
 *	  How much is kept that has not been published: outbox.max_pending and
 *	  outbox.max_pending_size refuse new events before the disk is full.
 *
 *	  in the stream		events: ids beyond the position. Bytes: each commit adds
 *						what it has written, and leaves a mark now and then of
 *						how much that was at which id; when the position passes
 *						the mark, so much is settled.
 *	  before a restart	bytes: the size of the segments beyond the position, of
 *						which so much is left as there are ids left
 *	  parked, delayed	counted by the relay when they have changed, at most
 *						once a second, and for a small part of its time
 *	  one's own			what the transaction has emitted so far
 *
 * Of several relays, the slowest counts, also one that is paused or has no
 * brokers: the disk has to keep what any of them has still to publish, and
 * does not ask why. The error names it.
 *
 * So the limits are no barriers: transactions that commit at the same time may
 * pass them together. Nothing is counted while there is no limit.
 *
 * The marks are guarded by outbox_shmem->lock; everybody else's figures are
 * atomics that are merely read. A refusal asks the relay to count again:
 * others may have removed something.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include <limits.h>

#include "fmgr.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "guc.h"
#include "shared/chores.h"
#include "shared/my_relay.h"
#include "shared/relays.h"
#include "shared/segment.h"
#include "store/pending.h"
#include "store/statement.h"

#define COUNT_EVERY_MS 1000

/* for each ms that it takes to count, the relay does something else */
#define COUNT_REST_MS  20

/* so many marks for each limit; there is room for twice as many */
#define MARKS          (OUTBOX_PENDING_MARKS / 2)

/* of a row, without reading it from its TOAST table */
#define EVENT_BYTES                                        \
	"200 + length(topic) + COALESCE(octet_length(key), 0)" \
	" + COALESCE(octet_length(payload), 0)"                \
	" + COALESCE(pg_column_size(headers), 0)"

static bool has_begun = false; /* is the limit in force, as the relay knows? */
static TimestampTz counted_at = 0;
static int64 count_rest_ms = COUNT_EVERY_MS;

static bool
has_limit(void)
{
	return outbox_max_pending > 0 || outbox_max_pending_size_kb > 0;
}

/* Bytes of what was there when the relay began to count */
static int64
bytes_before(OutboxDatabase *db, uint64 position)
{
	uint64 from = pg_atomic_read_u64(&db->before_from);
	uint64 upto = pg_atomic_read_u64(&db->before_upto);

	if (position >= upto || from >= upto)
		return 0;
	return (int64) ((double) pg_atomic_read_u64(&db->before_bytes) *
					(double) (upto - Max(position, from)) /
					(double) (upto - from));
}

static void
refuse(OutboxDatabase *db, const char *what, int64 is, int64 limit)
{
	char slowest[NAMEDATALEN];

	outbox_pending_changed(db);
	outbox_chores_wanted(db);
	outbox_relays_wake(db);
	outbox_relays_slowest(db, slowest);
	ereport(ERROR,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("too many events wait to be published"),
			 errdetail("With this one they would be %lld; %s is %lld. "
					   "Relay \"%s\" is the furthest behind.",
					   (long long) is, what, (long long) limit, slowest),
			 errhint("Look at outbox.stat_relay and outbox.blocked for "
					 "the reason, or raise %s.",
					 what)));
}

/*
 * May one more event be emitted? Raises 53400 if not. own: what the current
 * transaction has emitted, with this one. The relays must have told how far
 * they are, since the server started.
 */
void
outbox_pending_check(OutboxDatabase *db, int64 own_events, int64 own_bytes)
{
	uint64 position;

	if (!has_limit() || !outbox_relays_position(db, &position))
		return;
	if (outbox_max_pending > 0)
	{
		int64 events =
			(int64) (outbox_relays_parked(db) +
					 pg_atomic_read_u64(&db->delayed) +
					 pg_atomic_read_u64(&db->last_issued) - position) +
			own_events;

		if (events > outbox_max_pending)
			refuse(db, "outbox.max_pending", events, outbox_max_pending);
	}
	if (outbox_max_pending_size_kb > 0)
	{
		int64 bytes = (int64) (pg_atomic_read_u64(&db->issued_bytes) -
							   pg_atomic_read_u64(&db->settled_bytes)) +
					  (int64) pg_atomic_read_u64(&db->aside_bytes) +
					  bytes_before(db, position) + own_bytes;

		if (bytes > (int64) outbox_max_pending_size_kb * 1024)
			refuse(db, "outbox.max_pending_size", bytes / 1024,
				   outbox_max_pending_size_kb);
	}
}

/* Leaves a mark, if there is room; else the last one stands for more. */
static void
leave_mark(OutboxDatabase *db, uint64 bytes)
{
	LWLockAcquire(outbox_shmem->lock, LW_EXCLUSIVE);
	if (db->marks < OUTBOX_PENDING_MARKS &&
		bytes > pg_atomic_read_u64(&db->marked_bytes))
	{
		OutboxPendingMark *mark =
			&db->mark[(db->first_mark + db->marks) % OUTBOX_PENDING_MARKS];

		/* whoever has added bytes has taken all its ids before */
		mark->id = pg_atomic_read_u64(&db->last_issued);
		mark->bytes = bytes;
		pg_atomic_write_u64(&db->marked_bytes, bytes);
		if (db->marks++ == 0)
			pg_atomic_write_u64(&db->next_mark_id, mark->id);
	}
	LWLockRelease(outbox_shmem->lock);
}

/*
 * The current transaction has committed so many bytes of events, and so many
 * events that are delayed. To be called before it leaves the horizon.
 */
void
outbox_pending_committed(OutboxDatabase *db, int64 bytes, int64 delayed)
{
	uint64 issued;

	if (delayed > 0)
	{
		pg_atomic_fetch_add_u64(&db->delayed, delayed);
		outbox_pending_changed(db);
	}
	if (outbox_max_pending_size_kb == 0)
		return;
	issued = pg_atomic_add_fetch_u64(&db->issued_bytes, bytes);
	if (issued - pg_atomic_read_u64(&db->marked_bytes) >=
		(uint64) outbox_max_pending_size_kb * 1024 / MARKS)
		leave_mark(db, issued);
}

/* What is parked or delayed has changed: it must be counted again. */
void
outbox_pending_changed(OutboxDatabase *db)
{
	pg_atomic_write_u32(&db->pending_changed, 1);
}

/* Settles what was before the marks up to that id. */
static void
settle(OutboxDatabase *db, uint64 position)
{
	if (position < pg_atomic_read_u64(&db->next_mark_id))
		return;
	LWLockAcquire(outbox_shmem->lock, LW_EXCLUSIVE);
	while (db->marks > 0 && db->mark[db->first_mark].id <= position)
	{
		pg_atomic_write_u64(&db->settled_bytes,
							db->mark[db->first_mark].bytes);
		db->first_mark = (db->first_mark + 1) % OUTBOX_PENDING_MARKS;
		db->marks--;
	}
	pg_atomic_write_u64(&db->next_mark_id, db->marks > 0
											   ? db->mark[db->first_mark].id
											   : PG_UINT64_MAX);
	LWLockRelease(outbox_shmem->lock);
}

/* A relay's position has moved: settles what all of them have passed. */
void
outbox_pending_passed(OutboxDatabase *db)
{
	uint64 position;

	if (outbox_relays_position(db, &position))
		settle(db, position);
}

/* The bytes of a table of ours, which is free at once; else 0 */
static uint64
table_size(const char *name)
{
	if (outbox_store_lock(name, AccessShareLock) != OUTBOX_STORE_OK)
		return 0;
	return (uint64) DatumGetInt64(DirectFunctionCall1(
		pg_table_size, ObjectIdGetDatum(outbox_store_relation(name))));
}

/* How much is there beyond the position, as far as it can be told by sizes */
static void
measure_segments(OutboxDatabase *db, uint64 position)
{
	uint64 last_id = pg_atomic_read_u64(&db->last_issued);
	uint64 issued = pg_atomic_read_u64(&db->issued_bytes);
	double bytes = 0;

	for (int i = 0; i < OUTBOX_SEGMENTS; i++)
	{
		OutboxSegmentBounds bounds;
		char name[NAMEDATALEN];

		if (!outbox_segment_bounds(i, &bounds) || bounds.last_id <= position)
			continue;
		snprintf(name, sizeof(name), "%s%d", OUTBOX_SEGMENT_PREFIX, i);
		bytes +=
			(double) table_size(name) *
			(double) (bounds.last_id - Max(position, bounds.first_id - 1)) /
			(double) (bounds.last_id - bounds.first_id + 1);
	}
	pg_atomic_write_u64(&db->before_from, position);
	pg_atomic_write_u64(&db->before_bytes, (uint64) bytes);
	pg_atomic_write_u64(&db->before_upto, last_id);
	settle(db, last_id);
	pg_atomic_write_u64(&db->settled_bytes, issued);
}

/* Counts what is parked or delayed. */
static void
count_aside(OutboxDatabase *db)
{
	static OutboxStatement statement = {
		.sql = "SELECT sum(n)::bigint, sum(b)::bigint FROM ("
			   " SELECT count(*), sum(" EVENT_BYTES ") FROM outbox.delayed"
			   " UNION ALL SELECT 0, sum(" EVENT_BYTES ") FROM outbox.parked"
			   " WHERE state <> 'dead') a (n, b)",
		.read_only = true};

	if (outbox_store_lock(OUTBOX_DELAYED_TABLE, AccessShareLock) !=
		OUTBOX_STORE_OK)
		return;
	outbox_store_execute(&statement, NULL, NULL);
	pg_atomic_write_u64(&db->delayed, (uint64) outbox_store_result(0, 1));
	pg_atomic_write_u64(&db->aside_bytes, (uint64) outbox_store_result(0, 2));
}

/* Counts, if it is time, and there is a limit. */
static OutboxTaskResult
run(const OutboxRound *round)
{
	OutboxDatabase *db = outbox_my_relay.db;
	TimestampTz now = GetCurrentTimestamp();
	OutboxStoreStatus status;
	uint64 position;

	(void) round;
	if (!has_limit())
	{
		has_begun = false;
		return OUTBOX_TASK_IDLE;
	}
	/* the clock may have been set back */
	counted_at = Min(counted_at, now);
	if (!outbox_relays_position(db, &position))
		return OUTBOX_TASK_IDLE;
	if (has_begun &&
		(pg_atomic_read_u32(&db->pending_changed) == 0 ||
		 !TimestampDifferenceExceeds(counted_at, now, COUNT_EVERY_MS)))
		return OUTBOX_TASK_IDLE;
	status = outbox_store_begin("outbox: counting what is pending");
	if (status != OUTBOX_STORE_OK)
		return outbox_store_task_result(status, false);
	pg_atomic_write_u32(&db->pending_changed, 0);
	if (!has_begun && outbox_max_pending_size_kb > 0)
		measure_segments(db, position);
	count_aside(db);
	outbox_store_end();
	has_begun = true;
	counted_at = GetCurrentTimestamp();
	count_rest_ms = Min((counted_at - now) / 1000 * COUNT_REST_MS, INT_MAX);
	count_rest_ms = Max(count_rest_ms, COUNT_EVERY_MS);
	return OUTBOX_TASK_IDLE;
}

static long
timeout_ms(const OutboxRound *round)
{
	(void) round;
	if (!has_limit() ||
		pg_atomic_read_u32(&outbox_my_relay.db->pending_changed) == 0)
		return -1;
	return TimestampDifferenceMilliseconds(
		GetCurrentTimestamp(),
		TimestampTzPlusMilliseconds(counted_at, count_rest_ms));
}

/* What another relay has counted may be old. */
static void
take_over(void)
{
	has_begun = false;
}

OutboxTask outbox_pending_task = {
	.name = "counting what is pending",
	.chore = true,
	.run = run,
	.timeout_ms = timeout_ms,
	.take_over = take_over,
};
