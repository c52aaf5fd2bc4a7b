/*-------------------------------------------------------------------------
 *
 * guard.c
 *	  An error in one of a relay's tasks is undone, told, and keeps only this
 *	  task waiting: it is tried again after a delay, which grows. The process
 *	  goes on, so that it forgets nothing that it has published.
 *
 * It may be one event that raises the error, each time. The event in hand is
 * known by its id, and is a suspect from then on: the task handles one event
 * at a time. If the suspect raises an error alone, and again and again, the
 * task takes it out of the way, as a dead letter with the error's words.
 *
 * Not each error is an event's fault: not that the disk is full, that a lock
 * is not to be had, that somebody has cancelled it. Such a one is waited out,
 * however long. Memory may be short because of one event, or of all others, so
 * it takes longer until that is believed.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/condition_variable.h"
#include "storage/lwlock.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "event.h"
#include "poison/guard.h"
#include "shared/my_relay.h"
#include "shared/relay_state.h"

#define DELAY_MIN_MS         100
#define DELAY_MAX_MS         60000

/* how soon tables that others have locked are tried again */
#define BUSY_RETRY_MS        50

/* a task that has gone well for so long, beyond its delay, is as good as new */
#define WELL_AFTER_MS        10000

/* errors of an event alone, one after another, until it is believed */
#define TRIES                3
#define TRIES_WITHOUT_MEMORY 10

typedef struct TaskState
{
	int failures; /* one after another */
	bool failing; /* it has not gone well since */
	TimestampTz failed_at;
	TimestampTz not_before;
	TimestampTz busy_until; /* others have locked the tables */
	uint64 suspect;         /* 0 = none */
	int tries;              /* of it alone */
	bool condemned;
	char error[OUTBOX_ERROR_MAX];
} TaskState;

static OutboxTask current = OUTBOX_TASK_NONE;
static TaskState tasks[OUTBOX_TASKS];

static const char *
task_name(OutboxTask task)
{
	static const char *const names[OUTBOX_TASKS] = {
		[OUTBOX_TASK_NONE] = "working",
		[OUTBOX_TASK_ANSWERS] = "taking in answers",
		[OUTBOX_TASK_SETTLE] = "parking events",
		[OUTBOX_TASK_RETRY] = "retrying parked events",
		[OUTBOX_TASK_DEAD_LETTERS] = "copying dead letters",
		[OUTBOX_TASK_PAGE] = "publishing events",
		[OUTBOX_TASK_POSITION] = "writing the position",
		[OUTBOX_TASK_DELAYED] = "moving delayed events",
		[OUTBOX_TASK_REPLAY] = "replaying events",
		[OUTBOX_TASK_STORAGE] = "emptying segments",
	};

	return names[task];
}

static void
show_failing(void)
{
	bool failing = false;

	for (int i = 0; i < OUTBOX_TASKS; i++)
		failing = failing || tasks[i].failing;
	outbox_relay_state_failing(failing);
}

/*
 * The task before has gone well; from here on, an error is this one's. False
 * if it must rest: it has failed, or others have locked its tables.
 */
bool
outbox_guard_enter(OutboxTask task)
{
	TaskState *state = &tasks[current];

	outbox_event_in_hand = 0;
	current = OUTBOX_TASK_NONE;
	if (state->failing)
	{
		state->failing = false;
		show_failing();
	}
	state = &tasks[task];
	if (Max(state->not_before, state->busy_until) != 0 &&
		Max(state->not_before, state->busy_until) > GetCurrentTimestamp())
		return false;
	current = task;
	return true;
}

/* Others have locked the tables that the task needs: again in a moment. */
void
outbox_guard_busy(void)
{
	tasks[current].busy_until =
		TimestampTzPlusMilliseconds(GetCurrentTimestamp(), BUSY_RETRY_MS);
}

/* How often an event must raise such an error, alone, to be its cause; 0 if it
 * cannot be. */
static int
tries_for(int sqlerrcode)
{
	if (sqlerrcode == ERRCODE_OUT_OF_MEMORY)
		return TRIES_WITHOUT_MEMORY;
	switch (ERRCODE_TO_CATEGORY(sqlerrcode))
	{
		case ERRCODE_CONNECTION_EXCEPTION:
		case ERRCODE_INVALID_TRANSACTION_STATE:
		case ERRCODE_TRANSACTION_ROLLBACK:
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE:
		case ERRCODE_OPERATOR_INTERVENTION:
		case ERRCODE_SYSTEM_ERROR:
			return 0;
		default:
			return TRIES;
	}
}

/* Can the row that is being read or written be the cause of such an error? */
bool
outbox_guard_may_be_event(int sqlerrcode)
{
	return tries_for(sqlerrcode) > 0;
}

/* Is it the event in hand? */
static void
suspect(TaskState *state, const ErrorData *error)
{
	int tries = tries_for(error->sqlerrcode);

	if (outbox_event_in_hand == 0 || tries == 0)
		return;
	/* the first time, it was perhaps not alone */
	if (state->suspect != outbox_event_in_hand)
	{
		state->suspect = outbox_event_in_hand;
		state->tries = 0;
		return;
	}
	if (++state->tries < tries)
		return;
	state->condemned = true;
	strlcpy(state->error, error->message, sizeof(state->error));
}

/* The task under way has failed: it must rest. Returns for how long. */
static long
rest(TaskState *state)
{
	TimestampTz now = GetCurrentTimestamp();
	long delay_ms;

	if (TimestampDifferenceExceeds(Max(state->not_before, state->failed_at),
								   now, WELL_AFTER_MS))
		state->failures = 0;
	delay_ms = DELAY_MIN_MS << Min(state->failures, 16);
	delay_ms = Min(delay_ms, DELAY_MAX_MS);
	state->failures++;
	state->failing = true;
	state->failed_at = now;
	state->not_before = TimestampTzPlusMilliseconds(now, delay_ms);
	return delay_ms;
}

/*
 * To be called in PG_CATCH: undoes the transaction, if there is one, and tells
 * the error. Returns the task that has raised it, which must make good what it
 * has noted of that transaction in its memory; for NONE, nothing has been done.
 */
OutboxTask
outbox_guard_failed(void)
{
	OutboxTask task = current;
	ErrorData *error;
	char *message;
	long delay_ms;

	if (task == OUTBOX_TASK_NONE)
		return task;
	HOLD_INTERRUPTS();
	MemoryContextSwitchTo(TopMemoryContext);
	error = CopyErrorData();
	EmitErrorReport();
	FlushErrorState();
	LWLockReleaseAll();
	ConditionVariableCancelSleep();
	AbortOutOfAnyTransaction();
	MemoryContextSwitchTo(TopMemoryContext);
	pgstat_report_activity(STATE_IDLE, NULL);
	RESUME_INTERRUPTS();

	suspect(&tasks[task], error);
	delay_ms = rest(&tasks[task]);
	current = OUTBOX_TASK_NONE;
	outbox_event_in_hand = 0;
	ereport(LOG, (errmsg("%s: %s has failed, "
						 "and is tried again in %ld ms",
						 outbox_my_relay.label, task_name(task), delay_ms),
				  task == OUTBOX_TASK_POSITION
					  ? errdetail("Nothing is published until the position "
								  "can be written.")
					  : 0));
	message = psprintf("%s: %s", task_name(task), error->message);
	outbox_relay_state_error(message);
	show_failing();
	pfree(message);
	FreeErrorData(error);
	return task;
}

/* Has the task failed, and not gone well since? */
bool
outbox_guard_is_failing(OutboxTask task)
{
	return tasks[task].failing;
}

/* The event because of which the task must handle one at a time; 0 = none */
uint64
outbox_guard_suspect(OutboxTask task)
{
	return tasks[task].suspect;
}

/* The event that the task must take out of the way, and why; 0 = none */
uint64
outbox_guard_condemned(OutboxTask task, const char **error)
{
	*error = tasks[task].error;
	return tasks[task].condemned ? tasks[task].suspect : 0;
}

/* The suspect is out of the way, or has gone well. */
void
outbox_guard_acquit(OutboxTask task)
{
	/* what comes next need not wait for that which was in its way */
	if (tasks[task].suspect != 0)
		tasks[task].failures = 0;
	tasks[task].suspect = 0;
	tasks[task].condemned = false;
	tasks[task].tries = 0;
}

/* How long a task has nothing to do (-1 = for ever), if it has to rest */
long
outbox_guard_timeout_ms(OutboxTask task, long timeout_ms)
{
	TimestampTz now = GetCurrentTimestamp();

	if (tasks[task].busy_until > now)
		timeout_ms =
			TimestampDifferenceMilliseconds(now, tasks[task].busy_until);
	if (tasks[task].not_before <= now)
		return timeout_ms;
	return Max(timeout_ms,
			   TimestampDifferenceMilliseconds(now, tasks[task].not_before));
}

/* What was in the way may have been repaired: all are tried at once. */
void
outbox_guard_forget(void)
{
	for (int i = 0; i < OUTBOX_TASKS; i++)
	{
		tasks[i].failures = 0;
		tasks[i].not_before = 0;
	}
}
