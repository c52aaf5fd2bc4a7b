/*-------------------------------------------------------------------------
 *
 * main.c
 *	  The process that gives messages of a broker to a function of this
 *	  database: its life, its settings and its loop. README.md tells it from
 *	  begin to end.
 *
 * A round of the loop takes in what has come (intake.c), gives the batch to the
 * function (batch.c), and looks after messages that have failed (failures.c).
 * When a round has done nothing, the process waits for its latch and for the
 * source's pipe; no transaction, snapshot or lock is held meanwhile, and no
 * statement is run for want of work.
 *
 * An error that gets out of a round is no message's: its transaction is undone,
 * all that was known of offsets is forgotten, and it is tried again, with
 * growing delays (round.c). Any other error ends the process, and the launcher
 * starts another one. Nothing is lost or repeated by that: the offsets are
 * those of the last commit.
 *
 * SIGTERM ends it at once: a transaction that is under way is cancelled by
 * core's handler, which no function of a user can catch.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include <unistd.h>

#include "access/xact.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "guc.h"
#include "relay/session.h"
#include "shared/my_relay.h"
#include "shared/policy.h"
#include "shared/relay_state.h"
#include "shared/times.h"
#include "shared/wait.h"
#include "source/module.h"
#include "store/extension.h"
#include "subscribe/attach.h"
#include "subscribe/failures.h"
#include "subscribe/intake.h"
#include "subscribe/main.h"
#include "subscribe/round.h"
#include "subscribe/subscriber.h"

static const OutboxSourceApi *api = NULL; /* of the module */
static uint32 extension_changes; /* of the database, that we have looked at */

static void
handle_sigterm(SIGNAL_ARGS)
{
	outbox_subscriber.asked_to_end = true;
	die(postgres_signal_arg);
}

/* Ends the process in good order. reason: for the log */
static void
finish(OutboxLaunchState state, const char *reason)
{
	outbox_relay_state_launch(state);
	if (outbox_my_relay.slot != NULL)
		outbox_relay_state_ends(reason);
	proc_exit(0);
}

/* Why it ends by SIGTERM */
static const char *
why_asked(void)
{
	const char *why = outbox_shmem_why_held_off(outbox_my_relay.args.dbid);

	return why ? why : "An administrator has asked it to end.";
}

/* Ends the process if the extension is not there (any more). */
static void
end_if_absent(OutboxStoreStatus status)
{
	if (status == OUTBOX_STORE_ABSENT)
		finish(OUTBOX_LAUNCH_ABSENT, "The extension has been dropped.");
}

/* Opens the source as the row and the settings say, or closes it. */
static void
reconfigure(void)
{
	const OutboxSubscription *subscription = outbox_subscriber.subscription;

	outbox_round_again();
	if (!subscription->paused)
	{
		(void) outbox_intake_reconfigure();
		return;
	}
	outbox_intake_close();
	outbox_relay_state_failing(false, NULL, NULL);
	outbox_relay_state_set(
		OUTBOX_RELAY_PAUSED, subscription->pause_reason,
		"outbox.resume_subscription() resumes it: it goes on where it was.");
}

/*
 * Somebody has changed the table: reads our row again; ends the process if it
 * is gone. False if the tables are locked: again in a moment.
 */
static bool
check_row(void)
{
	OutboxLaunchState state = OUTBOX_LAUNCH_STARTED;
	OutboxStoreStatus status = outbox_subscriber_look(&state);

	end_if_absent(status);
	if (status != OUTBOX_STORE_OK)
		return false;
	if (state != OUTBOX_LAUNCH_STARTED)
		finish(state, "Its subscription is gone, or has less workers.");
	outbox_round_forget();
	reconfigure();
	return true;
}

/* Ends the process if the extension has been dropped, or updated to another
 * version. */
static void
check_extension(void)
{
	uint32 changes =
		pg_atomic_read_u32(&outbox_my_relay.db->extension_changes);
	char version[NAMEDATALEN];

	if (changes == extension_changes)
		return;
	end_if_absent(outbox_store_version(version, sizeof(version)));
	extension_changes = changes;
	if (strcmp(version, OUTBOX_VERSION) != 0)
		finish(
			OUTBOX_LAUNCH_FINISHED,
			psprintf("The extension has become one of version %s.", version));
}

static void
reload(void)
{
	ProcessConfigFile(PGC_SIGHUP);
	if (!outbox_enabled ||
		!outbox_guc_database_allowed(outbox_my_relay.database, NULL))
		finish(OUTBOX_LAUNCH_FINISHED,
			   outbox_enabled ? "outbox.databases does not name its database."
							  : "outbox.enabled is off.");
	outbox_policy_resolve();
	reconfigure();
}

static void
handle_interrupts(void)
{
	if (outbox_subscriber.asked_to_end)
	{
		outbox_relay_state_ends(why_asked());
		proc_exit(1);
	}
	/* there was no statement of anybody's to cancel */
	QueryCancelPending = false;
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		reload();
	}
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
		case OUTBOX_RELAY_GAP:
			return OUTBOX_WAIT_SUBSCRIBER_HELD;
		case OUTBOX_RELAY_UNAVAILABLE:
		case OUTBOX_RELAY_UNTRUSTED:
		case OUTBOX_RELAY_UNAUTHENTICATED:
			return OUTBOX_WAIT_SUBSCRIBER_OUTAGE;
		default:
			return OUTBOX_WAIT_SUBSCRIBER_IDLE;
	}
}

static void
run(void)
{
	for (;;)
	{
		bool checked = true;
		bool worked = false;

		Assert(CurrentMemoryContext == TopMemoryContext);
		handle_interrupts();
		check_extension();
		if (outbox_my_relay_has_changed())
			checked = check_row();
		if (checked)
			worked = outbox_round_run();
		outbox_relay_state_tell_late();
		if (!worked && !outbox_subscriber.asked_to_end)
			outbox_wait(checked ? outbox_round_timeout_ms()
								: OUTBOX_TABLES_RETRY_MS,
						what_for());
	}
}

static void
before_exit_close(int code, Datum arg)
{
	(void) code;
	(void) arg;
	if (api != NULL)
		outbox_intake_close();
}

static void
before_exit_detach(int code, Datum arg)
{
	(void) code;
	(void) arg;
	/* in a transaction, it is core that has ended the process */
	if (outbox_subscriber.asked_to_end && outbox_my_relay.slot != NULL)
		outbox_relay_state_ends(why_asked());
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
	if (api != NULL && !api->has_ended())
		_exit(code);
}

/* Ends the process by the error that has been caught. */
static void
fail(void)
{
	ErrorData *error;

	MemoryContextSwitchTo(TopMemoryContext);
	error = CopyErrorData();
	outbox_round_undo();
	outbox_relay_state_launch(OUTBOX_LAUNCH_FAILED);
	outbox_relay_state_error(error->message);
	if (outbox_my_relay.slot != NULL)
		outbox_relay_state_ends("An error has ended its process.");
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
	outbox_session_pin_subscriber();

	StartTransactionCommand();
	outbox_my_relay_name_database(get_database_name(MyDatabaseId));
	CommitTransactionCommand();
	pgstat_report_activity(STATE_IDLE, outbox_relay_state_activity());
	MemoryContextSwitchTo(TopMemoryContext);
	outbox_relay_state_launch(OUTBOX_LAUNCH_RUNNING);
}

/* Learns which subscription this is. */
static void
attach(void)
{
	OutboxLaunchState state = outbox_subscriber_attach();

	if (state != OUTBOX_LAUNCH_STARTED)
		finish(state, NULL);
	/* the first round looks: it may have changed since then */
	extension_changes =
		pg_atomic_read_u32(&outbox_my_relay.db->extension_changes) - 1;
}

void
outbox_subscriber_main(Datum main_arg)
{
	OutboxRelayArgs args;

	(void) main_arg;
	memcpy(&args, MyBgworkerEntry->bgw_extra, sizeof(args));
	outbox_my_relay_init(&args);

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, handle_sigterm);
	/* a function that runs for too long; or that somebody cancels */
	pqsignal(SIGINT, StatementCancelHandler);
	/* registered before all others, so that it is called after them */
	on_proc_exit(on_exit_leave, (Datum) 0);
	BackgroundWorkerUnblockSignals();
	if (outbox_relay_state_is_held_off())
		finish(OUTBOX_LAUNCH_FINISHED, NULL);
	connect_database();

	PG_TRY();
	{
		attach();
		api = outbox_source_load(outbox_guc_sink_kind());
		outbox_intake_open(api);
		outbox_failures_init();
		/* a SIGHUP may have come before there was a handler */
		ConfigReloadPending = true;
		run();
	}
	PG_CATCH();
	{
		fail();
	}
	PG_END_TRY();
}
