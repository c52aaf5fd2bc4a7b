/*-------------------------------------------------------------------------
 *
 * relays.c
 *	  The relays of a database, as everybody else knows them: which there
 *	  are, to wake them, to end them, and to learn how far they all are.
 *
 * Nobody can read outbox.relay who is not connected to the database, or has no
 * right to. So each relay does, when it begins and whenever relay_changes has
 * grown, and writes into the slots what it has found: of all relays, as they
 * may not run. The launcher starts those that have a name and no process.
 * relay_changes is read before outbox.relay is, so that what is written down as
 * of a count is not older than the commits that it counts; and what was read
 * before something newer has been written is thrown away.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include <signal.h>

#include "port/pg_bitutils.h"

#include "shared/addressed.h"
#include "shared/horizon.h"
#include "shared/relays.h"

/* Has the database a relay that runs? */
bool
outbox_relays_any(const OutboxDatabase *db)
{
	for (int i = 0; i < OUTBOX_RELAYS; i++)
	{
		if (db->relays[i].status.pid != 0)
			return true;
	}
	return false;
}

/* Do the slots tell which relays the database has? */
bool
outbox_relays_are_known(OutboxDatabase *db)
{
	return pg_atomic_read_u32(&db->relays_named) != 0 &&
		   pg_atomic_read_u32(&db->relay_changes) == db->relays_read;
}

/* Asks all relays of the database to end. Returns whether there were any. */
bool
outbox_relays_end(OutboxDatabase *db)
{
	bool any = false;

	for (int i = 0; i < OUTBOX_RELAYS; i++)
	{
		int pid = db->relays[i].status.pid;

		if (pid != 0 && kill(pid, SIGTERM) == 0)
			any = true;
	}
	return any;
}

/* Wakes all relays of the database, whether they sleep or not, or have ended
 * for want of work: horizon.c. */
void
outbox_relays_wake(OutboxDatabase *db)
{
	uint32 sleeping = pg_atomic_exchange_u32(&db->relays_sleeping, 0);

	for (int i = 0; i < OUTBOX_RELAYS; i++)
	{
		uint32 proc = pg_atomic_read_u32(&db->relays[i].proc);

		if (proc != OUTBOX_NO_PROC)
			outbox_shmem_set_latch(proc);
		else if ((sleeping & (1U << i)) != 0)
			outbox_shmem_wake_launcher();
	}
}

/*
 * How far all relays of the database are, which is as far as the slowest one.
 * False if that is not known of one of them since the server started: then
 * last_issued is not, either.
 */
bool
outbox_relays_position(OutboxDatabase *db, uint64 *position)
{
	uint32 named = pg_atomic_read_u32(&db->relays_named);

	*position = PG_UINT64_MAX;
	if (named == 0)
		return false;
	/* which ones first, then what they tell */
	pg_read_barrier();
	for (; named != 0; named &= named - 1)
	{
		OutboxRelaySlot *slot = &db->relays[pg_rightmost_one_pos32(named)];
		uint64 its_position;

		if (pg_atomic_read_u32(&slot->ready) == 0)
			return false;
		/* ready first, then what it tells of */
		pg_read_barrier();
		its_position = pg_atomic_read_u64(&slot->position);
		*position = Min(*position, its_position);
	}
	return true;
}

/*
 * How far the relay of that name is; is_known: since the server started. False
 * if there is none.
 */
bool
outbox_relays_position_of(OutboxDatabase *db, const char *name, bool *is_known,
						  uint64 *position)
{
	OutboxRelaySlot *slot = NULL;
	bool exists = true;

	LWLockAcquire(outbox_shmem->lock, LW_SHARED);
	if (outbox_relays_are_known(db))
	{
		slot = outbox_relays_find(db, name);
		exists = (slot != NULL);
	}
	*is_known = (slot != NULL && pg_atomic_read_u32(&slot->ready) != 0);
	pg_read_barrier();
	if (*is_known)
		*position = pg_atomic_read_u64(&slot->position);
	LWLockRelease(outbox_shmem->lock);
	return exists;
}

/* The name of the relay that is the furthest behind, in NAMEDATALEN bytes; ""
 * if that is not known. */
void
outbox_relays_slowest(OutboxDatabase *db, char *name)
{
	uint64 lowest = PG_UINT64_MAX;

	name[0] = '\0';
	LWLockAcquire(outbox_shmem->lock, LW_SHARED);
	for (int i = 0; i < OUTBOX_RELAYS; i++)
	{
		OutboxRelaySlot *slot = &db->relays[i];
		uint64 position = pg_atomic_read_u64(&slot->position);

		if (slot->name[0] == '\0' || position >= lowest)
			continue;
		lowest = position;
		strlcpy(name, slot->name, NAMEDATALEN);
	}
	LWLockRelease(outbox_shmem->lock);
}

/* How many events are parked, and are no dead letters */
uint64
outbox_relays_parked(OutboxDatabase *db)
{
	uint32 named = pg_atomic_read_u32(&db->relays_named);
	uint64 parked = 0;

	for (; named != 0; named &= named - 1)
		parked += pg_atomic_read_u64(
			&db->relays[pg_rightmost_one_pos32(named)].parked);
	return parked;
}

/*
 * Which relays there are, and how far they are, is not known any more; what
 * somebody is just reading counts no more, either. The caller holds
 * outbox_shmem->lock exclusively.
 */
void
outbox_relays_forget(OutboxDatabase *db)
{
	Assert(LWLockHeldByMeInMode(outbox_shmem->lock, LW_EXCLUSIVE));

	db->relays_read = pg_atomic_add_fetch_u32(&db->relay_changes, 1);
	pg_atomic_write_u32(&db->relays_named, 0);
	for (int i = 0; i < OUTBOX_RELAYS; i++)
	{
		OutboxRelaySlot *slot = &db->relays[i];

		pg_atomic_write_u32(&slot->ready, 0);
		if (slot->status.state == OUTBOX_RELAY_IDLE)
			slot->status.state = OUTBOX_RELAY_STOPPED;
	}
}

/* The slot of the relay of that name, or NULL. The caller holds the lock. */
OutboxRelaySlot *
outbox_relays_find(OutboxDatabase *db, const char *name)
{
	Assert(LWLockHeldByMe(outbox_shmem->lock));

	for (int i = 0; i < OUTBOX_RELAYS; i++)
	{
		if (strcmp(db->relays[i].name, name) == 0)
			return &db->relays[i];
	}
	return NULL;
}

/* The slot becomes that of another relay, or of none. A process that is still
 * there sees it, too, and ends. */
static void
assign_slot(OutboxRelaySlot *slot, const OutboxRelayRow *row)
{
	pg_atomic_write_u32(&slot->ready, 0);
	pg_atomic_write_u64(&slot->horizon, 0);
	pg_atomic_write_u64(&slot->published, 0);
	pg_atomic_write_u64(&slot->parked, 0);
	pg_atomic_write_u64(&slot->unwritten_since, 0);
	if (slot->status.state == OUTBOX_RELAY_IDLE)
		slot->status.state = OUTBOX_RELAY_STOPPED;
	slot->status.failing_since = 0;
	slot->status.last_error_at = 0;
	slot->status.state_since = 0;
	slot->status.refused_at = 0;
	slot->status.early_ends = 0;
	/* the process of the one before tells that it ends */
	if (slot->status.pid == 0)
		memset(&slot->log, 0, sizeof(slot->log));
	strlcpy(slot->name, row ? row->name : "", sizeof(slot->name));
	slot->created_at = row ? row->created_at : 0;
}

/* What outbox.relay has for a slot; NULL = there is no such relay. Returns
 * whether that is new. */
static bool
store_row(OutboxRelaySlot *slot, const OutboxRelayRow *row)
{
	bool is_new = strcmp(slot->name, row ? row->name : "") != 0 ||
				  slot->created_at != (row ? row->created_at : 0);

	if (is_new)
		assign_slot(slot, row);
	/* one that runs tells for itself */
	if (row == NULL || slot->status.pid != 0 ||
		pg_atomic_read_u32(&slot->ready) != 0)
		return is_new;
	pg_atomic_write_u64(&slot->position, row->position);
	pg_write_barrier();
	pg_atomic_write_u32(&slot->ready, 1);
	return is_new;
}

/*
 * Tells everybody which relays there are. changes: what relay_changes was
 * before they were read.
 */
void
outbox_relays_store(OutboxDatabase *db, const OutboxRelayRows *list,
					uint32 changes)
{
	const OutboxRelayRow *rows[OUTBOX_RELAYS] = {0};
	uint32 named = 0;
	bool is_new = false;

	for (int i = 0; i < list->count; i++)
	{
		rows[list->rows[i].number] = &list->rows[i];
		named |= 1U << list->rows[i].number;
		/* if the sequence was set back, nobody may use ids up to there */
		outbox_horizon_raise(db, Max(list->last_id, list->rows[i].position));
	}
	LWLockAcquire(outbox_shmem->lock, LW_EXCLUSIVE);
	if ((int32) (changes - db->relays_read) >= 0)
	{
		/* since the server started, or a restore */
		if (pg_atomic_read_u32(&db->relays_named) == 0)
			outbox_addressed_raise(db, list->last_id);
		for (int i = 0; i < OUTBOX_RELAYS; i++)
			is_new = store_row(&db->relays[i], rows[i]) || is_new;
		is_new = is_new || pg_atomic_read_u32(&db->relays_named) != named;
		/* after what they tell, and last_issued */
		pg_write_barrier();
		pg_atomic_write_u32(&db->relays_named, named);
		db->relays_read = changes;
	}
	LWLockRelease(outbox_shmem->lock);
	ConditionVariableBroadcast(&db->position_moved);
	if (is_new)
		outbox_shmem_wake_launcher();
}
