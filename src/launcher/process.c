/*-------------------------------------------------------------------------
 *
 * process.c
 *	  Processes of relays: the launcher starts them, learns how they have
 *	  ended, and when to try again.
 *
 * A process and how it has ended are an entry of outbox_shmem->launches, which
 * is guarded by outbox_shmem->lock. There is one for each relay that may run
 * at once in the server, outbox.max_relays.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "guc.h"
#include "launcher/process.h"
#include "relay/relay.h"
#include "shared/launch.h"
#include "shared/relay_state.h"

#define RESTART_MIN_MS   100
#define RESTART_MAX_MS   60000
#define HEALTHY_AFTER_MS 60000

/*
 * The launcher begins. Relays of an earlier one go on; those that it had
 * registered and that have not come up yet will see that they are late.
 */
void
outbox_process_take_over(void)
{
	LWLockAcquire(outbox_shmem->lock, LW_EXCLUSIVE);
	for (int i = 0; i < outbox_shmem->launch_count; i++)
	{
		outbox_shmem->launches[i].state = OUTBOX_LAUNCH_FREE;
		outbox_shmem->launches[i].generation++;
	}
	LWLockRelease(outbox_shmem->lock);
}

/* Reserves an entry by which the process tells how it ends; -1 if all are
 * used */
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
		launch->number = OUTBOX_SCOUT;
		*generation = ++launch->generation;
		found = i;
	}
	LWLockRelease(outbox_shmem->lock);
	return found;
}

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

/* Names the process, as pg_stat_activity shows it. */
static void
name_worker(BackgroundWorker *worker, const OutboxLauncherDatabase *candidate,
			int number)
{
	char name[NAMEDATALEN] = "";
	OutboxDatabase *db;

	LWLockAcquire(outbox_shmem->lock, LW_SHARED);
	db = outbox_shmem_find(candidate->dbid);
	if (db != NULL && number != OUTBOX_SCOUT)
		strlcpy(name, db->relays[number].name, sizeof(name));
	LWLockRelease(outbox_shmem->lock);

	if (name[0] == '\0' || strcmp(name, OUTBOX_DEFAULT_RELAY) == 0)
		snprintf(worker->bgw_name, sizeof(worker->bgw_name),
				 "outbox relay for database %s", NameStr(candidate->name));
	else
		snprintf(worker->bgw_name, sizeof(worker->bgw_name),
				 "outbox relay %s for database %s", name,
				 NameStr(candidate->name));
}

/* Registers a process with the postmaster. */
static bool
register_relay(OutboxLauncherDatabase *candidate, OutboxLauncherRelay *relay,
			   const OutboxRelayArgs *args)
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
	name_worker(&worker, candidate, args->number);
	memcpy(worker.bgw_extra, args, sizeof(*args));

	old_context = MemoryContextSwitchTo(TopMemoryContext);
	ok = RegisterDynamicBackgroundWorker(&worker, &relay->handle);
	MemoryContextSwitchTo(old_context);
	return ok;
}

/* One more relay cannot run: says so, once, and outbox.stat_relay does. */
static void
report_shortage(OutboxShortage shortage)
{
	bool workers = (shortage == OUTBOX_SHORTAGE_WORKERS);

	if (!outbox_relay_state_shortage(shortage))
		return;
	ereport(WARNING,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 workers
				 ? errmsg("no background worker is free for an outbox relay")
				 : errmsg("too many outbox relays: outbox.max_relays is %d",
						  outbox_max_relays),
			 errdetail("It is tried again; events are kept meanwhile."),
			 errhint("Raise %s and restart the server.",
					 workers ? "max_worker_processes" : "outbox.max_relays")));
}

/*
 * Starts the relay of that number, or a scout. False if that is not possible
 * now, in this database or in any other.
 */
bool
outbox_process_start(OutboxLauncherDatabase *candidate, int number)
{
	OutboxLauncherRelay *relay = number == OUTBOX_SCOUT
									 ? &candidate->scout
									 : &candidate->relays[number];
	OutboxRelayArgs args = {.dbid = candidate->dbid, .number = number};

	args.launch = reserve_launch(&args.generation);
	if (args.launch < 0)
	{
		report_shortage(OUTBOX_SHORTAGE_RELAYS);
		return false;
	}
	if (!register_relay(candidate, relay, &args))
	{
		release_launch(args.launch);
		report_shortage(OUTBOX_SHORTAGE_WORKERS);
		return false;
	}
	relay->launch = args.launch;
	relay->started_at = GetCurrentTimestamp();
	return true;
}

/* A process has ended without a word. It is not there to be shown, but the
 * relay is. */
static void
show_silent_end(Oid dbid, int number)
{
	OutboxDatabase *db;

	LWLockAcquire(outbox_shmem->lock, LW_EXCLUSIVE);
	db = outbox_shmem_find(dbid);
	if (db != NULL)
	{
		OutboxRelayStatus *status = &db->relays[Max(number, 0)].status;

		strlcpy(status->last_error,
				"its process has ended before it could begin; the reason is "
				"in the server's log: memory or processes may be short",
				sizeof(status->last_error));
		status->last_error_at = GetCurrentTimestamp();
	}
	LWLockRelease(outbox_shmem->lock);
}

/* Shows how many processes in a row have failed soon after they began; of a
 * scout, we cannot know which relay it would have been. */
static void
show_early_ends(Oid dbid, int number, int failures, TimestampTz now)
{
	OutboxDatabase *db;

	LWLockAcquire(outbox_shmem->lock, LW_EXCLUSIVE);
	db = outbox_shmem_find(dbid);
	if (db != NULL)
	{
		OutboxRelayStatus *status = &db->relays[Max(number, 0)].status;

		if (failures == 0)
			status->early_ends = 0;
		else if (status->early_ends++ == 0)
			status->early_since = now;
	}
	LWLockRelease(outbox_shmem->lock);
}

/* What made relays fail may have been repaired: from now on it is counted
 * anew. */
void
outbox_process_forget_early_ends(void)
{
	LWLockAcquire(outbox_shmem->lock, LW_EXCLUSIVE);
	for (int i = 0; i < outbox_max_databases; i++)
	{
		OutboxDatabase *db = &outbox_shmem->databases[i];

		for (int number = 0; number < OUTBOX_RELAYS; number++)
			db->relays[number].status.early_ends = 0;
	}
	LWLockRelease(outbox_shmem->lock);
}

/* A process that we have started has ended: how, and when to try again? */
static void
reap(OutboxLauncherDatabase *candidate, OutboxLauncherRelay *relay, int number)
{
	OutboxLaunchState state = release_launch(relay->launch);
	TimestampTz now = GetCurrentTimestamp();
	int delay_ms = 0;

	pfree(relay->handle);
	relay->handle = NULL;
	if (state == OUTBOX_LAUNCH_ABSENT)
	{
		candidate->absent = true;
		candidate->known = false;
	}
	if (state == OUTBOX_LAUNCH_STARTED)
		show_silent_end(candidate->dbid, number);
	if ((state == OUTBOX_LAUNCH_STARTED || state == OUTBOX_LAUNCH_FAILED) &&
		!TimestampDifferenceExceeds(relay->started_at, now, HEALTHY_AFTER_MS))
	{
		delay_ms = RESTART_MIN_MS << Min(relay->failures, 16);
		relay->failures++;
	}
	else
	{
		if (state == OUTBOX_LAUNCH_RUNNING || state == OUTBOX_LAUNCH_DROPPED)
			delay_ms = RESTART_MIN_MS;
		relay->failures = 0;
	}
	show_early_ends(candidate->dbid, number, relay->failures, now);
	relay->not_before =
		TimestampTzPlusMilliseconds(now, Min(delay_ms, RESTART_MAX_MS));
}

/* The scout has become one of the relays, perhaps: then it is that one's
 * process. */
static void
settle_scout(OutboxLauncherDatabase *candidate)
{
	OutboxLauncherRelay *scout = &candidate->scout;
	OutboxLauncherRelay *relay;
	int number;

	if (scout->handle == NULL)
		return;
	LWLockAcquire(outbox_shmem->lock, LW_SHARED);
	number = outbox_shmem->launches[scout->launch].number;
	LWLockRelease(outbox_shmem->lock);
	if (number == OUTBOX_SCOUT || candidate->relays[number].handle != NULL)
		return;
	relay = &candidate->relays[number];
	relay->handle = scout->handle;
	relay->launch = scout->launch;
	relay->started_at = scout->started_at;
	scout->handle = NULL;
	scout->failures = 0;
}

/* Reaps the processes of a database that have ended, and returns whether there
 * were any. */
bool
outbox_process_reap(OutboxLauncherDatabase *candidate)
{
	bool any = false;

	settle_scout(candidate);
	for (int number = OUTBOX_SCOUT; number < OUTBOX_RELAYS; number++)
	{
		OutboxLauncherRelay *relay = number == OUTBOX_SCOUT
										 ? &candidate->scout
										 : &candidate->relays[number];
		pid_t pid;

		if (relay->handle == NULL ||
			GetBackgroundWorkerPid(relay->handle, &pid) != BGWH_STOPPED)
			continue;
		reap(candidate, relay, number);
		any = true;
	}
	return any;
}
