/*-------------------------------------------------------------------------
 *
 * relay.c
 *	  The process that publishes one database's events: its life, its
 *	  settings and its loop. README.md tells it from begin to end.
 *
 * A round of the loop (tasks.c) takes in what the broker has answered,
 * publishes a page of events, and so on. When a round has done nothing, the
 * process waits for its latch, which a committing backend sets, and for the
 * sink's pipe, both at once; there is no polling.
 *
 * No transaction, snapshot or lock is held while waiting: whatever function
 * begins one ends it (transaction.c).
 *
 * An error in one of the tasks of a round is undone, and tried again (guard.c);
 * any other ends the process, and the launcher starts another one, which goes
 * on from the position. SIGTERM cancels what is under way, but for the page
 * that is being read (shutdown.c). Then the process gives the broker a moment
 * to answer and writes its position, so that an orderly restart repeats
 * nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include <unistd.h>

#include "access/xact.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "guc.h"
#include "poison/crash_note.h"
#include "relay/attach.h"
#include "relay/idle.h"
#include "relay/reconfigure.h"
#include "relay/relay.h"
#include "relay/roster.h"
#include "relay/session.h"
#include "relay/tasks.h"
#include "shared/figures.h"
#include "shared/my_relay.h"
#include "shared/policy.h"
#include "shared/relay_state.h"
#include "shared/shutdown.h"
#include "shared/state_log.h"
#include "shared/times.h"
#include "shared/wait.h"
#include "sink/module.h"
#include "store/extension.h"
#include "store/position.h"

/* how soon it is tried again to tell the log of a state */
#define LATE_LINE_MS 1000

static OutboxStream stream;
static uint32 extension_changes; /* of the database, that we have looked at */

/* Ends the process in good order. reason: for the log */
static void
finish(OutboxLaunchState state, const char *reason)
{
	outbox_relay_state_launch(state);
	outbox_relay_state_ends(reason);
	proc_exit(0);
}

/* Ends the process if the extension is not there (any more). */
static void
end_if_absent(OutboxTaskResult result)
{
	if (result != OUTBOX_TASK_ABSENT)
		return;
	finish(OUTBOX_LAUNCH_ABSENT, "The extension has been dropped.");
}

/*
 * Reads our row again, and which others there are, if somebody has changed
 * that; ends the process if ours is gone. False if the tables are locked: again
 * in a moment.
 */
static bool
check_row(void)
{
	OutboxStoreStatus status;
	OutboxLaunchState state;

	if (!outbox_my_relay_has_changed())
		return true;
	status = outbox_roster_look(&state);
	end_if_absent(outbox_store_task_result(status, false));
	if (status != OUTBOX_STORE_OK)
		return false;
	/* nothing of ours is written any more */
	if (state != OUTBOX_LAUNCH_STARTED)
		finish(state, "It has been dropped.");
	outbox_tasks_reload();
	return true;
}

/* Gives the brokers a moment to answer, and writes down what has been
 * published. */
static void
wind_up(void)
{
	(void) check_row();
	end_if_absent(outbox_tasks_wind_up());
}

/* Ends the process, as SIGTERM has asked for, as core does; but for what it
 * says. */
static void
end_as_asked(void)
{
	const char *why = outbox_shmem_why_held_off(outbox_my_relay.args.dbid);

	QueryCancelPending = false;
	wind_up();
	outbox_relay_state_ends(why ? why
								: "An administrator has asked it to end.");
	proc_exit(1);
}

/* SIGTERM or an error has met a transaction: undoes it. What it was to write
 * down is written again before the process ends. */
static void
undo_transaction(void)
{
	FlushErrorState();
	LWLockReleaseAll();
	AbortOutOfAnyTransaction();
	MemoryContextSwitchTo(TopMemoryContext);
	outbox_position_forget();
}

/*
 * Ends the process if the extension has been dropped, or updated to another
 * version. An idle relay, or one without a sink, would not notice by itself:
 * it reads nothing.
 */
static void
check_extension(void)
{
	uint32 changes =
		pg_atomic_read_u32(&outbox_my_relay.db->extension_changes);
	char version[NAMEDATALEN];

	if (changes == extension_changes)
		return;
	end_if_absent(outbox_store_task_result(
		outbox_store_version(version, sizeof(version)), false));
	extension_changes = changes;
	if (strcmp(version, OUTBOX_VERSION) == 0)
		return;
	wind_up();
	finish(OUTBOX_LAUNCH_FINISHED,
		   psprintf("The extension has become one of version %s.", version));
}

static void
handle_interrupts(void)
{
	if (outbox_shutdown_is_requested())
		end_as_asked();
	CHECK_FOR_INTERRUPTS();

	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
		if (!outbox_enabled ||
			!outbox_guc_database_allowed(outbox_my_relay.database, NULL))
		{
			wind_up();
			finish(
				OUTBOX_LAUNCH_FINISHED,
				outbox_enabled
					? "outbox.databases does not name its database: events "
					  "are kept, and no space is freed."
					: "outbox.enabled is off: events are kept, and no space "
					  "is freed.");
		}
		outbox_policy_resolve();
		outbox_tasks_reload();
		outbox_reconfigure(&stream);
	}
}

/* How long there is nothing to do, but for others; due_ms: for the tasks */
static long
timeout_ms(long due_ms)
{
	long wait_ms = outbox_tasks_timeout_ms(due_ms);
	long idle_ms = outbox_idle_wait_ms(due_ms);

	if (outbox_state_log_is_late())
		wait_ms = Min(wait_ms, LATE_LINE_MS);
	return idle_ms >= 0 ? Min(wait_ms, idle_ms) : wait_ms;
}

/* What is waited for, when there is nothing to do */
static OutboxWaitEvent
what_for(void)
{
	switch (outbox_relay_state())
	{
		case OUTBOX_RELAY_UNCONFIGURED:
		case OUTBOX_RELAY_HALTED:
		case OUTBOX_RELAY_PAUSED:
			return OUTBOX_WAIT_RELAY_HELD;
		case OUTBOX_RELAY_UNAVAILABLE:
		case OUTBOX_RELAY_UNTRUSTED:
		case OUTBOX_RELAY_UNAUTHENTICATED:
			return OUTBOX_WAIT_RELAY_OUTAGE;
		default:
			return outbox_stream_is_pending(&stream) ? OUTBOX_WAIT_RELAY_ACK
													 : OUTBOX_WAIT_RELAY_IDLE;
	}
}

static void
run(void)
{
	for (;;)
	{
		OutboxTaskResult result;
		bool checked = true;
		long due_ms;

		Assert(CurrentMemoryContext == TopMemoryContext);
		handle_interrupts();
		check_extension();
		if (outbox_my_relay_has_changed())
		{
			checked = check_row();
			if (checked)
				outbox_reconfigure(&stream);
		}
		result = outbox_tasks_round(outbox_reconfigure_running());
		end_if_absent(result);
		due_ms = outbox_tasks_due_ms(outbox_reconfigure_running());
		if (!checked)
			due_ms = due_ms < 0 ? OUTBOX_TABLES_RETRY_MS
								: Min(due_ms, OUTBOX_TABLES_RETRY_MS);
		if (outbox_idle_round(&stream, result, due_ms))
			finish(OUTBOX_LAUNCH_FINISHED,
				   "It has had nothing to do for outbox.idle_timeout.");
		outbox_relay_state_tell_late();
		/* the latch tells of SIGTERM, unless a wait in the round has reset it
		 * and the cancelled transaction was one that may fail */
		if (result != OUTBOX_TASK_WORKED && !outbox_shutdown_is_requested())
			outbox_wait(timeout_ms(due_ms), what_for());
	}
}

/* Learns from the database where to go on. */
static void
attach(void)
{
	OutboxLaunchState state = outbox_attach(&stream);

	if (state != OUTBOX_LAUNCH_STARTED)
		finish(state, NULL);
	/* the first round looks: it may have changed since then */
	extension_changes =
		pg_atomic_read_u32(&outbox_my_relay.db->extension_changes) - 1;
}

static void
before_exit_close(int code, Datum arg)
{
	(void) code;
	(void) arg;
	outbox_stream_close(&stream);
	outbox_tasks_close();
	outbox_crash_note_end();
}

static void
before_exit_detach(int code, Datum arg)
{
	(void) code;
	(void) arg;
	outbox_figures_detach();
	outbox_relay_state_detach();
}

/*
 * The last thing that this process does. If the client library has threads
 * left, exit() would run its clean-up, and that of OpenSSL, under their feet.
 */
static void
on_exit_leave(int code, Datum arg)
{
	(void) arg;
	if (stream.sender.api != NULL && !stream.sender.api->has_ended())
		_exit(code);
}

/*
 * Ends the process by the error that has been caught: shows it, and writes
 * down what has been published, if that is possible.
 */
static void
fail(void)
{
	ErrorData *error;

	MemoryContextSwitchTo(TopMemoryContext);
	error = CopyErrorData();
	undo_transaction();
	outbox_relay_state_launch(OUTBOX_LAUNCH_FAILED);
	outbox_relay_state_error(error->message);
	outbox_relay_state_ends("An error has ended its process.");
	PG_TRY();
	{
		if (stream.sender.api != NULL)
			wind_up();
	}
	PG_CATCH();
	{
		EmitErrorReport();
		undo_transaction();
	}
	PG_END_TRY();
	ReThrowError(error);
}

static void
connect_database(void)
{
	/* registered before the connection, so it runs after the connection has
	 * gone: no process shown means that its locks are free */
	before_shmem_exit(before_exit_detach, (Datum) 0);
	BackgroundWorkerInitializeConnectionByOid(outbox_my_relay.args.dbid,
											  InvalidOid, 0);
	before_shmem_exit(before_exit_close, (Datum) 0);
	outbox_session_pin();

	StartTransactionCommand();
	outbox_my_relay_name_database(get_database_name(MyDatabaseId));
	CommitTransactionCommand();
	pgstat_report_activity(STATE_IDLE, outbox_relay_state_activity());
	MemoryContextSwitchTo(TopMemoryContext);
	outbox_relay_state_launch(OUTBOX_LAUNCH_RUNNING);
}

void
outbox_relay_main(Datum main_arg)
{
	OutboxRelayArgs args;

	(void) main_arg;
	memcpy(&args, MyBgworkerEntry->bgw_extra, sizeof(args));
	outbox_my_relay_init(&args);

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	/* there is no statement of anybody's to cancel */
	pqsignal(SIGINT, SIG_IGN);
	/* registered before all others, so that it is called after them */
	on_proc_exit(on_exit_leave, (Datum) 0);
	BackgroundWorkerUnblockSignals();
	if (outbox_relay_state_is_held_off())
		finish(OUTBOX_LAUNCH_FINISHED, NULL);
	connect_database();

	PG_TRY();
	{
		attach();
		outbox_sender_init(&stream.sender,
						   outbox_module_load(outbox_guc_sink_kind()),
						   "events");
		outbox_outage_init(&stream.outage, stream.sender.api->words,
						   stream.sender.api->is_same_message,
						   OUTBOX_RELAY_PUBLISHING);
		outbox_tasks_init(&stream);
		/* before that there is nothing to be written */
		outbox_shutdown_install();

		/* a SIGHUP may have come before there was a handler */
		ConfigReloadPending = true;
		outbox_reconfigure(&stream);
		run();
	}
	PG_CATCH();
	{
		if (outbox_shutdown_is_reason(geterrcode()))
		{
			undo_transaction();
			end_as_asked();
		}
		fail();
	}
	PG_END_TRY();
}
