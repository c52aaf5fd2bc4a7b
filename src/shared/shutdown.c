/*-------------------------------------------------------------------------
 *
 * shutdown.c
 *	  SIGTERM, for a relay: what is under way is cancelled, even a wait for a
 *	  lock, but the process does not end there, as with core's handler. It
 *	  would forget how far it has published, and repeat that.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include <signal.h>

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"

#include "shared/shutdown.h"

static volatile sig_atomic_t requested = false;

static void
handle_sigterm(SIGNAL_ARGS)
{
	int save_errno = errno;

	(void) postgres_signal_arg;
	/* once: what is done before the end is not cancelled in turn */
	if (!requested && !proc_exit_inprogress)
	{
		requested = true;
		QueryCancelPending = true;
		InterruptPending = true;
	}
	SetLatch(MyLatch);
	errno = save_errno;
}

/*
 * From here on, SIGTERM raises ERRCODE_QUERY_CANCELED at the next
 * CHECK_FOR_INTERRUPTS().
 */
void
outbox_shutdown_install(void)
{
	pqsignal(SIGTERM, handle_sigterm);
}

/* Has the process been asked to end? */
bool
outbox_shutdown_is_requested(void)
{
	return requested;
}

/* Is this the error that the request has raised? */
bool
outbox_shutdown_is_reason(int sqlerrcode)
{
	return requested && sqlerrcode == ERRCODE_QUERY_CANCELED;
}

/* Is the process to end before this time to wait is over? It gives another,
 * shorter one then. */
bool
outbox_shutdown_cuts_short(long grace_ms)
{
	return requested && grace_ms > OUTBOX_STOP_GRACE_MS;
}
