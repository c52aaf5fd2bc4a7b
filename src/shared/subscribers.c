/*-------------------------------------------------------------------------
 *
 * subscribers.c
 *	  The processes of a database's subscriptions, as everybody else knows
 *	  them: which there are to be, to wake them, and to end them.
 *
 * As with relays (relays.c), nobody can read outbox.subscription who is not
 * connected to the database: one of its relays does, as a chore, whenever
 * the count of changes has grown, and gives each process that there is to be a
 * slot here. The launcher starts those that have a slot and do not run, as
 * long as what was read is not older than the last change.
 *
 * A subscription has a slot for each of its workers. A slot is given to
 * another one only when its process has ended: until then it is nobody's, and
 * if one is short meanwhile, the table is read again when a process has ended.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include <signal.h>

#include "utils/timestamp.h"

#include "shared/chores.h"
#include "shared/relays.h"
#include "shared/subscriber_figures.h"
#include "shared/subscribers.h"

/* Has the database a subscriber that runs? */
bool
outbox_subscribers_any(const OutboxDatabase *db)
{
	for (int i = 0; i < OUTBOX_SUBSCRIBERS; i++)
	{
		if (db->subscribers.slots[i].process.status.pid != 0)
			return true;
	}
	return false;
}

/* Do the slots tell which subscribers there are to be? */
bool
outbox_subscribers_are_known(OutboxDatabase *db)
{
	return db->subscribers.known &&
		   pg_atomic_read_u32(&db->subscribers.changes) ==
			   db->subscribers.read;
}

/* Asks all subscribers of the database to end. Returns whether there were any.
 */
bool
outbox_subscribers_end(OutboxDatabase *db)
{
	bool any = false;

	for (int i = 0; i < OUTBOX_SUBSCRIBERS; i++)
	{
		int pid = db->subscribers.slots[i].process.status.pid;

		if (pid != 0 && kill(pid, SIGTERM) == 0)
			any = true;
	}
	return any;
}

/* Wakes all subscribers of the database. */
void
outbox_subscribers_wake(OutboxDatabase *db)
{
	for (int i = 0; i < OUTBOX_SUBSCRIBERS; i++)
		outbox_shmem_set_latch(
			pg_atomic_read_u32(&db->subscribers.slots[i].process.proc));
}

/* A process has ended: its slot may be what another one waits for. */
void
outbox_subscribers_left(OutboxDatabase *db)
{
	bool wait;

	LWLockAcquire(outbox_shmem->lock, LW_SHARED);
	wait = db->subscribers.wait;
	LWLockRelease(outbox_shmem->lock);
	if (!wait)
		return;
	pg_atomic_fetch_add_u32(&db->subscribers.changes, 1);
	outbox_chores_wanted(db);
	outbox_relays_wake(db);
}

/* Is it this subscription that the slot belongs to? */
static bool
is_of(const OutboxSubscriberSlot *slot, const OutboxSubscriptionRow *row)
{
	return slot->process.created_at == row->created_at &&
		   strcmp(slot->process.name, row->name) == 0;
}

/* The slot belongs to nobody any more. */
static void
empty_slot(OutboxSubscriberSlot *slot)
{
	slot->process.name[0] = '\0';
	slot->process.created_at = 0;
}

/* Empties the slots of those that are not to be any more, and tells the others
 * how many they are. */
static void
look_at_slot(OutboxSubscriberSlot *slot, const OutboxSubscriptionRows *list)
{
	for (int i = 0; i < list->count; i++)
	{
		if (!is_of(slot, &list->rows[i]) ||
			slot->worker >= list->rows[i].workers)
			continue;
		slot->workers = list->rows[i].workers;
		return;
	}
	empty_slot(slot);
}

static void
fill_slot(OutboxSubscriberSlot *slot, const OutboxSubscriptionRow *row,
		  int worker)
{
	OutboxRelaySlot *process = &slot->process;

	memset(&process->status, 0, sizeof(process->status));
	memset(&process->log, 0, sizeof(process->log));
	strlcpy(process->name, row->name, sizeof(process->name));
	process->created_at = row->created_at;
	slot->number = row->number;
	slot->worker = worker;
	slot->workers = row->workers;
	slot->counted_since = GetCurrentTimestamp();
	pg_atomic_write_u64(&slot->handled, 0);
	for (int i = 0; i < OUTBOX_RATE_S; i++)
		pg_atomic_write_u64(&slot->marks[i].second, 0);
	pg_atomic_write_u64(&slot->repeated, 0);
	pg_atomic_write_u64(&slot->failed, 0);
	pg_atomic_write_u32(&slot->partitions, 0);
	pg_atomic_write_u64(&slot->lag_messages, (uint64) OUTBOX_LAG_UNKNOWN);
	pg_atomic_write_u64(&slot->lag_since, 0);
}

/* Gives a worker its slot, if it has none. False if none is free. */
static bool
place(OutboxDatabase *db, const OutboxSubscriptionRow *row, int worker)
{
	OutboxSubscriberSlot *empty = NULL;

	for (int i = 0; i < OUTBOX_SUBSCRIBERS; i++)
	{
		OutboxSubscriberSlot *slot = &db->subscribers.slots[i];

		if (is_of(slot, row) && slot->worker == worker)
			return true;
		if (empty == NULL && slot->process.name[0] == '\0' &&
			slot->process.status.pid == 0)
			empty = slot;
	}
	if (empty == NULL)
		return false;
	fill_slot(empty, row, worker);
	return true;
}

/*
 * Tells everybody which subscriptions there are. changes: what
 * the count of changes was before they were read.
 */
void
outbox_subscribers_store(OutboxDatabase *db,
						 const OutboxSubscriptionRows *list, uint32 changes)
{
	LWLockAcquire(outbox_shmem->lock, LW_EXCLUSIVE);
	if (!db->subscribers.known ||
		(int32) (changes - db->subscribers.read) >= 0)
	{
		for (int i = 0; i < OUTBOX_SUBSCRIBERS; i++)
			look_at_slot(&db->subscribers.slots[i], list);
		db->subscribers.wait = false;
		for (int i = 0; i < list->count; i++)
		{
			for (int worker = 0; worker < list->rows[i].workers; worker++)
			{
				if (!place(db, &list->rows[i], worker))
					db->subscribers.wait = true;
			}
		}
		db->subscribers.known = true;
		db->subscribers.read = changes;
	}
	LWLockRelease(outbox_shmem->lock);
	outbox_shmem_wake_launcher();
}
