/*-------------------------------------------------------------------------
 *
 * relays.c
 *	  The relays of a database, as everybody else knows them: to wake them,
 *	  to end them, and to learn how far they all are.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include <signal.h>

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

/* Wakes all relays of the database, whether they sleep or not. */
void
outbox_relays_wake(OutboxDatabase *db)
{
	for (int i = 0; i < OUTBOX_RELAYS; i++)
		outbox_shmem_set_latch(pg_atomic_read_u32(&db->relays[i].proc));
}

/*
 * How far all relays of the database are, which is as far as the slowest one.
 * False if that is not known of one of them since the server started: then
 * last_issued is not, either.
 */
bool
outbox_relays_position(OutboxDatabase *db, uint64 *position)
{
	*position = PG_UINT64_MAX;
	for (int i = 0; i < OUTBOX_RELAYS; i++)
	{
		OutboxRelaySlot *slot = &db->relays[i];
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

/* How many events are parked, and are no dead letters */
uint64
outbox_relays_parked(OutboxDatabase *db)
{
	uint64 parked = 0;

	for (int i = 0; i < OUTBOX_RELAYS; i++)
		parked += pg_atomic_read_u64(&db->relays[i].parked);
	return parked;
}

/* How far they are is not known any more. */
void
outbox_relays_forget(OutboxDatabase *db)
{
	for (int i = 0; i < OUTBOX_RELAYS; i++)
		pg_atomic_write_u32(&db->relays[i].ready, 0);
}
