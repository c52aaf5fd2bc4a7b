/*-------------------------------------------------------------------------
 *
 * round.c
 *	  A round of a subscriber: each part has its turn, and errors that are no
 *	  message's are undone, and tried again later.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "shared/relay_state.h"
#include "shared/state_log.h"
#include "subscribe/batch.h"
#include "subscribe/failures.h"
#include "subscribe/intake.h"
#include "subscribe/round.h"

/* how soon it is tried again to tell the log of a state */
#define LATE_LINE_MS 1000

/* after an error of a round: from, to; and after how long without another one
 * it is over, if there was nothing to do meanwhile */
#define RETRY_MIN_MS 100
#define RETRY_MAX_MS 60000
#define OVER_MS      5000

/* errors of rounds, one after another, and when the next one may be */
static int failures = 0;
static TimestampTz not_before = 0;

/* All that is known of messages is forgotten, and read again. */
void
outbox_round_forget(void)
{
	outbox_batch_forget();
	outbox_failures_forget();
	outbox_intake_forget();
}

/* What made rounds fail may have been repaired: the next one is due. */
void
outbox_round_again(void)
{
	failures = 0;
	not_before = 0;
}

/* What a round does. Returns whether there may be more. */
static bool
run_parts(void)
{
	bool worked = outbox_intake_run();
	bool done;

	worked = outbox_batch_run(&done) || worked;
	/* one that was undone may meet the error again in its next manner */
	if (done)
		failures = 0;
	worked = outbox_failures_run() || worked;
	outbox_intake_tell();
	return worked;
}

/* An error has got out of a round: undoes all of it. Whatever function of a
 * user has been running, what follows is done as ourselves. */
void
outbox_round_undo(void)
{
	FlushErrorState();
	HOLD_INTERRUPTS();
	disable_all_timeouts(false);
	QueryCancelPending = false;
	RESUME_INTERRUPTS();
	LWLockReleaseAll();
	AbortOutOfAnyTransaction();
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, 0);
	MemoryContextSwitchTo(TopMemoryContext);
}

static void
take_error(ErrorData *error)
{
	int delay_ms = Min(RETRY_MIN_MS << Min(failures, 10), RETRY_MAX_MS);

	failures++;
	not_before = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), delay_ms);
	outbox_relay_state_error(error->message);
	if (!outbox_relay_state_failing(true, error->message, error->hint))
		outbox_state_log_still("failing", error->message, error->hint);
	FreeErrorData(error);
}

/* A round, whose errors are taken. Returns whether there may be more to do. */
static bool
run_guarded(void)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool worked = false;
	ErrorData *volatile error = NULL;

	PG_TRY();
	{
		worked = run_parts();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		outbox_round_undo();
	}
	PG_END_TRY();
	if (error != NULL)
	{
		outbox_round_forget();
		take_error(error);
	}
	return worked && error == NULL;
}

/* An error is over when a batch has gone well since, or there was none for a
 * while. */
static void
check_failing(void)
{
	if (failures > 0 &&
		TimestampDifferenceExceeds(not_before, GetCurrentTimestamp(), OVER_MS))
		failures = 0;
	if (failures == 0)
		outbox_relay_state_failing(false, "It goes well again.", NULL);
}

/* May there be a round now? *left_ms: until then, -1 = somebody wakes us */
static bool
is_due(long *left_ms)
{
	*left_ms = -1;
	if (outbox_subscriber.subscription->paused)
		return false;
	if (not_before == 0)
		return true;
	*left_ms =
		TimestampDifferenceMilliseconds(GetCurrentTimestamp(), not_before);
	return *left_ms <= 0;
}

static long
sooner(long a, long b)
{
	return a < 0 ? b : b < 0 ? a : Min(a, b);
}

/* How long there is nothing to do, unless somebody wakes us */
long
outbox_round_timeout_ms(void)
{
	long wait_ms = outbox_state_log_is_late() ? LATE_LINE_MS : -1;
	long left_ms;

	if (!is_due(&left_ms))
		return sooner(wait_ms, left_ms);
	if (failures > 0)
		wait_ms = sooner(wait_ms, OVER_MS);
	wait_ms = sooner(wait_ms, outbox_intake_timeout_ms());
	wait_ms = sooner(wait_ms, outbox_batch_timeout_ms());
	return sooner(wait_ms, outbox_failures_timeout_ms());
}

/* A round, if it is due, with errors handled. Returns whether another one is to
 * follow at once. */
bool
outbox_round_run(void)
{
	bool worked;
	long left_ms;

	if (!is_due(&left_ms))
		return false;
	worked = run_guarded();
	check_failing();
	return worked;
}
