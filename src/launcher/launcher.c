/*-------------------------------------------------------------------------
 *
 * launcher.c
 *	  Keeps a relay running in each database that has the extension.
 *
 * The launcher is connected to no database, so it cannot see where the
 * extension is. It starts a relay in each database once, a few at a time; a
 * relay that finds no extension says so and ends, and is not started there
 * again until CREATE EXTENSION commits (ddl_hooks.c). Databases made from a
 * template that has the extension are found the same way.
 *
 *	what happens					a relay there
 *	------------------------------	---------------------------------------
 *	server start, promotion			starts, in every database
 *	CREATE EXTENSION commits		starts at once
 *	  ... rolls back				nothing
 *	DROP EXTENSION commits			ends by itself, is not started again
 *	  ... rolls back				goes on
 *	DROP, RENAME DATABASE, ...		is ended first; starts again when the
 *									command is over, if there still is a
 *									database
 *	CREATE DATABASE .. TEMPLATE		the template's as above; the new one's
 *									starts
 *	outbox.enabled, .databases		ends by itself, or starts, at reload
 *	an error						starts again, with growing delays while
 *									it keeps failing, until a reload
 *	pg_terminate_backend			starts again, after a short delay
 *	the launcher itself fails		goes on; the new launcher takes it over
 *	the server crashes				starts with it; if that happens again and
 *									again, late (crash.c)
 *
 * Relays are BGW_NEVER_RESTART: only the launcher knows whether one is still
 * wanted, and when to try again. A relay's registration and its result are
 * an entry of outbox_shmem->launches, guarded by outbox_shmem->lock.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "guc.h"
#include "launcher/database_list.h"
#include "launcher/late_start.h"
#include "launcher/launcher.h"
#include "relay/relay.h"
#include "relay/session.h"
#include "shared/launch.h"
#include "shared/relay_state.h"
#include "shared/relays.h"
#include "shared/shmem.h"
#include "shared/times.h"
#include "shared/wait.h"

#define RESTART_MIN_MS   100
#define RESTART_MAX_MS   60000
#define NO_WORKER_MS     5000
#define HEALTHY_AFTER_MS 60000

/* in so many databases we look for the extension at once, not counting those
 * where that takes longer; others need workers, too */
#define PROBES_MAX       2
#define PROBE_MS         1000

static uint32 listed_ddl_count = 0; /* of the list of databases */

/* Gives an entry back that reserve_launch() has reserved. */
static OutboxLaunchState
release_launch(int launch)
{
	OutboxLaunchState state;

	LWLockAcquire(outbox_shmem->lock, LW_EXCLUSIVE);
	state = outbox_shmem->launches[launch].state;
	outbox_shmem->launches[launch].state = OUTBOX_LAUNCH_FREE;
	LWLockRelease(outbox_shmem->lock);
	return state;
}

/* A relay that we have started has ended: how, and when to try again? */
static void
reap(OutboxLauncherDatabase *candidate)
{
	OutboxLaunchState state = release_launch(candidate->launch);
	TimestampTz now = GetCurrentTimestamp();
	int delay_ms = 0;

	pfree(candidate->handle);
	candidate->handle = NULL;
	if (state == OUTBOX_LAUNCH_ABSENT)
	{
		candidate->absent = true;
		candidate->known = false;
	}
	if ((state == OUTBOX_LAUNCH_STARTED || state == OUTBOX_LAUNCH_FAILED) &&
		!TimestampDifferenceExceeds(candidate->started_at, now,
									HEALTHY_AFTER_MS))
	{
		delay_ms = RESTART_MIN_MS << Min(candidate->failures, 16);
		candidate->failures++;
	}
	else
	{
		if (state == OUTBOX_LAUNCH_RUNNING)
			delay_ms = RESTART_MIN_MS;
		candidate->failures = 0;
	}
	candidate->not_before =
		TimestampTzPlusMilliseconds(now, Min(delay_ms, RESTART_MAX_MS));
}

/* What made relays fail may have been repaired: all are tried at once. */
static void
forget_failures(void)
{
	ListCell *cell;

	foreach (cell, outbox_candidates)
	{
		OutboxLauncherDatabase *candidate = lfirst(cell);

		candidate->failures = 0;
		candidate->not_before = 0;
	}
}

/* Reaps what has ended. Returns whether the list of databases is outdated. */
static bool
reap_relays(void)
{
	ListCell *cell;
	bool outdated = false;
	pid_t pid;

	foreach (cell, outbox_candidates)
	{
		OutboxLauncherDatabase *candidate = lfirst(cell);

		if (candidate->handle == NULL ||
			GetBackgroundWorkerPid(candidate->handle, &pid) != BGWH_STOPPED)
			continue;
		reap(candidate);
		outdated = outdated || !candidate->listed;
	}
	return outdated;
}

/* Is it one of outbox.databases? Says once if it almost is. */
static bool
is_allowed(OutboxLauncherDatabase *candidate)
{
	bool folded;

	if (outbox_guc_database_allowed(NameStr(candidate->name), &folded))
		return true;
	if (folded && !candidate->folded_reported)
		ereport(WARNING,
				(errmsg("outbox.databases does not name database \"%s\"",
						NameStr(candidate->name)),
				 errdetail("A name without double quotes is folded to lower "
						   "case."),
				 errhint("Write '\"%s\"' there.", NameStr(candidate->name))));
	candidate->folded_reported = folded;
	return false;
}

/* Is a relay wanted there, and none running? Takes note of requests. */
static bool
is_wanted(OutboxLauncherDatabase *candidate)
{
	OutboxDatabase *db;
	bool blocked;
	bool running = (candidate->handle != NULL);

	LWLockAcquire(outbox_shmem->lock, LW_EXCLUSIVE);
	blocked = outbox_shmem_is_held_off(candidate->dbid);
	db = outbox_shmem_find(candidate->dbid);
	if (db != NULL)
	{
		candidate->known = candidate->known || outbox_relays_any(db);
		running = running || outbox_relays_any(db);
		if (db->start_wanted && !running)
		{
			db->start_wanted = false;
			candidate->absent = false;
			candidate->known = true;
			candidate->failures = 0;
			candidate->not_before = 0;
		}
	}
	LWLockRelease(outbox_shmem->lock);

	return outbox_enabled && candidate->listed && candidate->connectable &&
		   !candidate->absent && !blocked && !running && is_allowed(candidate);
}

/* Reserves an entry by which the relay tells how it ends; -1 if all are used */
static int
reserve_launch(uint32 *generation)
{
	int found = -1;

	LWLockAcquire(outbox_shmem->lock, LW_EXCLUSIVE);
	for (int i = 0; i < outbox_shmem->launch_count && found < 0; i++)
	{
		OutboxLaunch *launch = &outbox_shmem->launches[i];

		if (launch->state != OUTBOX_LAUNCH_FREE)
			continue;
		launch->state = OUTBOX_LAUNCH_STARTED;
		*generation = ++launch->generation;
		found = i;
	}
	LWLockRelease(outbox_shmem->lock);
	return found;
}

/* Registers a relay with the postmaster. */
static bool
register_relay(OutboxLauncherDatabase *candidate, const OutboxRelayArgs *args)
{
	BackgroundWorker worker;
	MemoryContext old_context;
	bool ok;

	StaticAssertStmt(sizeof(OutboxRelayArgs) <= BGW_EXTRALEN,
					 "the arguments must fit into bgw_extra");

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS |
					   BGWORKER_BACKEND_DATABASE_CONNECTION |
					   BGWORKER_INTERRUPTIBLE;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_notify_pid = MyProcPid;
	snprintf(worker.bgw_library_name, sizeof(worker.bgw_library_name), "%s",
			 OUTBOX_EXTENSION);
	snprintf(worker.bgw_function_name, sizeof(worker.bgw_function_name), "%s",
			 CppAsString(outbox_relay_main));
	snprintf(worker.bgw_type, sizeof(worker.bgw_type), "outbox relay");
	snprintf(worker.bgw_name, sizeof(worker.bgw_name),
			 "outbox relay for database %s", NameStr(candidate->name));
	memcpy(worker.bgw_extra, args, sizeof(*args));

	old_context = MemoryContextSwitchTo(TopMemoryContext);
	ok = RegisterDynamicBackgroundWorker(&worker, &candidate->handle);
	MemoryContextSwitchTo(old_context);
	return ok;
}

/* False if that is not possible now, here or anywhere. */
static bool
start_relay(OutboxLauncherDatabase *candidate)
{
	/* each database has one, in the first slot */
	OutboxRelayArgs args = {.dbid = candidate->dbid, .slot = 0};

	args.launch = reserve_launch(&args.generation);
	if (args.launch < 0)
		return false;
	if (register_relay(candidate, &args))
	{
		candidate->launch = args.launch;
		candidate->started_at = GetCurrentTimestamp();
		outbox_relay_state_no_worker(false);
		return true;
	}

	release_launch(args.launch);
	if (outbox_relay_state_no_worker(true))
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("no background worker is free for an outbox relay"),
				 errdetail("It is tried again; events are kept meanwhile."),
				 errhint("Raise max_worker_processes and restart the "
						 "server.")));
	return false;
}

/* How many databases are being looked into. Notes where a relay is wanted. */
static int
count_probes(TimestampTz now)
{
	ListCell *cell;
	int probes = 0;

	foreach (cell, outbox_candidates)
	{
		OutboxLauncherDatabase *candidate = lfirst(cell);

		candidate->wanted = is_wanted(candidate);
		if (candidate->handle != NULL && !candidate->known &&
			!TimestampDifferenceExceeds(candidate->started_at, now, PROBE_MS))
			probes++;
	}
	return probes;
}

/* Starts what is due. Returns how long there is nothing more to do. */
static long
start_relays(void)
{
	ListCell *cell;
	TimestampTz now = GetCurrentTimestamp();
	long timeout_ms = OUTBOX_SAFETY_TICK_MS;
	int probes = count_probes(now);
	long wait_ms = outbox_late_start_wait_ms();

	if (wait_ms > 0)
		return Min(timeout_ms, wait_ms);
	/* a database that is not blocked any more may have been dropped: the count
	 * has grown before that (ddl_hooks.c) */
	if (pg_atomic_read_u32(&outbox_shmem->ddl_count) != listed_ddl_count)
		return 0;
	foreach (cell, outbox_candidates)
	{
		OutboxLauncherDatabase *candidate = lfirst(cell);

		if (!candidate->wanted)
			continue;
		if (candidate->not_before > now)
			timeout_ms = Min(timeout_ms, TimestampDifferenceMilliseconds(
											 now, candidate->not_before));
		else if (!candidate->known && probes >= PROBES_MAX)
			timeout_ms = Min(timeout_ms, PROBE_MS);
		else if (!start_relay(candidate))
			/* the end of another relay wakes us, too */
			return Min(timeout_ms, NO_WORKER_MS);
		else if (!candidate->known)
			probes++;
	}
	return timeout_ms;
}

static void
before_exit(int code, Datum arg)
{
	(void) code;
	(void) arg;
	pg_atomic_write_u32(&outbox_shmem->launcher_proc, OUTBOX_NO_PROC);
}

/*
 * Announces this process. Relays of an earlier launcher go on; those that it
 * had registered and that have not come up yet will see that they are late.
 */
static void
take_over(void)
{
	before_shmem_exit(before_exit, (Datum) 0);
	LWLockAcquire(outbox_shmem->lock, LW_EXCLUSIVE);
	for (int i = 0; i < outbox_shmem->launch_count; i++)
	{
		outbox_shmem->launches[i].state = OUTBOX_LAUNCH_FREE;
		outbox_shmem->launches[i].generation++;
	}
	LWLockRelease(outbox_shmem->lock);
	pg_atomic_write_u32(&outbox_shmem->launcher_proc, outbox_shmem_my_proc());
}

/* At start; later, it is the relays that tell that they end. */
static void
report_disabled(void)
{
	if (!outbox_enabled)
		ereport(WARNING,
				(errmsg("outbox publishes nothing: outbox.enabled is off"),
				 errdetail("Events are kept, and no space is freed.")));
}

void
outbox_launcher_main(Datum main_arg)
{
	TimestampTz listed_at = 0;

	(void) main_arg;
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	outbox_session_pin();
	MemoryContextSwitchTo(TopMemoryContext);
	take_over();
	report_disabled();
	outbox_late_start_begin();

	/* a SIGHUP may have come before there was a handler */
	ConfigReloadPending = true;

	for (;;)
	{
		uint32 count = pg_atomic_read_u32(&outbox_shmem->ddl_count);

		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
			forget_failures();
		}
		if (reap_relays() || count != listed_ddl_count || listed_at == 0 ||
			TimestampDifferenceExceeds(listed_at, GetCurrentTimestamp(),
									   OUTBOX_SAFETY_TICK_MS))
		{
			outbox_database_list_list();
			listed_ddl_count = count;
			listed_at = GetCurrentTimestamp();
		}
		outbox_wait(start_relays(), OUTBOX_WAIT_LAUNCHER_MAIN);
	}
}

/* Called once, while the postmaster loads the library. */
void
outbox_launcher_register(void)
{
	BackgroundWorker worker;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags =
		BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	/* on a standby nothing is published; after promotion, this starts */
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = 5;
	snprintf(worker.bgw_library_name, sizeof(worker.bgw_library_name), "%s",
			 OUTBOX_EXTENSION);
	snprintf(worker.bgw_function_name, sizeof(worker.bgw_function_name), "%s",
			 CppAsString(outbox_launcher_main));
	snprintf(worker.bgw_type, sizeof(worker.bgw_type), "outbox launcher");
	snprintf(worker.bgw_name, sizeof(worker.bgw_name), "outbox launcher");
	RegisterBackgroundWorker(&worker);
}
