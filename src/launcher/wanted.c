/*-------------------------------------------------------------------------
 *
 * wanted.c
 *	  Which relays and subscribers are to be started in a database: those that
 *	  there are to be, as shared memory tells, that have no process, and that
 *	  nothing is in the way of.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "guc.h"
#include "launcher/wanted.h"
#include "shared/horizon.h"
#include "shared/relays.h"
#include "shared/subscribers.h"

/* What made processes of a database fail may have been repaired: all are tried
 * at once. */
void
outbox_wanted_forget_failures(OutboxLauncherDatabase *candidate)
{
	candidate->scout.failures = 0;
	candidate->scout.not_before = 0;
	for (int i = 0; i < OUTBOX_PROCESSES; i++)
	{
		candidate->processes[i].failures = 0;
		candidate->processes[i].not_before = 0;
	}
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

/* Which subscribers are wanted there, and have no process? The same. */
static void
find_wanted_subscribers(OutboxLauncherDatabase *candidate, OutboxDatabase *db)
{
	bool known = (db != NULL && outbox_subscribers_are_known(db));

	for (int i = OUTBOX_RELAYS; i < OUTBOX_PROCESSES; i++)
	{
		OutboxLauncherProcess *process = &candidate->processes[i];
		const OutboxRelaySlot *slot = known ? outbox_slot_of(db, i) : NULL;

		process->wanted = slot != NULL && slot->name[0] != '\0' &&
						  process->handle == NULL && slot->status.pid == 0;
	}
}

/*
 * Which relays are wanted there, and have no process? The caller holds
 * outbox_shmem->lock.
 */
static void
find_wanted(OutboxLauncherDatabase *candidate, OutboxDatabase *db)
{
	uint32 named = db ? pg_atomic_read_u32(&db->relays_named) : 0;
	bool running = outbox_database_list_any_relay(candidate) ||
				   (db != NULL && outbox_relays_any(db));

	if (named != 0 || (db != NULL && outbox_relays_any(db)))
		candidate->known = true;
	if (db != NULL && db->start_wanted && !running)
	{
		db->start_wanted = false;
		candidate->absent = false;
		candidate->known = true;
		outbox_wanted_forget_failures(candidate);
	}
	/* one that runs looks for itself which others there are */
	candidate->scout.wanted =
		!running && (db == NULL || !outbox_relays_are_known(db));
	if (candidate->scout.wanted || candidate->scout.handle != NULL)
		return;
	for (int i = 0; i < OUTBOX_RELAYS; i++)
	{
		OutboxLauncherProcess *relay = &candidate->processes[i];
		OutboxRelaySlot *slot = db ? &db->relays[i] : NULL;

		relay->wanted = (named & (1U << i)) != 0 && relay->handle == NULL &&
						slot->status.pid == 0;
		relay->idle_until = relay->wanted &&
									slot->status.state == OUTBOX_RELAY_IDLE &&
									outbox_horizon_sleeps(db, slot)
								? slot->status.wake_at
								: 0;
	}
}

/* Notes what is to be started there. Takes note of requests, too. */
void
outbox_wanted_look(OutboxLauncherDatabase *candidate)
{
	bool blocked;
	bool any;

	candidate->scout.wanted = false;
	for (int i = 0; i < OUTBOX_RELAYS; i++)
		candidate->processes[i].wanted = false;
	LWLockAcquire(outbox_shmem->lock, LW_EXCLUSIVE);
	blocked = outbox_shmem_is_held_off(candidate->dbid);
	find_wanted(candidate, outbox_shmem_find(candidate->dbid));
	find_wanted_subscribers(candidate, outbox_shmem_find(candidate->dbid));
	LWLockRelease(outbox_shmem->lock);

	any = outbox_enabled && candidate->listed && candidate->connectable &&
		  !candidate->absent && !blocked;
	candidate->may_start = any && is_allowed(candidate);
}
