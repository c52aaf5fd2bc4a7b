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

/* a crash later than that, beyond the delay, is the first one again */
#define IN_A_ROW_MS 300000

/* How long relays wait after so many crashes in a row */
int
outbox_crash_delay_ms(int crashes)
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
		TimestampDifferenceExceeds(
			last, now, IN_A_ROW_MS + outbox_crash_delay_ms(crashes)))
		crashes = 0;
	crashes++;
	last = now;
	return crashes;
}
