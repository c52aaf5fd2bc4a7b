/*-------------------------------------------------------------------------
 *
 * late_start.c
 *	  The launcher's wait, after crashes of the server, until it starts relays.
 *	  crash.c tells why.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "utils/timestamp.h"

#include "launcher/late_start.h"
#include "shared/crash.h"
#include "shared/shmem.h"

/* The launcher has started: the time that relays wait begins, unless it has
 * been another launcher's. */
void
outbox_late_start_begin(void)
{
	int crashes = outbox_shmem->crashes;
	long wait_ms = outbox_crash_delay_ms(crashes);

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
outbox_late_start_wait_ms(void)
{
	return TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
										   outbox_shmem->relays_start_at);
}
