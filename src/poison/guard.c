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
#include "shared/shutdown.h"
#include "shared/times.h"
#include "store/position.h"

#define DELAY_MIN_MS         100
#define DELAY_MAX_MS         60000

/* a task that has gone well for so long, beyond its delay, is as good as new */
#define WELL_AFTER_MS        10000

/* errors of an event alone, one after another, until it is believed */
#define TRIES                3
#define TRIES_WITHOUT_MEMORY 10

static OutboxTask *current = NULL; /* whose turn it is */
static int failing_tasks = 0;

/* The task has gone well. */
static void
set_well(OutboxTaskErrors *errors)
{
	if (!errors->failing)
		return;
	errors->failing = false;
	if (--failing_tasks == 0)
		outbox_relay_state_failing(false, "What has failed goes well again",
								   NULL);
}

/* The task has failed, and is tried again after that delay: tells it, as a
 * change of the relay's state if it is one. */
static void
set_failing(OutboxTask *task, long delay_ms)
{
	char *what = psprintf("%s has failed, and is tried again in %ld ms",
						  task->name, delay_ms);
	char *why;

	if (!task->errors.failing)
		failing_tasks++;
	task->errors.failing = true;
	why = psprintf("%s%s%s", what, task->detail ? ". " : "",
				   task->detail ? task->detail : "");
	why[0] = (char) pg_toupper((unsigned char) why[0]);
	if (!outbox_relay_state_failing(true, why, NULL))
		ereport(LOG, (errmsg("%s: %s", outbox_my_relay.label, what),
					  task->detail ? errdetail("%s", task->detail) : 0));
	pfree(why);
	pfree(what);
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
suspect(OutboxTaskErrors *state, const ErrorData *error)
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
rest(OutboxTaskErrors *state)
{
	TimestampTz now = GetCurrentTimestamp();
	long delay_ms;

	if (TimestampDifferenceExceeds(Max(state->not_before, state->failed_at),
								   now, WELL_AFTER_MS))
		state->failures = 0;
	delay_ms = DELAY_MIN_MS << Min(state->failures, 16);
	delay_ms = Min(delay_ms, DELAY_MAX_MS);
	state->failures++;
	state->failed_at = now;
	state->not_before = TimestampTzPlusMilliseconds(now, delay_ms);
	return delay_ms;
}

/*
 * In PG_CATCH: undoes the transaction, if there is one, tells the error, and
 * lets the task rest.
 */
static void
handle_error(OutboxTask *task)
{
	ErrorData *error;
	char *message;

	HOLD_INTERRUPTS();
	MemoryContextSwitchTo(TopMemoryContext);
	error = CopyErrorData();
	EmitErrorReport();
	FlushErrorState();
	LWLockReleaseAll();
	ConditionVariableCancelSleep();
	AbortOutOfAnyTransaction();
	MemoryContextSwitchTo(TopMemoryContext);
	pgstat_report_activity(STATE_IDLE, outbox_relay_state_activity());
	RESUME_INTERRUPTS();

	suspect(&task->errors, error);
	set_failing(task, rest(&task->errors));
	message = psprintf("%s: %s", task->name, error->message);
	outbox_relay_state_error(message);
	pfree(message);
	FreeErrorData(error);
}

/* Must the task rest? */
static bool
is_resting(const OutboxTaskErrors *errors)
{
	TimestampTz until = Max(errors->not_before, errors->busy_until);

	return until != 0 && until > GetCurrentTimestamp();
}

/*
 * Gives a task its turn, unless it must rest: it has failed, or others have
 * locked its tables. An error is handled here, but for the one by which the
 * process is asked to end.
 */
OutboxTaskResult
outbox_guard_run(OutboxTask *task, const OutboxRound *round)
{
	OutboxTaskErrors *errors = &task->errors;
	volatile OutboxTaskResult result = OUTBOX_TASK_IDLE;
	volatile bool failed = false;

	if (is_resting(errors))
		return OUTBOX_TASK_IDLE;
	outbox_event_in_hand = 0;
	current = task;
	PG_TRY();
	{
		result = task->run(round);
	}
	PG_CATCH();
	{
		if (outbox_shutdown_is_reason(geterrcode()))
			PG_RE_THROW();
		failed = true;
		handle_error(task);
	}
	PG_END_TRY();
	current = NULL;
	if (failed)
	{
		outbox_position_forget();
		if (task->undo != NULL)
			task->undo(round);
		return OUTBOX_TASK_IDLE;
	}
	set_well(errors);
	if (result == OUTBOX_TASK_BUSY)
		errors->busy_until = TimestampTzPlusMilliseconds(
			GetCurrentTimestamp(), OUTBOX_TABLES_RETRY_MS);
	return result;
}

/* Has the task failed, and not gone well since? */
bool
outbox_guard_is_failing(const OutboxTask *task)
{
	return task->errors.failing;
}

/* The event because of which the task must handle one at a time; 0 = none */
uint64
outbox_guard_suspect(void)
{
	return current->errors.suspect;
}

/* The event that the task must take out of the way, and why; 0 = none */
uint64
outbox_guard_condemned(const char **error)
{
	*error = current->errors.error;
	return current->errors.condemned ? current->errors.suspect : 0;
}

/* The suspect is out of the way, or has gone well. */
void
outbox_guard_acquit(void)
{
	OutboxTaskErrors *errors = &current->errors;

	/* what comes next need not wait for that which was in its way */
	if (errors->suspect != 0)
		errors->failures = 0;
	errors->suspect = 0;
	errors->condemned = false;
	errors->tries = 0;
}

/* How long a task has nothing to do (-1 = forever), if it has to rest */
long
outbox_guard_timeout_ms(const OutboxTask *task, long timeout_ms)
{
	TimestampTz now = GetCurrentTimestamp();

	if (task->errors.busy_until > now)
		timeout_ms =
			TimestampDifferenceMilliseconds(now, task->errors.busy_until);
	if (task->errors.not_before <= now)
		return timeout_ms;
	return Max(timeout_ms,
			   TimestampDifferenceMilliseconds(now, task->errors.not_before));
}

/* What was in the way may have been repaired: the task is tried at once. */
void
outbox_guard_forget(OutboxTask *task)
{
	task->errors.failures = 0;
	task->errors.not_before = 0;
}
