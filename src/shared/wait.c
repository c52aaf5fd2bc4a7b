/*-------------------------------------------------------------------------
 *
 * wait.c
 *	  All sleeping is done here, so that one place sees to it that the
 *	  launcher and the relays have no transaction open meanwhile, and that
 *	  processes end with the postmaster.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include <fcntl.h>
#include <unistd.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/procsignal.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "shared/shutdown.h"
#include "shared/wait.h"

/* what is locked for a moment is tried again after so long, at most */
#define DRAIN_TICK_MS 100

/* The number of a named wait event; asks for it when it is first needed. */
uint32
outbox_wait_event(OutboxWaitEvent event)
{
	static const char *const names[OUTBOX_WAIT_EVENTS] = {
		[OUTBOX_WAIT_LAUNCHER_MAIN] = "OutboxLauncherMain",
		[OUTBOX_WAIT_RELAY_START] = "OutboxRelayStart",
		[OUTBOX_WAIT_RELAY_IDLE] = "OutboxRelayIdle",
		[OUTBOX_WAIT_RELAY_HELD] = "OutboxRelayHeld",
		[OUTBOX_WAIT_RELAY_ACK] = "OutboxRelayAck",
		[OUTBOX_WAIT_RELAY_OUTAGE] = "OutboxRelayOutage",
		[OUTBOX_WAIT_RELAY_DRAIN] = "OutboxRelayDrain",
		[OUTBOX_WAIT_SUBSCRIBER_START] = "OutboxSubscriberStart",
		[OUTBOX_WAIT_SUBSCRIBER_IDLE] = "OutboxSubscriberIdle",
		[OUTBOX_WAIT_SUBSCRIBER_HELD] = "OutboxSubscriberHeld",
		[OUTBOX_WAIT_SUBSCRIBER_OUTAGE] = "OutboxSubscriberOutage",
		[OUTBOX_WAIT_PUBLISHED] = "OutboxWaitPublished",
		[OUTBOX_WAIT_EMIT_NOW] = "OutboxEmitNow",
	};
	static uint32 numbers[OUTBOX_WAIT_EVENTS];

	if (numbers[event] == 0)
		numbers[event] = outbox_wait_event_new(names[event]);
	return numbers[event];
}

static int pipe_read = -1;
static int pipe_write = -1;

/*
 * The end of the pipe that others write to, made when first asked for. Raises
 * an error if that is not possible.
 */
int
outbox_wait_pipe(void)
{
	int fds[2];

	if (pipe_write >= 0)
		return pipe_write;
	if (pipe(fds) != 0 || fcntl(fds[0], F_SETFL, O_NONBLOCK) != 0 ||
		fcntl(fds[1], F_SETFL, O_NONBLOCK) != 0 ||
		fcntl(fds[0], F_SETFD, FD_CLOEXEC) != 0 ||
		fcntl(fds[1], F_SETFD, FD_CLOEXEC) != 0)
		ereport(ERROR, (errcode_for_file_access(),
						errmsg("could not create a pipe: %m")));
	pipe_read = fds[0];
	pipe_write = fds[1];
	return pipe_write;
}

static void
wait_for(int events, long timeout_ms, OutboxWaitEvent event)
{
	char bytes[64];
	int rc;

	Assert(!IsTransactionState());

	events |= WL_EXIT_ON_PM_DEATH;
	if (pipe_read >= 0)
		events |= WL_SOCKET_READABLE;
	if (timeout_ms >= 0)
		events |= WL_TIMEOUT;
	rc = WaitLatchOrSocket((events & WL_LATCH_SET) ? MyLatch : NULL, events,
						   pipe_read >= 0 ? pipe_read : PGINVALID_SOCKET,
						   timeout_ms, outbox_wait_event(event));
	if (rc & WL_SOCKET_READABLE)
	{
		while (read(pipe_read, bytes, sizeof(bytes)) == sizeof(bytes))
			;
	}
}

/*
 * Waits for our latch, for an answer through the pipe, or for the timeout (-1
 * = none), and resets the latch. The caller looks for interrupts, answers and
 * work afterwards.
 */
void
outbox_wait(long timeout_ms, OutboxWaitEvent event)
{
	wait_for(WL_LATCH_SET, timeout_ms, event);
	ResetLatch(MyLatch);
}

/*
 * Waits for an answer of the broker, without the latch, which is left as it
 * is: for finishing what is under way although somebody has asked for something
 * else. False when the time that began as grace_ms is over, or the process is
 * to end before that.
 */
bool
outbox_wait_answers(TimestampTz deadline, long grace_ms)
{
	long left_ms =
		TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);

	if (left_ms <= 0 || outbox_shutdown_cuts_short(grace_ms))
		return false;
	/* others wait for every process to answer, whatever it is doing */
	if (ProcSignalBarrierPending)
		ProcessProcSignalBarrier();
	wait_for(0, Min(left_ms, DRAIN_TICK_MS), OUTBOX_WAIT_RELAY_DRAIN);
	return true;
}

/*
 * Lets a session, in its transaction, wait for its latch or the timeout. The
 * caller looks for interrupts, and for what it waits for, afterwards.
 */
void
outbox_wait_session(long timeout_ms, OutboxWaitEvent event)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 timeout_ms, outbox_wait_event(event));
	ResetLatch(MyLatch);
}
