/*-------------------------------------------------------------------------
 *
 * backoff.c
 *	  When a parked event is tried again, and when it is not any more.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include <math.h>

#include "common/pg_prng.h"
#include "utils/timestamp.h"

#include "guc.h"
#include "retry/backoff.h"
#include "shared/policy.h"

/* When to try again after so many attempts */
TimestampTz
outbox_backoff_next(int attempts)
{
	double delay_ms =
		outbox_policy.retry_base_delay_ms *
		pow(outbox_policy.retry_multiplier, Min(Max(attempts, 1) - 1, 1000));
	double jitter =
		outbox_retry_jitter * (2 * pg_prng_double(&pg_global_prng_state) - 1);

	delay_ms = Min(delay_ms, outbox_policy.retry_max_delay_ms) * (1 + jitter);
	return TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
									   (int64) Max(delay_ms, 1));
}

/* Is an event with so many attempts a dead letter? */
bool
outbox_backoff_is_last(int attempts)
{
	return outbox_policy.on_failure != OUTBOX_ON_FAILURE_HALT &&
		   outbox_policy.retry_max_attempts > 0 &&
		   attempts >= outbox_policy.retry_max_attempts;
}
