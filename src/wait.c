/*-------------------------------------------------------------------------
 *
 * wait.c
 *	  All sleeping of the launcher and the relays is done here, so that one
 *	  place sees to it that no transaction is open meanwhile, and that the
 *	  process ends with the postmaster.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/xact.h"
#include "compat.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "wait.h"

/* The number of a named wait event; asks for it when it is first needed. */
uint32
outbox_wait_event(OutboxWaitEvent event)
{
	static const char *const names[OUTBOX_WAIT_EVENTS] = {
		[OUTBOX_WAIT_LAUNCHER_MAIN] = "OutboxLauncherMain",
		[OUTBOX_WAIT_RELAY_IDLE] = "OutboxRelayIdle",
		[OUTBOX_WAIT_RELAY_ACK] = "OutboxRelayAck",
		[OUTBOX_WAIT_RELAY_DRAIN] = "OutboxRelayDrain",
		[OUTBOX_WAIT_PUBLISHED] = "OutboxWaitPublished",
	};
	static uint32 numbers[OUTBOX_WAIT_EVENTS];

	if (numbers[event] == 0)
		numbers[event] = outbox_wait_event_new(names[event]);
	return numbers[event];
}

static void
wait_for(int events, int fd, long timeout_ms, OutboxWaitEvent event)
{
	Assert(!IsTransactionState());

	events |= WL_EXIT_ON_PM_DEATH;
	if (fd >= 0)
		events |= WL_SOCKET_READABLE;
	if (timeout_ms >= 0)
		events |= WL_TIMEOUT;
	(void) WaitLatchOrSocket((events & WL_LATCH_SET) ? MyLatch : NULL, events,
							 fd >= 0 ? fd : PGINVALID_SOCKET, timeout_ms,
							 outbox_wait_event(event));
}

/*
 * Waits for our latch, for fd to become readable (-1 = none), or for the
 * timeout (-1 = none), and resets the latch. The caller looks for interrupts
 * and for work afterwards.
 */
void
outbox_wait(int fd, long timeout_ms, OutboxWaitEvent event)
{
	wait_for(WL_LATCH_SET, fd, timeout_ms, event);
	ResetLatch(MyLatch);
}

/*
 * The same without the latch, which is left as it is: for finishing what is
 * under way although somebody has asked for something else.
 */
void
outbox_wait_fd(int fd, long timeout_ms, OutboxWaitEvent event)
{
	wait_for(0, fd, timeout_ms, event);
}
