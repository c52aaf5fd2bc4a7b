/*-------------------------------------------------------------------------
 *
 * launcher.c
 *	  Keeps the relays running of each database that has the extension, and
 *	  its subscribers.
 *
 * The launcher is connected to no database, so it cannot see where the
 * extension is, nor which relays there are. It starts a process in each
 * database once, a few at a time: a scout. One that finds no extension says so
 * and ends, and none is started there again until CREATE EXTENSION commits
 * (ddl_hooks.c). Another tells which relays there are (relays.c), and becomes
 * the first of them; then the launcher starts the others. Databases made from
 * a template that has the extension are found the same way.
 *
 * Which subscriptions there are is told by a relay, too (subscribers.c); so
 * where no relay can run, no subscriber is started.
 *
 *	what happens					the relays and subscribers there
 *	------------------------------	---------------------------------------
 *	server start, promotion			start, in every database
 *	CREATE EXTENSION commits		start at once
 *	  ... rolls back				nothing
 *	DROP EXTENSION commits			end by themselves, are not started again
 *	  ... rolls back				go on
 *	a relay is created				it starts
 *	... is dropped					it ends by itself, is not started again
 *	subscribe(), unsubscribe()		likewise
 *	DROP, RENAME DATABASE, ...		are ended first; start again when the
 *									command is over, if there still is a
 *									database
 *	CREATE DATABASE .. TEMPLATE		the template's as above; the new one's
 *									start
 *	outbox.enabled, .databases		end by themselves, or start, at reload
 *	an error						it starts again, with growing delays while
 *									it keeps failing, until a reload; others
 *									do not notice
 *	nothing to do					a relay ends by itself, if
 *									outbox.idle_timeout is set; starts when
 *									there is something
 *	pg_terminate_backend			it starts again, after a short delay
 *	the launcher itself fails		go on; the new launcher takes them over
 *	no worker, outbox.max_relays,	start when another has ended; relays first:
 *	outbox.max_subscribers			if one finds no worker, a subscriber ends
 *	the server crashes				start with it; if that happens again and
 *									again, late (crash.c)
 *
 * Relays are BGW_NEVER_RESTART: only the launcher knows whether one is still
 * wanted, and when to try again.
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
#include "launcher/process.h"
#include "launcher/wanted.h"
#include "relay/session.h"
#include "shared/horizon.h"
#include "shared/relays.h"
#include "shared/shmem.h"
#include "shared/shortage.h"
#include "shared/subscribers.h"
#include "shared/times.h"
#include "shared/wait.h"

#define SHORTAGE_MS 5000

/* in so many databases we look for the extension at once, not counting those
 * where that takes longer; others need workers, too */
#define PROBES_MAX  2
#define PROBE_MS    1000

static uint32 listed_ddl_count = 0; /* of the list of databases */

/* Settings may have changed: also for relays that have nothing to do, if they
 * are others now. */
static void
reload(void)
{
	ListCell *cell;

	ProcessConfigFile(PGC_SIGHUP);
	foreach (cell, outbox_candidates)
		outbox_wanted_forget_failures(lfirst(cell));
	outbox_process_forget_early_ends();
	for (int i = 0; i < outbox_max_databases; i++)
		outbox_relays_wake(&outbox_shmem->databases[i]);
}

/* Reaps what has ended. Returns whether the list of databases is outdated. */
static bool
reap_all(void)
{
	ListCell *cell;
	bool outdated = false;

	foreach (cell, outbox_candidates)
	{
		OutboxLauncherDatabase *candidate = lfirst(cell);

		if (outbox_process_reap(candidate) && !candidate->listed)
			outdated = true;
	}
	return outdated;
}

/* How many databases are being looked into. Notes what is wanted. */
static int
count_probes(TimestampTz now)
{
	ListCell *cell;
	int probes = 0;

	foreach (cell, outbox_candidates)
	{
		OutboxLauncherDatabase *candidate = lfirst(cell);

		outbox_wanted_look(candidate);
		if (candidate->scout.handle != NULL && !candidate->known &&
			!TimestampDifferenceExceeds(candidate->scout.started_at, now,
										PROBE_MS))
			probes++;
	}
	return probes;
}

/* When a scout may be started: it will be one of the relays. */
static TimestampTz
scout_not_before(const OutboxLauncherDatabase *candidate)
{
	TimestampTz not_before = candidate->scout.not_before;

	for (int i = 0; i < OUTBOX_RELAYS; i++)
		not_before = Max(not_before, candidate->processes[i].not_before);
	return not_before;
}

/* Starts what is due of a kind in one database; timeout_ms becomes shorter if
 * there is something later. False if that is not possible now, here or
 * anywhere. */
static bool
start_in(OutboxLauncherDatabase *candidate, OutboxProcessKind kind,
		 TimestampTz now, int *probes, long *timeout_ms)
{
	bool relays = (kind == OUTBOX_KIND_RELAY);
	int begin = relays ? OUTBOX_SCOUT : OUTBOX_RELAYS;
	int end = relays ? OUTBOX_RELAYS : OUTBOX_PROCESSES;

	for (int number = begin; number < end; number++)
	{
		bool is_scout = (number == OUTBOX_SCOUT);
		OutboxLauncherProcess *process =
			is_scout ? &candidate->scout : &candidate->processes[number];
		bool is_probe = is_scout && !candidate->known;
		TimestampTz not_before;

		if (!process->wanted)
			continue;
		not_before = is_scout ? scout_not_before(candidate)
							  : Max(process->not_before, process->idle_until);
		if (not_before > now)
			*timeout_ms = Min(
				*timeout_ms, TimestampDifferenceMilliseconds(now, not_before));
		else if (is_probe && *probes >= PROBES_MAX)
			*timeout_ms = Min(*timeout_ms, PROBE_MS);
		else if (!outbox_process_start(candidate, number))
			return false;
		else if (is_probe)
			(*probes)++;
	}
	return true;
}

/* Starts what is due of a kind, in all databases. Returns the database where
 * that was not possible, or NULL. */
static OutboxLauncherDatabase *
start_kind(OutboxProcessKind kind, TimestampTz now, int *probes,
		   long *timeout_ms)
{
	ListCell *cell;

	foreach (cell, outbox_candidates)
	{
		OutboxLauncherDatabase *candidate = lfirst(cell);

		/* the end of another one wakes us, too */
		if (candidate->may_start &&
			!start_in(candidate, kind, now, probes, timeout_ms))
		{
			*timeout_ms = Min(*timeout_ms, SHORTAGE_MS);
			return candidate;
		}
	}
	outbox_shortage_note(kind, OUTBOX_SHORTAGE_NONE);
	return NULL;
}

/* Starts what is due. Returns how long there is nothing more to do. */
static long
start_all(void)
{
	OutboxLauncherDatabase *short_of;
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
	short_of = start_kind(OUTBOX_KIND_RELAY, now, &probes, &timeout_ms);
	if (short_of != NULL &&
		outbox_shmem->shortage[OUTBOX_KIND_RELAY] == OUTBOX_SHORTAGE_WORKERS)
	{
		/* not for a look whether the extension is there at all */
		if (short_of->known)
			outbox_process_make_room();
		return timeout_ms;
	}
	(void) start_kind(OUTBOX_KIND_SUBSCRIBER, now, &probes, &timeout_ms);
	return timeout_ms;
}

/* Tells others that the launcher is there, or is not: pid 0. */
static void
show_launcher(int pid, uint32 proc)
{
	LWLockAcquire(outbox_shmem->lock, LW_EXCLUSIVE);
	outbox_shmem->launcher_pid = pid;
	outbox_shmem->launcher_since = GetCurrentTimestamp();
	LWLockRelease(outbox_shmem->lock);
	pg_atomic_write_u32(&outbox_shmem->launcher_proc, proc);
}

static void
before_exit(int code, Datum arg)
{
	(void) code;
	(void) arg;
	show_launcher(0, OUTBOX_NO_PROC);
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

static bool
is_short_of(OutboxShortage shortage)
{
	return outbox_shmem->shortage[OUTBOX_KIND_RELAY] == shortage ||
		   outbox_shmem->shortage[OUTBOX_KIND_SUBSCRIBER] == shortage;
}

/* Tells pg_stat_activity what the launcher is at. */
static void
show_activity(void)
{
	const char *activity = "outbox: looking after relays";

	if (!outbox_enabled)
		activity = "outbox: waiting for outbox.enabled to be turned on";
	else if (outbox_late_start_wait_ms() > 0)
		activity = "outbox: starting relays late, after crashes of the server";
	else if (is_short_of(OUTBOX_SHORTAGE_WORKERS))
		activity = "outbox: waiting for a free background worker";
	else if (outbox_shmem->shortage[OUTBOX_KIND_RELAY] ==
			 OUTBOX_SHORTAGE_PLACES)
		activity = "outbox: waiting for less than outbox.max_relays relays";
	else if (outbox_shmem->shortage[OUTBOX_KIND_SUBSCRIBER] ==
			 OUTBOX_SHORTAGE_PLACES)
		activity = "outbox: waiting for less than outbox.max_subscribers "
				   "subscribers";
	pgstat_report_activity(STATE_IDLE, activity);
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
	before_shmem_exit(before_exit, (Datum) 0);
	outbox_process_take_over();
	show_launcher(MyProcPid, outbox_shmem_my_proc());
	report_disabled();
	outbox_late_start_begin();

	/* a SIGHUP may have come before there was a handler */
	ConfigReloadPending = true;

	for (;;)
	{
		uint32 count = pg_atomic_read_u32(&outbox_shmem->ddl_count);
		long timeout_ms;

		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			reload();
		}
		if (reap_all() || count != listed_ddl_count || listed_at == 0 ||
			TimestampDifferenceExceeds(listed_at, GetCurrentTimestamp(),
									   OUTBOX_SAFETY_TICK_MS))
		{
			outbox_database_list_list();
			listed_ddl_count = count;
			listed_at = GetCurrentTimestamp();
		}
		timeout_ms = start_all();
		show_activity();
		outbox_wait(timeout_ms, OUTBOX_WAIT_LAUNCHER_MAIN);
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
