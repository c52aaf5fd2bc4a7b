/*-------------------------------------------------------------------------
 *
 * tasks.c
 *	  What a relay does once it is running: rounds, in which each of its tasks
 *	  has a turn, and how long it may sleep between them. task.h tells what a
 *	  task is.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "utils/timestamp.h"

#include "poison/crash_note.h"
#include "poison/guard.h"
#include "publish/answers.h"
#include "publish/pass_over.h"
#include "publish/publish.h"
#include "publish/recovery.h"
#include "relay/position_task.h"
#include "relay/subscribers_task.h"
#include "relay/tasks.h"
#include "retry/dead_letter_copies.h"
#include "retry/retry.h"
#include "schedule/backfill.h"
#include "schedule/delayed.h"
#include "schedule/handed_over.h"
#include "schedule/replay.h"
#include "schedule/retention.h"
#include "shared/chores.h"
#include "shared/figures.h"
#include "shared/my_relay.h"
#include "shared/relay_state.h"
#include "shared/shutdown.h"
#include "shared/times.h"
#include "store/audit.h"
#include "store/inbox_turn.h"
#include "store/pending.h"

/* in a careful life time itself brings something to do */
#define CAREFUL_TICK_MS 500

/* In the order of their turns. To add a task, add it here. */
static OutboxTask *const tasks[] = {
	&outbox_answers_task, /* first: what others do next depends on them */
	&outbox_recovery_task,
	&outbox_retry_task, /* before the page: it knows what is blocked */
	&outbox_dead_letter_copies_task,
	&outbox_handed_over_task, /* somebody waits, and for the page, too */
	&outbox_publish_task,
	&outbox_pass_over_task,
	&outbox_position_task, /* after all that moves it */
	&outbox_delayed_task,
	&outbox_replay_task,
	&outbox_backfill_task,
	&outbox_retention_task,
	&outbox_pending_task,
	&outbox_audit_task,
	&outbox_inbox_task,
	&outbox_subscribers_task,
};

#define TASKS ((int) lengthof(tasks))

static OutboxRound round_args;

/* Called once, when the relay has attached, before any sink is opened. */
void
outbox_tasks_init(OutboxStream *stream)
{
	round_args.stream = stream;
	outbox_position_task_open(stream->read_upto);
	outbox_crash_note_begin(
		stream->read_upto,
		pg_atomic_read_u64(&outbox_my_relay.db->last_issued));
	for (int i = 0; i < TASKS; i++)
	{
		if (tasks[i]->init != NULL)
			tasks[i]->init(stream->sender.api);
	}
}

/* What the next task is to be told */
static const OutboxRound *
now_is(void)
{
	round_args.position = outbox_stream_position(round_args.stream);
	round_args.written = outbox_position_task_written();
	return &round_args;
}

/* Is there what the task needs? */
static bool
may_run(const OutboxTask *task)
{
	const OutboxStream *stream = round_args.stream;

	if (task->chore && !outbox_chores_are_mine())
		return false;
	if (task->needs != OUTBOX_TASK_NEEDS_NOTHING && round_args.config == NULL)
		return false;
	if (task->needs == OUTBOX_TASK_NEEDS_TO_PUBLISH &&
		!outbox_position_task_may_publish(stream))
		return false;
	if (!outbox_crash_note_is_careful())
		return true;
	switch (task->care)
	{
		case OUTBOX_TASK_AS_ALWAYS:
			return true;
		case OUTBOX_TASK_BESIDE_NO_STREAM:
			return !outbox_stream_is_pending(stream);
		case OUTBOX_TASK_WHEN_SETTLED:
			return outbox_position_task_is_settled(stream);
		case OUTBOX_TASK_NOT_AT_ALL:
			break;
	}
	return false;
}

/* The chores are another relay's if we do not publish. */
static bool
publishes(void)
{
	return outbox_relay_state() == OUTBOX_RELAY_PUBLISHING;
}

/* Takes the chores, if nobody else does them. */
static void
look_after_chores(void)
{
	if (!outbox_chores_turn(publishes()))
		return;
	for (int i = 0; i < TASKS; i++)
	{
		if (tasks[i]->take_over != NULL)
			tasks[i]->take_over();
	}
}

/*
 * One round, in which errors of the tasks are handled, with the settings that
 * are in use, or NULL. WORKED if the next one is to follow at once, ABSENT if
 * the extension is not there.
 */
OutboxTaskResult
outbox_tasks_round(const OutboxSinkConfig *config)
{
	OutboxTaskResult round = OUTBOX_TASK_IDLE;

	round_args.config = config;
	look_after_chores();
	for (int i = 0; i < TASKS; i++)
	{
		OutboxTaskResult result;

		if (!may_run(tasks[i]))
			continue;
		result = outbox_guard_run(tasks[i], now_is());
		outbox_stream_show_position(round_args.stream);
		if (result == OUTBOX_TASK_ABSENT)
			return result;
		if (result == OUTBOX_TASK_WORKED)
			round = result;
	}
	outbox_crash_note_check(
		outbox_position_task_written(),
		outbox_position_task_is_settled(round_args.stream));
	outbox_figures_queue(round_args.stream->sender.in_flight,
						 round_args.stream->window
							 ? outbox_window_memory(round_args.stream->window)
							 : 0);
	outbox_figures_show(round == OUTBOX_TASK_IDLE);
	return round;
}

/* In how many ms the first of the tasks is due; -1 = none is */
long
outbox_tasks_due_ms(const OutboxSinkConfig *config)
{
	long due_ms = -1;

	round_args.config = config;
	for (int i = 0; i < TASKS; i++)
	{
		long wait_ms = -1;

		if (tasks[i]->timeout_ms != NULL && may_run(tasks[i]))
			wait_ms = tasks[i]->timeout_ms(now_is());
		wait_ms = outbox_guard_timeout_ms(tasks[i], wait_ms);
		if (wait_ms >= 0)
			due_ms = due_ms < 0 ? wait_ms : Min(due_ms, wait_ms);
	}
	return due_ms;
}

/* How long there will be nothing to do unless somebody wakes us; due_ms: for
 * the tasks */
long
outbox_tasks_timeout_ms(long due_ms)
{
	long timeout_ms = OUTBOX_SAFETY_TICK_MS;
	long chores_ms;

	if (outbox_crash_note_is_careful())
		timeout_ms = CAREFUL_TICK_MS;
	if (due_ms >= 0)
		timeout_ms = Min(timeout_ms, due_ms);
	outbox_chores_sleep(timeout_ms);
	chores_ms = outbox_chores_timeout_ms(publishes());
	return chores_ms >= 0 ? Min(timeout_ms, chores_ms) : timeout_ms;
}

/* Settings may have changed, and what made tasks fail may have been repaired:
 * all are tried at once. */
void
outbox_tasks_reload(void)
{
	for (int i = 0; i < TASKS; i++)
	{
		outbox_guard_forget(tasks[i]);
		if (tasks[i]->reload != NULL)
			tasks[i]->reload();
	}
}

/* What tasks have under way beside the stream has some time to be done. */
void
outbox_tasks_drain(long grace_ms)
{
	for (int i = 0; i < TASKS; i++)
	{
		if (tasks[i]->drain != NULL)
			tasks[i]->drain(now_is(), grace_ms);
	}
}

/* Closes their sinks; what has no answer is published again. */
void
outbox_tasks_close(void)
{
	for (int i = 0; i < TASKS; i++)
	{
		if (tasks[i]->close != NULL)
			tasks[i]->close();
	}
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

	outbox_answers_drain(round_args.stream, OUTBOX_STOP_GRACE_MS);
	outbox_store_limit_waits(OUTBOX_STOP_GRACE_MS);
	result = outbox_position_task_write_last(round_args.stream);
	if (result != OUTBOX_TASK_ABSENT)
		outbox_tasks_drain(OUTBOX_STOP_GRACE_MS);
	return result;
}
