/*-------------------------------------------------------------------------
 *
 * replay.c
 *	  Publishes events once more: outbox.replay() leaves a row in
 *	  outbox.replay_job, and the relay emits copies of the events that it asks
 *	  for, slice by slice, each slice in one commit with the job's progress.
 *	  So a replay goes on after a crash where it was, and its events have
 *	  their place in the order like any other.
 *
 * A slice looks at a few thousand ids at most, and only so often, so that a
 * search for rare events does not keep the relay from its work. Jobs take
 * turns (turns.c).
 *
 * Copies that one relay alone is to publish are its own affair: it makes them
 * itself, with a header that has the others pass them over (addressed.c). The
 * other replays are among the chores.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "utils/timestamp.h"

#include "emit/event_args.h"
#include "emit/xact.h"
#include "poison/guard.h"
#include "schedule/replay.h"
#include "schedule/turns.h"
#include "shared/chores.h"
#include "shared/event_log.h"
#include "shared/my_relay.h"
#include "store/replay_jobs.h"

#define SLICE_IDS    5000
#define SLICE_EVENTS 2000
#define SLICE_BYTES  (1024 * 1024) /* more than that in one event only */

typedef struct Slice
{
	uint64 last_id; /* of the events that have been emitted */
	int64 bytes;    /* of their payloads */
	bool full;      /* there may be more, up to the id where it ends */
} Slice;

static int64 slice_ids = SLICE_IDS; /* less after an error */
static OutboxTurns turns = {0};

/* No job is due now. */
static void
plan_next(TimestampTz now)
{
	TimestampTz next;
	bool any = outbox_replay_jobs_next(outbox_my_relay.name,
									   outbox_chores_are_mine(), &next);

	outbox_turns_plan(&turns, any, next, now);
}

/* Puts one event into the buffer of the transaction. */
static bool
emit_event(const OutboxEvent *event, void *arg)
{
	Slice *slice = arg;
	int64 bytes = event->payload ? VARSIZE_ANY(event->payload) : 0;

	if (slice->bytes > 0 && slice->bytes + bytes > SLICE_BYTES)
	{
		slice->full = true;
		return false;
	}
	slice->bytes += bytes;
	outbox_event_emit_again(event);
	slice->last_id = event->id;
	return true;
}

/* Emits the events of one slice again. Returns how many they are. */
static uint64
emit_slice(const OutboxReplayJob *job, int64 upto, int64 limit, Slice *slice)
{
	uint64 count;

	outbox_xact_join(true);
	if (job->addressed)
		outbox_xact_note_addressed();
	count = outbox_replay_jobs_events(job, upto, limit, emit_event, slice);
	if (count == (uint64) limit)
		slice->full = true;
	return count;
}

/*
 * After an error: smaller slices, down to a single id, and if that raises it
 * again and again, it is passed over. Returns whether the next one is to be.
 */
static bool
narrow(const OutboxReplayJob *job)
{
	const char *error;

	if (outbox_guard_suspect() == 0)
	{
		slice_ids = Min(slice_ids * 2, SLICE_IDS);
		return false;
	}
	if (slice_ids > 1)
	{
		slice_ids = Max(slice_ids / 32, 1);
		outbox_guard_acquit();
		return false;
	}
	if (outbox_guard_condemned(&error) == 0)
		return false;
	outbox_event_log_named(
		outbox_event_log_name_of((uint64) job->next_id, NULL, NULL),
		"is not replayed", error);
	return true;
}

/* Emits one slice of a job. */
static void
run_slice(const OutboxReplayJob *job, TimestampTz now)
{
	int64 limit = job->rate / OUTBOX_TURNS_A_SECOND;
	int64 upto = job->last_id;
	Slice slice = {0};
	uint64 count = 0;

	limit = Max(limit, 1);
	limit = Min(limit, SLICE_EVENTS);
	if (narrow(job))
		upto = job->next_id;
	/* ids may be as large as they can be */
	else if (job->next_id <= job->last_id)
	{
		if (job->last_id - job->next_id >= slice_ids)
			upto = job->next_id + slice_ids - 1;
		outbox_event_in_hand = OUTBOX_EVENT_UNKNOWN;
		count = emit_slice(job, upto, limit, &slice);
		if (slice.full)
			upto = (int64) slice.last_id;
	}
	outbox_replay_jobs_progress(
		job, Max(upto + 1, job->next_id), count,
		TimestampTzPlusMilliseconds(now, (int64) (count * 1000 / job->rate)));
}

/* Works on replays, if there are any. */
static OutboxTaskResult
run(const OutboxRound *round)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz latest;
	OutboxStoreStatus status;
	bool worked = false;
	OutboxReplayJob job;

	(void) round;
	if (!outbox_turns_begin(&turns, now, &latest))
		return OUTBOX_TASK_IDLE;
	status = outbox_store_begin_emit("outbox: replaying events",
									 OUTBOX_REPLAY_TABLE);
	if (status != OUTBOX_STORE_OK)
		return outbox_store_task_result(status, false);
	status = outbox_store_lock_ring(OUTBOX_EVENT_TABLE, OUTBOX_SEGMENT_PREFIX);
	if (status == OUTBOX_STORE_OK)
	{
		worked = outbox_replay_jobs_due(
			outbox_my_relay.name, outbox_chores_are_mine(), now, latest, &job);
		if (worked)
			run_slice(&job, now);
		else
			plan_next(now);
	}
	outbox_store_end();
	outbox_guard_acquit();
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

OutboxTask outbox_replay_task = {
	.name = "replaying events",
	.run = run,
	.timeout_ms = timeout_ms,
	.take_over = take_over,
};
