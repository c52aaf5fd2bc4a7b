/*-------------------------------------------------------------------------
 *
 * backfill.c
 *	  Publishes what tables have already: outbox.backfill() leaves a row in
 *	  outbox.backfill_job, and the relay that has the chores emits the rows of
 *	  the table, chunk by chunk in the order of its primary key, each chunk in
 *	  one commit with the job's progress. So a backfill goes on after a crash
 *	  where it was. Why the chunk's rows are locked: capture/chunk.c.
 *
 * Who writes to a row of a chunk waits for its commit, and so does the relay's
 * stream: a chunk has a few milliseconds, of which it takes as many for its
 * rows as its commit leaves, and rests as long again. It rests, too, while much
 * is waiting to be published, or nothing can be. Jobs take turns.
 *
 * Nothing is waited for: a table or a row that others have locked is tried
 * again, and the job says so meanwhile. Only a row that has been locked each
 * time for a while is waited for, for a moment: others may stand in a queue for
 * it, without end.
 *
 * An error that a row or what users have written may be the cause of ends the
 * job; outbox.resume_backfill() lets it go on there. What takes too long is
 * cancelled; a function that catches that, and does not return, ends with the
 * process: it is in the way of the stream, and of a shutdown. The next process
 * ends the job.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include <signal.h>

#include "miscadmin.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/fmgroids.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "capture/chunk.h"
#include "emit/xact.h"
#include "poison/guard.h"
#include "schedule/backfill.h"
#include "schedule/turns.h"
#include "shared/my_relay.h"
#include "shared/shutdown.h"
#include "shared/times.h"
#include "store/backfill_jobs.h"

/* what a chunk takes, from its first row to the end of its commit, and of that,
 * how long rows are read */
#define CHUNK_US      5000
#define ROWS_US_MAX   3000
#define ROWS_US_MIN   1000

/* how long a chunk may take that calls functions which do not return, and those
 * that do not let themselves be cancelled */
#define CHUNK_MAX_MS  1000
#define CHUNK_END_MS  2000

/* events that wait to be published, beyond which there are no more of ours */
#define WAITING_MAX   20000

/* a row that has been locked so often, one time after another, is waited for */
#define TRIES         10

/* what a job says then, whether it waits or not */
#define ROW_IS_LOCKED "others have locked its next row"

static int64 rows_us = ROWS_US_MAX / 2;
static TimestampTz chunk_began = 0;
static OutboxTurns turns = {0};
static int tries = 0; /* without getting on */
static volatile int64 job_at_hand = 0;

/* No job is due now. */
static void
plan_next(TimestampTz now)
{
	TimestampTz next;
	bool any = outbox_backfill_jobs_next(&next);

	outbox_turns_plan(&turns, any, next, now);
}

/* In a signal handler: ends the process, which no function can catch, and tells
 * the next one why. */
static void
end_process(void)
{
	pg_atomic_write_u64(&outbox_my_relay.db->endless_backfill,
						(uint64) job_at_hand);
	ProcDiePending = true;
	InterruptPending = true;
	SetLatch(MyLatch);
}

/* Emits a chunk in a subtransaction, which is undone if that raises an error.
 * It cannot take for ever, whatever functions it calls. */
static ErrorData *
emit_chunk(OutboxChunk *chunk)
{
	static TimeoutId end_timeout = MAX_TIMEOUTS;
	ErrorData *error;

	if (end_timeout == MAX_TIMEOUTS)
		end_timeout = RegisterTimeout(USER_TIMEOUT, end_process);
	chunk_began = GetCurrentTimestamp();
	pqsignal(SIGINT, StatementCancelHandler);
	enable_timeout_after(STATEMENT_TIMEOUT, CHUNK_MAX_MS);
	enable_timeout_after(end_timeout, CHUNK_END_MS);
	error = outbox_store_subtransaction(outbox_capture_chunk, chunk);
	disable_timeout(end_timeout, false);
	disable_timeout(STATEMENT_TIMEOUT, false);
	pqsignal(SIGINT, SIG_IGN);
	if (error != NULL && outbox_shutdown_is_reason(error->sqlerrcode))
		ReThrowError(error);
	/* what has come too late */
	if (!outbox_shutdown_is_requested())
		QueryCancelPending = false;
	return error;
}

/* The job does not get on now, or not any more. */
static void
tell_stuck(const OutboxBackfillJob *job, const char *error, bool failed,
		   TimestampTz now)
{
	int64 delay_ms = OUTBOX_TURN_EVERY_MS << Min(tries, 10);

	tries++;
	outbox_backfill_jobs_stuck(
		job, error, failed,
		TimestampTzPlusMilliseconds(now,
									Min(delay_ms, OUTBOX_DUE_ROWS_RETRY_MS)));
	if (failed)
		ereport(WARNING,
				(errmsg("%s: backfill %lld has failed: %s",
						outbox_my_relay.label, (long long) job->id, error)));
}

/* What an error of a chunk says, and of which row */
static const char *
words_for(const OutboxChunk *chunk, const ErrorData *error)
{
	ArrayType *key =
		chunk->scan == NULL ? NULL : outbox_key_scan_key(chunk->scan);

	if (chunk->wait && chunk->rows == 0 &&
		error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
		return ROW_IS_LOCKED;
	if (key == NULL)
		return error->message;
	return psprintf("row %s: %s",
					OidOutputFunctionCall(F_ARRAY_OUT, PointerGetDatum(key)),
					error->message);
}

/* Has the last process ended because this job did not? */
static bool
was_endless(const OutboxBackfillJob *job)
{
	uint64 id = (uint64) job->id;

	return pg_atomic_compare_exchange_u64(
		&outbox_my_relay.db->endless_backfill, &id, 0);
}

/* The job goes on with its next table, or partition. */
static void
next_part(OutboxBackfillJob *job)
{
	job->part++;
	job->next_key = NULL;
	job->last_key = NULL;
}

/* Until when the job rests after so many rows */
static TimestampTz
rest_until(const OutboxBackfillJob *job, int64 rows, TimestampTz now)
{
	return job->rate == 0
			   ? now
			   : TimestampTzPlusMilliseconds(now, rows * 1000 / job->rate);
}

/* Writes what has come of a chunk. */
static void
note_progress(OutboxBackfillJob *job, const OutboxChunk *chunk,
			  TimestampTz now)
{
	job->next_key = chunk->from;
	job->last_key = chunk->upto;
	switch (chunk->end)
	{
		case OUTBOX_CHUNK_TABLE_IS_READ:
		case OUTBOX_CHUNK_TABLE_IS_GONE:
			next_part(job);
			break;
		case OUTBOX_CHUNK_IS_FULL:
			break;
		case OUTBOX_CHUNK_MET_A_LOCK:
			if (chunk->rows > 0)
				break;
			tell_stuck(job, ROW_IS_LOCKED, false, now);
			return;
		case OUTBOX_CHUNK_CANNOT_READ:
			tell_stuck(job, "others have locked the table, or its index",
					   false, now);
			return;
	}
	tries = 0;
	outbox_backfill_jobs_progress(job, chunk->rows, chunk->events,
								  rest_until(job, chunk->rows, now));
}

/* Works on a job. Returns why its chunk has ended. */
static OutboxChunkEnd
run_chunk(OutboxBackfillJob *job, TimestampTz now)
{
	int64 max_rows = job->rate == 0
						 ? PG_INT64_MAX
						 : Max(job->rate / OUTBOX_TURNS_A_SECOND, 1);
	OutboxChunk chunk = {.table = job->table,
						 .captures = job->captures,
						 .condition = job->condition,
						 .from = job->next_key,
						 .upto = job->last_key,
						 .max_rows = max_rows,
						 .max_us = rows_us,
						 .wait = tries >= TRIES};
	ErrorData *error;

	if (was_endless(job))
	{
		tell_stuck(job,
				   "a function has not ended when it was cancelled, so its "
				   "process was",
				   true, now);
		return OUTBOX_CHUNK_CANNOT_READ;
	}
	if (!job->is_published)
	{
		tell_stuck(job, "the table is not published any more", true, now);
		return OUTBOX_CHUNK_TABLE_IS_GONE;
	}
	/* not to a partition any more that was detached, or dropped */
	if (!OidIsValid(job->table) || job->captures == NIL)
	{
		next_part(job);
		outbox_backfill_jobs_progress(job, 0, 0, now);
		return OUTBOX_CHUNK_TABLE_IS_GONE;
	}
	job_at_hand = job->id;
	error = emit_chunk(&chunk);
	if (chunk.users_code)
		outbox_my_relay_lock_alone();
	if (error == NULL)
	{
		note_progress(job, &chunk, now);
		return chunk.end;
	}
	tell_stuck(job, words_for(&chunk, error),
			   outbox_guard_may_be_event(error->sqlerrcode) ||
				   TimestampDifferenceExceeds(now, GetCurrentTimestamp(),
											  CHUNK_MAX_MS),
			   now);
	return OUTBOX_CHUNK_CANNOT_READ;
}

/* The transaction of a chunk that was full has ended: the next one is to take
 * the time that a chunk has. */
static void
learn(void)
{
	if (GetCurrentTimestamp() - chunk_began > CHUNK_US)
		rows_us = Max(rows_us / 2, ROWS_US_MIN);
	else
		rows_us = Min(rows_us + rows_us / 8, ROWS_US_MAX);
}

/* Is there so much to publish that there should not be more? */
static bool
is_behind(const OutboxRound *round)
{
	return round->position + WAITING_MAX <
		   pg_atomic_read_u64(&outbox_my_relay.db->last_issued);
}

/* Works on the job whose turn it is, in the current transaction. Returns
 * whether there is one, and another chunk of it would have been as long. */
static bool
run_job(TimestampTz now, TimestampTz latest, bool *was_full)
{
	OutboxBackfillJob job;

	if (!outbox_backfill_jobs_due(now, latest, &job))
	{
		plan_next(now);
		return false;
	}
	outbox_xact_join(true);
	*was_full =
		(run_chunk(&job, now) == OUTBOX_CHUNK_IS_FULL && job.rate == 0);
	return true;
}

/* Works on backfills, if there are any. */
static OutboxTaskResult
run(const OutboxRound *round)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz latest;
	OutboxStoreStatus status;
	bool was_full = false;
	bool worked = false;

	if (!outbox_turns_begin(&turns, now, &latest) || is_behind(round))
		return OUTBOX_TASK_IDLE;
	status = outbox_store_begin_emit("outbox: backfilling tables",
									 OUTBOX_BACKFILL_TABLE);
	if (status != OUTBOX_STORE_OK)
		return outbox_store_task_result(status, false);
	status = outbox_store_lock(OUTBOX_CAPTURE_TABLE, AccessShareLock);
	if (status == OUTBOX_STORE_OK)
		worked = run_job(now, latest, &was_full);
	outbox_store_end();
	if (was_full)
		learn();
	return outbox_store_task_result(status, worked);
}

static void
take_over(void)
{
	outbox_turns_forget(&turns);
}

static long
timeout_ms(const OutboxRound *round)
{
	(void) round;
	return outbox_turns_timeout_ms(&turns);
}

OutboxTask outbox_backfill_task = {
	.name = "backfilling tables",
	.care = OUTBOX_TASK_NOT_AT_ALL,
	.chore = true,
	.run = run,
	.timeout_ms = timeout_ms,
	.take_over = take_over,
};
