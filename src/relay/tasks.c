/*-------------------------------------------------------------------------
 *
 * tasks.c
 *	  What a relay does once it is running: rounds of its tasks, and how long
 *	  it may sleep between them.
 *
 * An error in one of the tasks is undone, and tried again (guard.c).
 *
 * What is published while the position cannot be written would be repeated by
 * the next process, and the next. So nothing is, until it has been written
 * once by this process, or after that has failed.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "utils/timestamp.h"

#include "poison/crash_note.h"
#include "poison/guard.h"
#include "publish/answers.h"
#include "publish/outage.h"
#include "publish/publish.h"
#include "publish/recovery.h"
#include "relay/reconfigure.h"
#include "relay/tasks.h"
#include "retry/dead_letter_copies.h"
#include "retry/retry.h"
#include "retry/retry_batch.h"
#include "schedule/delayed.h"
#include "schedule/replay.h"
#include "schedule/retention.h"
#include "shared/my_relay.h"
#include "shared/shutdown.h"
#include "store/pending.h"
#include "store/position.h"

#define POSITION_EVERY_MS 1000
#define SAFETY_TICK_MS    60000
#define CAREFUL_TICK_MS   500

static OutboxStream *stream;
static uint64 written;         /* position in the table */
static bool can_write = false; /* it was this process that has written it */
static TimestampTz written_at = 0;

/* Called once, when the relay has attached. */
void
outbox_tasks_init(OutboxStream *relay_stream)
{
	stream = relay_stream;
	written = stream->read_upto;
	outbox_crash_note_begin(
		written, pg_atomic_read_u64(&outbox_my_relay.db->last_issued));
}

/* Has the position moved since it was written? */
static bool
needs_writing(void)
{
	return stream->has_events &&
		   (!can_write || outbox_stream_position(stream) != written);
}

/* Is it the time to write it? */
static bool
is_writing_due(void)
{
	TimestampTz now = GetCurrentTimestamp();

	/* the clock may have been set back */
	written_at = Min(written_at, now);
	if (!needs_writing())
		return false;
	if (outbox_crash_note_is_careful() && !outbox_stream_is_pending(stream))
		return true;
	return TimestampDifferenceExceeds(written_at, now, POSITION_EVERY_MS);
}

/* Is nothing under way, and everything written down? In a careful life, that
 * is waited for after each step. */
static bool
is_settled(void)
{
	return !outbox_stream_is_pending(stream) &&
		   !outbox_retry_batch_is_under_way() && !needs_writing();
}

/* May events be published, as told above? */
static bool
may_publish(void)
{
	return (can_write || !stream->has_events) &&
		   !outbox_guard_is_failing(OUTBOX_TASK_POSITION);
}

/*
 * Writes the position if it has moved; not while others lock the table, and
 * not before there have been events: it may be a restore that has brought the
 * sequence, and has yet to bring events and position.
 */
static OutboxTaskResult
write_position(void)
{
	uint64 position = outbox_stream_position(stream);
	OutboxStoreStatus status;

	if (!needs_writing())
		return OUTBOX_TASK_IDLE;
	status = outbox_position_write(outbox_my_relay.name, position);
	written_at = GetCurrentTimestamp();
	if (status == OUTBOX_STORE_OK)
	{
		if (!can_write || outbox_crash_note_is_careful())
			XLogFlush(XactLastCommitEnd);
		written = position;
		can_write = true;
		outbox_retention_used();
	}
	/* a careful life goes on when it has been written */
	return outbox_store_task_result(status, outbox_crash_note_is_careful());
}

/*
 * Waits a moment for answers and writes down what has been published. If locks
 * of others are in the way, that is an error, which ends the process, too.
 * Returns ABSENT if the extension is.
 */
OutboxTaskResult
outbox_tasks_wind_up(void)
{
	OutboxTaskResult result;

	outbox_answers_drain(stream, OUTBOX_STOP_GRACE_MS);
	outbox_store_limit_waits(OUTBOX_STOP_GRACE_MS);
	result = write_position();
	if (result != OUTBOX_TASK_ABSENT)
		outbox_retry_drain(outbox_stream_position(stream),
						   OUTBOX_STOP_GRACE_MS);
	return result;
}

/* How long there will be nothing to do unless somebody wakes us */
long
outbox_tasks_timeout_ms(void)
{
	TimestampTz now = GetCurrentTimestamp();
	bool running = (outbox_reconfigure_running() != NULL);
	bool careful = outbox_crash_note_is_careful();
	bool active = running && may_publish() &&
				  !(careful && outbox_stream_is_pending(stream));
	long timeout_ms = SAFETY_TICK_MS;
	/* -1 = for ever */
	long waits[OUTBOX_TASKS] = {
		[OUTBOX_TASK_NONE] = -1,
		[OUTBOX_TASK_ANSWERS] = outbox_outage_timeout_ms(stream),
		[OUTBOX_TASK_SETTLE] =
			running ? outbox_recovery_timeout_ms(stream) : -1,
		[OUTBOX_TASK_RETRY] = active ? outbox_retry_timeout_ms() : -1,
		[OUTBOX_TASK_DEAD_LETTERS] =
			active && !careful ? outbox_dead_letter_copies_timeout_ms() : -1,
		[OUTBOX_TASK_PAGE] = careful ? CAREFUL_TICK_MS : -1,
		[OUTBOX_TASK_POSITION] = -1,
		[OUTBOX_TASK_DELAYED] = outbox_delayed_timeout_ms(),
		[OUTBOX_TASK_REPLAY] = outbox_replay_timeout_ms(),
		[OUTBOX_TASK_STORAGE] = outbox_retention_timeout_ms(),
	};
	long pending_ms = outbox_pending_timeout_ms();

	if (needs_writing())
		waits[OUTBOX_TASK_POSITION] = TimestampDifferenceMilliseconds(
			now, TimestampTzPlusMilliseconds(written_at, POSITION_EVERY_MS));
	if (pending_ms >= 0)
		timeout_ms = Min(timeout_ms, pending_ms);
	for (int i = 0; i < OUTBOX_TASKS; i++)
	{
		long wait_ms = outbox_guard_timeout_ms(i, waits[i]);

		if (wait_ms >= 0)
			timeout_ms = Min(timeout_ms, wait_ms);
	}
	return timeout_ms;
}

/* Notes the answer of a task. False if the round is over. */
static bool
note(OutboxTaskResult result, OutboxTaskResult *round)
{
	if (result == OUTBOX_TASK_BUSY)
		outbox_guard_busy();
	else
		*round = outbox_task_both(*round, result);
	return result != OUTBOX_TASK_ABSENT;
}

/* What needs brokers */
static bool
publish(const OutboxSinkConfig *config, OutboxTaskResult *round)
{
	uint64 published = pg_atomic_read_u64(&outbox_my_relay.slot->published);
	bool careful = outbox_crash_note_is_careful();
	uint64 position;

	if (outbox_guard_enter(OUTBOX_TASK_SETTLE))
	{
		if (!note(outbox_recovery_run(stream), round))
			return false;
		outbox_reconfigure_reopen(stream);
	}
	if (!may_publish())
		return true;
	position = outbox_stream_position(stream);
	if ((!careful || !outbox_stream_is_pending(stream)) &&
		outbox_guard_enter(OUTBOX_TASK_RETRY) &&
		!note(outbox_retry_run(config, position), round))
		return false;
	/* an outage may end while the stream itself has nothing to send */
	if (stream->outage.since != 0 && !outbox_stream_is_pending(stream) &&
		pg_atomic_read_u64(&outbox_my_relay.slot->published) != published)
		outbox_outage_over(stream);
	/* no copies in a careful life: their sink is not looked after */
	if (!careful && outbox_guard_enter(OUTBOX_TASK_DEAD_LETTERS) &&
		!note(outbox_dead_letter_copies_run(config), round))
		return false;
	return (careful && !is_settled()) ||
		   !outbox_guard_enter(OUTBOX_TASK_PAGE) ||
		   note(outbox_publish_page(stream), round);
}

/* One round; see outbox_tasks_round() */
static OutboxTaskResult
round_of_work(void)
{
	const OutboxSinkConfig *config = outbox_reconfigure_running();
	OutboxTaskResult round = OUTBOX_TASK_IDLE;

	if (outbox_guard_enter(OUTBOX_TASK_ANSWERS) && outbox_answers_poll(stream))
		round = OUTBOX_TASK_WORKED;
	if (config != NULL && !publish(config, &round))
		return round;
	outbox_stream_show_position(stream);
	if (is_writing_due() && outbox_guard_enter(OUTBOX_TASK_POSITION) &&
		!note(write_position(), &round))
		return round;
	outbox_crash_note_check(written, is_settled());
	if (outbox_guard_enter(OUTBOX_TASK_DELAYED) &&
		!note(outbox_delayed_run(), &round))
		return round;
	if (outbox_guard_enter(OUTBOX_TASK_REPLAY) &&
		!note(outbox_replay_run(), &round))
		return round;
	if (outbox_guard_enter(OUTBOX_TASK_STORAGE) &&
		note(outbox_retention_run(written), &round))
		note(outbox_pending_run(), &round);
	outbox_guard_enter(OUTBOX_TASK_NONE);
	return round;
}

/* A task has failed: makes good what it has noted in memory only. */
static void
undo(OutboxTask task)
{
	outbox_position_forget();
	switch (task)
	{
		case OUTBOX_TASK_ANSWERS:
			outbox_stream_end(stream);
			break;
		case OUTBOX_TASK_PAGE:
			outbox_publish_undo(stream);
			break;
		case OUTBOX_TASK_DELAYED:
			outbox_delayed_undone();
			break;
		case OUTBOX_TASK_STORAGE:
			outbox_retention_reload();
			break;
		default:
			break;
	}
}

/*
 * One round, after which errors of its tasks have been handled. WORKED if the
 * next one is to follow at once, ABSENT if the extension is not there.
 */
OutboxTaskResult
outbox_tasks_round(void)
{
	volatile OutboxTaskResult round = OUTBOX_TASK_IDLE;

	PG_TRY();
	{
		round = round_of_work();
	}
	PG_CATCH();
	{
		OutboxTask task;

		if (outbox_shutdown_is_reason(geterrcode()))
			PG_RE_THROW();
		task = outbox_guard_failed();
		if (task == OUTBOX_TASK_NONE)
			PG_RE_THROW();
		undo(task);
	}
	PG_END_TRY();
	return round;
}
