/*-------------------------------------------------------------------------
 *
 * process.c
 *	  Processes of relays and of subscriptions: the launcher starts them,
 *	  learns how they have ended, and when to try again.
 *
 * A process and how it has ended are an entry of outbox_shmem->launches, which
 * is guarded by outbox_shmem->lock. There is one for each relay that may run
 * at once in the server, outbox.max_relays, and behind these one for each
 * subscriber, outbox.max_subscribers.
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
#include "shared/shortage.h"
#include "subscribe/main.h"

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
reserve_launch(OutboxProcessKind kind, uint32 *generation)
{
	bool relay = (kind == OUTBOX_KIND_RELAY);
	int begin = relay ? 0 : outbox_max_relays;
	int end = relay ? outbox_max_relays : outbox_shmem->launch_count;
	int found = -1;

	LWLockAcquire(outbox_shmem->lock, LW_EXCLUSIVE);
	for (int i = begin; i < end && found < 0; i++)
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

/* What names a process: copied, as others may change it */
typedef struct ProcessName
{
	char name[NAMEDATALEN]; /* "" = none */
	int worker;
	int workers;
} ProcessName;

static void
look_up_name(Oid dbid, int number, ProcessName *name)
{
	OutboxDatabase *db;

	memset(name, 0, sizeof(*name));
	if (number == OUTBOX_SCOUT)
		return;
	LWLockAcquire(outbox_shmem->lock, LW_SHARED);
	db = outbox_shmem_find(dbid);
	if (db != NULL)
	{
		strlcpy(name->name, outbox_slot_of(db, number)->name,
				sizeof(name->name));
		if (outbox_kind_of(number) == OUTBOX_KIND_SUBSCRIBER)
		{
			name->worker =
				db->subscribers.slots[number - OUTBOX_RELAYS].worker;
			name->workers =
				db->subscribers.slots[number - OUTBOX_RELAYS].workers;
		}
	}
	LWLockRelease(outbox_shmem->lock);
}

/* Names the process, as pg_stat_activity shows it. */
static void
name_worker(BackgroundWorker *worker, const OutboxLauncherDatabase *candidate,
			int number)
{
	const char *database = NameStr(candidate->name);
	ProcessName name;

	look_up_name(candidate->dbid, number, &name);
	if (outbox_kind_of(number) == OUTBOX_KIND_SUBSCRIBER)
		snprintf(worker->bgw_name, sizeof(worker->bgw_name),
				 name.workers > 1
					 ? "outbox subscriber %s for database %s, worker %d"
					 : "outbox subscriber %s for database %s",
				 name.name, database, name.worker);
	else if (name.name[0] == '\0' ||
			 strcmp(name.name, OUTBOX_DEFAULT_RELAY) == 0)
		snprintf(worker->bgw_name, sizeof(worker->bgw_name),
				 "outbox relay for database %s", database);
	else
		snprintf(worker->bgw_name, sizeof(worker->bgw_name),
				 "outbox relay %s for database %s", name.name, database);
}

/* Registers a process with the postmaster. */
static bool
register_process(OutboxLauncherDatabase *candidate,
				 OutboxLauncherProcess *process, const OutboxRelayArgs *args)
{
	bool relay = (outbox_kind_of(args->number) == OUTBOX_KIND_RELAY);
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
			 relay ? CppAsString(outbox_relay_main)
				   : CppAsString(outbox_subscriber_main));
	snprintf(worker.bgw_type, sizeof(worker.bgw_type), "%s",
			 relay ? "outbox relay" : "outbox subscriber");
	name_worker(&worker, candidate, args->number);
	memcpy(worker.bgw_extra, args, sizeof(*args));

	old_context = MemoryContextSwitchTo(TopMemoryContext);
	ok = RegisterDynamicBackgroundWorker(&worker, &process->handle);
	MemoryContextSwitchTo(old_context);
	return ok;
}

/* One more of them cannot run: says so, once, and the views do. */
static void
report_shortage(OutboxProcessKind kind, OutboxShortage shortage)
{
	bool relay = (kind == OUTBOX_KIND_RELAY);
	const char *setting = outbox_shortage_setting(kind, shortage);

	if (!outbox_shortage_note(kind, shortage))
		return;
	ereport(WARNING,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 shortage == OUTBOX_SHORTAGE_WORKERS
				 ? errmsg("no background worker is free for an outbox %s",
						  relay ? "relay" : "subscriber")
				 : errmsg("too many outbox %s: %s is %d",
						  relay ? "relays" : "subscribers", setting,
						  relay ? outbox_max_relays : outbox_max_subscribers),
			 errdetail("It is tried again; %s are kept meanwhile.",
					   relay ? "events" : "messages"),
			 errhint("Raise %s and restart the server.", setting)));
}

/* What the launcher knows of the process of that number, or of a scout */
static OutboxLauncherProcess *
find_process(OutboxLauncherDatabase *candidate, int number)
{
	return number == OUTBOX_SCOUT ? &candidate->scout
								  : &candidate->processes[number];
}

/*
 * Starts the process of that number, or a scout. False if that is not possible
 * now, in this database or in any other.
 */
bool
outbox_process_start(OutboxLauncherDatabase *candidate, int number)
{
	OutboxProcessKind kind = outbox_kind_of(number);
	OutboxLauncherProcess *process = find_process(candidate, number);
	OutboxRelayArgs args = {.dbid = candidate->dbid, .number = number};

	args.launch = reserve_launch(kind, &args.generation);
	if (args.launch < 0)
	{
		report_shortage(kind, OUTBOX_SHORTAGE_PLACES);
		return false;
	}
	if (!register_process(candidate, process, &args))
	{
		release_launch(args.launch);
		report_shortage(kind, OUTBOX_SHORTAGE_WORKERS);
		return false;
	}
	process->launch = args.launch;
	process->started_at = GetCurrentTimestamp();
	process->ending = false;
	return true;
}

/* A subscriber that runs, the last one; or NULL. *ending: one has been asked to
 * end, and has not yet. */
static OutboxLauncherProcess *
find_subscriber(OutboxLauncherDatabase **database, bool *ending)
{
	OutboxLauncherProcess *last = NULL;
	ListCell *cell;

	*ending = false;
	foreach (cell, outbox_candidates)
	{
		OutboxLauncherDatabase *candidate = lfirst(cell);

		for (int i = OUTBOX_RELAYS; i < OUTBOX_PROCESSES; i++)
		{
			OutboxLauncherProcess *process = &candidate->processes[i];

			if (process->handle == NULL)
				continue;
			*ending = *ending || process->ending;
			*database = candidate;
			last = process;
		}
	}
	return last;
}

/* No background worker is free for a relay: ends a subscriber, which starts
 * again when there is one for it, too. */
void
outbox_process_make_room(void)
{
	OutboxLauncherDatabase *database = NULL;
	bool ending;
	OutboxLauncherProcess *subscriber = find_subscriber(&database, &ending);

	if (subscriber == NULL || ending)
		return;
	ereport(
		WARNING,
		(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
		 errmsg("an outbox subscriber of database \"%s\" is ended: a relay "
				"needs its background worker",
				NameStr(database->name)),
		 errdetail("It starts again when another one is free."),
		 errhint("Raise max_worker_processes and restart the server.")));
	subscriber->ending = true;
	TerminateBackgroundWorker(subscriber->handle);
}

/* A process has ended without a word. It is not there to be shown, but the
 * relay, or the subscription, is. */
static void
show_silent_end(Oid dbid, int number)
{
	OutboxDatabase *db;

	LWLockAcquire(outbox_shmem->lock, LW_EXCLUSIVE);
	db = outbox_shmem_find(dbid);
	if (db != NULL)
	{
		OutboxRelayStatus *status =
			&outbox_slot_of(db, Max(number, 0))->status;

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
		OutboxRelayStatus *status =
			&outbox_slot_of(db, Max(number, 0))->status;

		if (failures == 0)
			status->early_ends = 0;
		else if (status->early_ends++ == 0)
			status->early_since = now;
	}
	LWLockRelease(outbox_shmem->lock);
}

/* What made them fail may have been repaired: from now on it is counted
 * anew. */
void
outbox_process_forget_early_ends(void)
{
	LWLockAcquire(outbox_shmem->lock, LW_EXCLUSIVE);
	for (int i = 0; i < outbox_max_databases; i++)
	{
		OutboxDatabase *db = &outbox_shmem->databases[i];

		for (int number = 0; number < OUTBOX_PROCESSES; number++)
			outbox_slot_of(db, number)->status.early_ends = 0;
	}
	LWLockRelease(outbox_shmem->lock);
}

/* A process that we have started has ended: how, and when to try again? */
static void
reap(OutboxLauncherDatabase *candidate, OutboxLauncherProcess *process,
	 int number)
{
	OutboxLaunchState state = release_launch(process->launch);
	TimestampTz now = GetCurrentTimestamp();
	int delay_ms = 0;

	pfree(process->handle);
	process->handle = NULL;
	/* subscribers run only where relays have found it; they may be late */
	if (state == OUTBOX_LAUNCH_ABSENT &&
		outbox_kind_of(number) == OUTBOX_KIND_RELAY)
	{
		candidate->absent = true;
		candidate->known = false;
	}
	if (state == OUTBOX_LAUNCH_STARTED)
		show_silent_end(candidate->dbid, number);
	if ((state == OUTBOX_LAUNCH_STARTED || state == OUTBOX_LAUNCH_FAILED) &&
		!TimestampDifferenceExceeds(process->started_at, now,
									HEALTHY_AFTER_MS))
	{
		delay_ms = RESTART_MIN_MS << Min(process->failures, 16);
		process->failures++;
	}
	else
	{
		if (state == OUTBOX_LAUNCH_RUNNING || state == OUTBOX_LAUNCH_DROPPED)
			delay_ms = RESTART_MIN_MS;
		process->failures = 0;
	}
	show_early_ends(candidate->dbid, number, process->failures, now);
	process->not_before =
		TimestampTzPlusMilliseconds(now, Min(delay_ms, RESTART_MAX_MS));
}

/* The scout has become one of the relays, perhaps: then it is that one's
 * process. */
static void
settle_scout(OutboxLauncherDatabase *candidate)
{
	OutboxLauncherProcess *scout = &candidate->scout;
	OutboxLauncherProcess *process;
	int number;

	if (scout->handle == NULL)
		return;
	LWLockAcquire(outbox_shmem->lock, LW_SHARED);
	number = outbox_shmem->launches[scout->launch].number;
	LWLockRelease(outbox_shmem->lock);
	if (number == OUTBOX_SCOUT || candidate->processes[number].handle != NULL)
		return;
	process = &candidate->processes[number];
	process->handle = scout->handle;
	process->launch = scout->launch;
	process->started_at = scout->started_at;
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
	for (int number = OUTBOX_SCOUT; number < OUTBOX_PROCESSES; number++)
	{
		OutboxLauncherProcess *process = find_process(candidate, number);
		pid_t pid;

		if (process->handle == NULL ||
			GetBackgroundWorkerPid(process->handle, &pid) != BGWH_STOPPED)
			continue;
		reap(candidate, process, number);
		any = true;
	}
	return any;
}
