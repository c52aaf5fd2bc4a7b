/*-------------------------------------------------------------------------
 *
 * relay_state.c
 *	  What a relay, or a subscriber, tells others through shared memory: that it
 *	  is there, what it is doing, its last error, and why it ends. All of it is
 *	  written under outbox_shmem->lock. Changes of the state are told to ps, to
 *	  pg_stat_activity and to the log, too.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/memutils.h"
#include "utils/ps_status.h"
#include "utils/timestamp.h"

#include "guc.h"
#include "shared/chores.h"
#include "shared/horizon.h"
#include "shared/my_relay.h"
#include "shared/relay_state.h"
#include "shared/state_log.h"
#include "shared/subscribers.h"

/* Why the state is what it is, and what helps; each may be NULL */
typedef struct Why
{
	char *reason;
	char *hint;
} Why;

static Why of_state;
static Why of_failing;
static const char *shown = ""; /* the state, as it is called */
static char activity[OUTBOX_ERROR_MAX] = "outbox: starting";

static char *
keep(char *old, const char *text)
{
	char *copy = text ? MemoryContextStrdup(TopMemoryContext, text) : NULL;

	if (old != NULL)
		pfree(old);
	return copy;
}

static void
set_why(Why *why, const char *reason, const char *hint)
{
	why->reason = keep(why->reason, reason);
	why->hint = keep(why->hint, hint);
}

/* Copies as many whole characters as there is room for. */
static void
copy_clipped(char *to, const char *message, int size)
{
	int len = pg_mbcliplen(message, (int) strlen(message), size - 1);

	memcpy(to, message, len);
	to[len] = '\0';
}

/* Why it is what it is just now */
static const Why *
current_why(void)
{
	return outbox_my_relay.slot->status.failing_since != 0 ? &of_failing
														   : &of_state;
}

static void
show_activity(const char *reason)
{
	char *text = psprintf("outbox: %s%s%s", shown, reason ? ": " : "",
						  reason ? reason : "");

	copy_clipped(activity, text, sizeof(activity));
	pfree(text);
	pgstat_report_activity(STATE_IDLE, activity);
}

/* The state may have changed: tells it to everybody. */
static void
show(void)
{
	const char *name = outbox_relay_state_name(&outbox_my_relay.slot->status,
											   outbox_my_relay.database);
	const Why *why = current_why();

	if (strcmp(name, shown) == 0)
		return;
	shown = name;
	set_ps_display(name);
	show_activity(why->reason);
	outbox_state_log(name, true, why->reason, why->hint);
}

/* What pg_stat_activity shows as the query of a relay that is idle */
const char *
outbox_relay_state_activity(void)
{
	return activity;
}

/* Is the relay not wanted just now? It need not even connect then. */
bool
outbox_relay_state_is_held_off(void)
{
	bool blocked;

	LWLockAcquire(outbox_shmem->lock, LW_SHARED);
	blocked = outbox_shmem_is_held_off(outbox_my_relay.args.dbid);
	LWLockRelease(outbox_shmem->lock);
	return blocked;
}

/* May it be the one that is to have the slot? If outbox.relay could not be
 * read, nobody has told which relay that is; of a subscriber it is known. */
static bool
may_have(OutboxRelaySlot *slot, int number, const char *name)
{
	if (slot->status.pid != 0)
		return false;
	if (outbox_kind_of(number) == OUTBOX_KIND_SUBSCRIBER)
		return strcmp(slot->name, name) == 0;
	if (slot->name[0] == '\0')
		strlcpy(slot->name, name, sizeof(slot->name));
	return true;
}

/*
 * Makes this process the relay of that number, or the subscriber, and shows
 * it. False if it must not be: DDL on the database is under way, that process
 * runs, or the launcher has given this one up.
 */
bool
outbox_relay_state_attach(int number, const char *name)
{
	const OutboxRelayArgs *args = &outbox_my_relay.args;
	OutboxDatabase *db = outbox_shmem_my_database();
	OutboxRelaySlot *slot = outbox_slot_of(db, number);
	OutboxLaunch *launch = &outbox_shmem->launches[args->launch];
	bool ok;

	LWLockAcquire(outbox_shmem->lock, LW_EXCLUSIVE);
	ok = !outbox_shmem_is_held_off(db->dbid) &&
		 launch->generation == args->generation &&
		 may_have(slot, number, name);
	if (ok)
	{
		launch->number = number;
		slot->status.pid = MyProcPid;
		slot->status.started_at = GetCurrentTimestamp();
		slot->status.state = OUTBOX_RELAY_STARTING;
		slot->status.state_since = slot->status.started_at;
		slot->status.refused_at = 0;
		pg_atomic_write_u32(&slot->proc, outbox_shmem_my_proc());
		outbox_my_relay.db = db;
		outbox_my_relay.slot = slot;
		if (number >= OUTBOX_RELAYS)
			outbox_my_relay.subscriber =
				&db->subscribers.slots[number - OUTBOX_RELAYS];
	}
	LWLockRelease(outbox_shmem->lock);
	/* which may be waiting to look into the next database */
	outbox_shmem_wake_launcher();
	return ok;
}

/* This process is not the relay any more, if it was. */
void
outbox_relay_state_detach(void)
{
	OutboxRelaySlot *slot = outbox_my_relay.slot;
	bool relay = !outbox_my_relay_is_subscriber();
	bool idle = (outbox_my_relay.wake_at != 0);

	if (slot == NULL)
		return;
	if (relay)
		outbox_chores_give_up(!idle);
	LWLockAcquire(outbox_shmem->lock, LW_EXCLUSIVE);
	slot->status.pid = 0;
	slot->status.state = idle ? OUTBOX_RELAY_IDLE : OUTBOX_RELAY_STOPPED;
	slot->status.state_since = GetCurrentTimestamp();
	slot->status.wake_at = outbox_my_relay.wake_at;
	slot->status.failing_since = 0;
	pg_atomic_write_u64(&slot->unwritten_since, 0);
	pg_atomic_write_u32(&slot->proc, OUTBOX_NO_PROC);
	if (relay && !idle)
		outbox_horizon_gone(outbox_my_relay.db, slot);
	LWLockRelease(outbox_shmem->lock);
	if (!relay)
		outbox_subscribers_left(outbox_my_relay.db);
	outbox_shmem_wake_launcher();
	/* last: an error must not keep the slot */
	show();
}

/* Tells the launcher how far this process is, or why it ends. */
void
outbox_relay_state_launch(OutboxLaunchState state)
{
	const OutboxRelayArgs *args = &outbox_my_relay.args;
	OutboxLaunch *launch = &outbox_shmem->launches[args->launch];

	LWLockAcquire(outbox_shmem->lock, LW_EXCLUSIVE);
	if (launch->generation == args->generation)
		launch->state = state;
	LWLockRelease(outbox_shmem->lock);
}

/* What the relay shows that it does */
OutboxRelayState
outbox_relay_state(void)
{
	/* nobody else writes it while we are the relay */
	return outbox_my_relay.slot->status.state;
}

/* What a relay of that database does, as SQL shows it */
const char *
outbox_relay_state_name(const OutboxRelayStatus *status, const char *database)
{
	if (status->failing_since != 0)
		return "failing";
	switch (status->state)
	{
		case OUTBOX_RELAY_STOPPED:
		case OUTBOX_RELAY_IDLE:
			if (!outbox_enabled ||
				!outbox_guc_database_allowed(database, NULL))
				return "disabled";
			return status->state == OUTBOX_RELAY_IDLE ? "idle" : "stopped";
		case OUTBOX_RELAY_STARTING:
			return "starting";
		case OUTBOX_RELAY_INCOMPATIBLE:
			return "incompatible";
		case OUTBOX_RELAY_UNCONFIGURED:
			return "unconfigured";
		case OUTBOX_RELAY_PUBLISHING:
			return "publishing";
		case OUTBOX_RELAY_UNAVAILABLE:
			return "unavailable";
		case OUTBOX_RELAY_UNTRUSTED:
			return "untrusted";
		case OUTBOX_RELAY_UNAUTHENTICATED:
			return "unauthenticated";
		case OUTBOX_RELAY_HALTED:
			return "halted";
		case OUTBOX_RELAY_PAUSED:
			return "paused";
		case OUTBOX_RELAY_CONSUMING:
			return "consuming";
		case OUTBOX_RELAY_GAP:
			return "gap";
	}
	return "unknown";
}

/*
 * Shows what the relay does; cheap if that has not changed. For the log: why,
 * and what helps; each may be NULL. False if it has been so before.
 */
bool
outbox_relay_state_set(OutboxRelayState state, const char *reason,
					   const char *hint)
{
	OutboxRelayStatus *status = &outbox_my_relay.slot->status;

	if (status->state == state)
		return false;

	LWLockAcquire(outbox_shmem->lock, LW_EXCLUSIVE);
	status->state = state;
	status->state_since = GetCurrentTimestamp();
	LWLockRelease(outbox_shmem->lock);
	set_why(&of_state, reason, hint);
	show();
	return true;
}

/* The state is the same, for another reason. */
void
outbox_relay_state_still(const char *reason, const char *hint)
{
	set_why(&of_state, reason, hint);
	if (outbox_my_relay.slot->status.failing_since != 0)
		return;
	show_activity(reason);
	outbox_state_log_still(shown, reason, hint);
}

/* Shows whether an error is in the way; the rest as above. If there is none any
 * more, that is why the relay publishes, but not why it does anything else. */
bool
outbox_relay_state_failing(bool failing, const char *reason, const char *hint)
{
	OutboxRelayStatus *status = &outbox_my_relay.slot->status;

	if ((status->failing_since != 0) == failing)
		return false;

	LWLockAcquire(outbox_shmem->lock, LW_EXCLUSIVE);
	status->failing_since = failing ? GetCurrentTimestamp() : 0;
	LWLockRelease(outbox_shmem->lock);
	if (failing)
		set_why(&of_failing, reason, hint);
	else if (status->state == OUTBOX_RELAY_PUBLISHING ||
			 status->state == OUTBOX_RELAY_CONSUMING)
		set_why(&of_state, reason, hint);
	show();
	return true;
}

/* The process is about to end: why, for the log. */
void
outbox_relay_state_ends(const char *reason)
{
	set_why(&of_state, reason, NULL);
}

/* In each round: what could not be told to the log when it happened */
void
outbox_relay_state_tell_late(void)
{
	const Why *why;

	if (likely(!outbox_state_log_is_late()))
		return;
	why = current_why();
	outbox_state_log(shown, false, why->reason, why->hint);
}

/* Shows an error; not before we have become the relay. */
void
outbox_relay_state_error(const char *message)
{
	OutboxRelayStatus *status;

	if (outbox_my_relay.slot == NULL)
		return;
	status = &outbox_my_relay.slot->status;
	LWLockAcquire(outbox_shmem->lock, LW_EXCLUSIVE);
	copy_clipped(status->last_error, message, OUTBOX_ERROR_MAX);
	status->last_error_at = GetCurrentTimestamp();
	LWLockRelease(outbox_shmem->lock);
}

/* Shows that the settings cannot be used, and why; NULL = they can. */
void
outbox_relay_state_refused(const char *why)
{
	OutboxRelayStatus *status = &outbox_my_relay.slot->status;

	if (why == NULL && status->refused_at == 0)
		return;
	LWLockAcquire(outbox_shmem->lock, LW_EXCLUSIVE);
	if (why == NULL)
		status->refused_at = 0;
	else
	{
		if (status->refused_at == 0)
			status->refused_at = GetCurrentTimestamp();
		copy_clipped(status->refused, why, OUTBOX_REFUSED_MAX);
	}
	LWLockRelease(outbox_shmem->lock);
}
