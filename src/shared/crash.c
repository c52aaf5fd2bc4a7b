/*-------------------------------------------------------------------------
 *
 * crash.c
 *	  Slows down a server that crashes again and again.
 *
 * A process that is ended by a signal takes all others with it. If it is a
 * relay, because its client library meets something that it was not made for,
 * it would be started again with the server, and so on, several times a second;
 * nobody could even connect to turn it off. So after the second crash in a row
 * relays start late, and later each time; everything else does not wait.
 *
 * Shared memory is made anew after each crash, by the postmaster. Its own
 * memory stays, and so it is the postmaster that counts. A server that is
 * started by hand begins at zero.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "utils/timestamp.h"

#include "shared/crash.h"
#include "shared/shmem.h"

/* a crash later than that, beyond the delay, is the first one again */
#define IN_A_ROW_MS 300000

/* How long relays wait after so many crashes */
static int
delay_ms(int crashes)
{
	static const int seconds[] = {0, 0, 1, 2, 5, 10, 20, 40, 60};

	return seconds[Min(crashes, (int) lengthof(seconds) - 1)] * 1000;
}

/*
 * The postmaster makes the shared memory: returns how many crashes in a row
 * have led to that.
 */
int
outbox_crash_count_start(void)
{
	static int crashes = -1;
	static TimestampTz last;
	TimestampTz now = GetCurrentTimestamp();

	if (crashes > 0 &&
		TimestampDifferenceExceeds(last, now, IN_A_ROW_MS + delay_ms(crashes)))
		crashes = 0;
	crashes++;
	last = now;
	return crashes;
}

/* The launcher has started: the time that relays wait begins, unless it has
 * been another launcher's. */
void
outbox_crash_begin_wait(void)
{
	int crashes = outbox_shmem->crashes;
	long wait_ms = delay_ms(crashes);

	if (outbox_shmem->relays_start_at != 0)
		return;
	LWLockAcquire(outbox_shmem->lock, LW_EXCLUSIVE);
	outbox_shmem->relays_start_at =
		TimestampTzPlusMilliseconds(GetCurrentTimestamp(), wait_ms);
	LWLockRelease(outbox_shmem->lock);
	if (wait_ms > 0)
		ereport(WARNING,
				(errmsg("outbox relays start in %ld s: the server has crashed "
						"%d times in a row",
						wait_ms / 1000, crashes),
				 errhint("If it is a relay that makes it crash, set "
						 "outbox.enabled to off, and reload.")));
}

/* How long relays still have to wait */
long
outbox_crash_wait_ms(void)
{
	return TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
										   outbox_shmem->relays_start_at);
}
