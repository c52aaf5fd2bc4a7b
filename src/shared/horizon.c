/*-------------------------------------------------------------------------
 *
 * horizon.c
 *	  How the relay reads without missing an event and without waiting for
 *	  strangers.
 *
 * Ids are taken from a sequence while a transaction commits, so that they
 * follow the order in which conflicting transactions commit; but a higher id
 * may become visible before a lower one. The horizon is the smallest id that
 * may still be in flight. Each backend has an in-flight slot (0 = none).
 *
 *	  writer, at pre-commit					  relay, each round
 *		enter:	slot := last_issued + 1			sleep:	latch reset, sleeping
 *				full barrier							full barrier
 *		ids  := nextval(...)					read:	H := last_issued + 1
 *		issued:	last_issued := max(.., last id)			barrier
 *		write rows										horizon := min(H, slots)
 *	  at commit, once it is visible						barrier
 *		leave:	commit_lsn := max(.., its end)			commit_lsn
 *				slot := 0; full barrier			flush the WAL up to commit_lsn
 *				wake the relay if it sleeps		take a NEW snapshot, read
 *	  at abort									position < id < horizon
 *		leave:	slot := 0; full barrier
 *				wake the relay if it sleeps
 *
 * Claim: when the relay takes its snapshot, every id below the horizon is
 * decided, and visible in the snapshot if it committed.
 *
 * Proof: Let id < horizon, so id <= H - 1, the value of last_issued that the
 * relay read. The sequence grows, and last_issued has been reached by some
 * writer after it took its last id; so id was taken before H was read. Its
 * writer had set its slot before it took the id, to a value that is not above
 * the id (last_issued was below the next value of the sequence). The relay
 * looks at the slots after it read H: it finds the slot either still set,
 * and then the horizon is not above the id, against the assumption; or
 * cleared, which happens only after the transaction's fate is visible, and so
 * before the relay's snapshot. (A slot that is set again by a later
 * transaction of the same backend was cleared in between.)
 *
 * So one bigint is the whole cursor: no gaps to track, no transaction ids, no
 * snapshots to store; and only a transaction inside its commit can hold the
 * horizon back, never a long one.
 *
 * Visible is not durable: with synchronous_commit = off a crash can undo a
 * commit that others have seen. A writer raises commit_lsn before it clears
 * its slot, so that the value read after the slots covers every commit below
 * the horizon. The relay flushes up to there before it reads: nothing that a
 * crash could still undo is published. The flush comes before the snapshot,
 * so that no snapshot is held during it; the rows below the horizon are the
 * same either way. For synchronous commits the flush is already done. A relay
 * that expects events of other relays' topics only does not flush for them:
 * none is sent, and if it comes across one of its own, it begins anew, with the
 * flush.
 *
 * Sleeping is the usual handshake: the relay says that it sleeps, and only
 * then looks for work; the writer clears its slot, and only then looks
 * whether the relay sleeps. With a full barrier on both sides at least one of
 * them sees the other. The wake-up at abort matters: the relay may have
 * stopped short of this very slot, with committed events above it.
 *
 * A database may have several relays; each sleeps and reads for itself, and
 * the proof above holds for each. That they sleep is a bit of each in one
 * atomic, so that a writer looks at one word however many there are: it is
 * read once at a commit, and only if a bit is set taken away, all bits at
 * once. Who takes a bit sets that relay's latch; so each bit that was set has
 * one writer that does, and a bit that is set later is of a relay that looks
 * for work after that.
 *
 * A relay that has nothing to do may end (idle.c): it says that it sleeps,
 * looks for work once more, and ends with its bit set. Who takes it and finds
 * no process there wakes the launcher, which starts a relay that has ended so
 * if its bit is not set any more. The one that ends first shows that there is
 * no process, and then wakes the launcher, too: the bit may have been taken
 * before, by somebody who has set the latch of a process that was ending.
 * From its last look on, it leaves the bit alone, which others may have taken.
 *
 * The horizon also orders the stream after what others do to outbox.parked,
 * to let a parked event go on (ddl_hooks.c). Such a transaction enters at
 * pre-commit, though it may take no id; once it is visible it counts
 * parked_changes up, and only then leaves. The relay reads that count after
 * the horizon, and before the page, which it does not read until it has
 * looked at outbox.parked again if the count has changed.
 *
 * Claim: an event whose transaction saw the change, or waited for it, is not
 * published before the relay has seen the change, too.
 *
 * Proof: its id was taken after the change was visible, so after the slot was
 * set, and is not below the slot's value. If it is below the horizon, the
 * relay has found the slot cleared; then the count had been raised before.
 *
 * The steps were searched exhaustively for 3 writers and a relay, every
 * interleaving: no loss, no misorder, no sleep with work left. Scanning the
 * slots before reading H loses an event; no wake-up at abort sleeps on
 * committed ones. Likewise for one that changes outbox.parked, one that emits
 * next, and a relay: reading the count before the horizon lets the event
 * pass, and so does leaving before counting. And for 2 writers and 2 relays:
 * a bit that is set by a read and a write that are not one loses a wake-up.
 * Likewise with a relay that ends and a launcher, for 2 writers: no loss, no
 * sleep; if the relay does not wake the launcher, or sets the bit once more in
 * its last look, it sleeps on committed ones.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "port/pg_bitutils.h"

#include "shared/horizon.h"

/* Raises an atomic to a value, if it is below. A full barrier either way. */
static void
atomic_max(pg_atomic_uint64 *atomic, uint64 value)
{
	uint64 old = pg_atomic_read_u64(atomic);

	while (old < value)
	{
		if (pg_atomic_compare_exchange_u64(atomic, &old, value))
			return;
	}
	pg_memory_barrier();
}

/*
 * The writer is about to take ids. Returns the value of its slot: an id below
 * it means that the sequence was set back, and must not be used.
 */
uint64
outbox_horizon_enter(OutboxDatabase *db)
{
	OutboxInflight *slot = outbox_shmem_my_inflight();
	uint64 first_id = pg_atomic_read_u64(&db->last_issued) + 1;

	pg_atomic_write_u32(&slot->s.database,
						(uint32) (db - outbox_shmem->databases));
	pg_write_barrier();
	pg_atomic_write_u64(&slot->s.first_id, first_id);
	pg_memory_barrier();
	return first_id;
}

/* The writer has taken all its ids. */
void
outbox_horizon_issued(OutboxDatabase *db, uint64 last_id)
{
	atomic_max(&db->last_issued, last_id);
}

/* in the last look of a relay that ends, see above */
static bool for_good = false;

/* Wakes the relays that sleep; one latch of each is set for many writers. */
static void
wake_relays(OutboxDatabase *db)
{
	uint32 sleeping;

	pg_memory_barrier();
	if (pg_atomic_read_u32(&db->relays_sleeping) == 0)
		return;
	sleeping = pg_atomic_exchange_u32(&db->relays_sleeping, 0);
	for (; sleeping != 0; sleeping &= sleeping - 1)
	{
		int relay = pg_rightmost_one_pos32(sleeping);
		uint32 proc = pg_atomic_read_u32(&db->relays[relay].proc);

		if (proc == OUTBOX_NO_PROC)
			outbox_shmem_wake_launcher();
		else
			outbox_shmem_set_latch(proc);
	}
}

/*
 * The writer's transaction has ended, and others see how. commit_lsn is
 * InvalidXLogRecPtr for an abort. Never fails, and does nothing if the writer
 * is not in flight.
 */
void
outbox_horizon_leave(OutboxDatabase *db, XLogRecPtr commit_lsn)
{
	OutboxInflight *slot = outbox_shmem_my_inflight();

	if (commit_lsn != InvalidXLogRecPtr)
		atomic_max(&db->commit_lsn, commit_lsn);
	else
		pg_memory_barrier();
	pg_atomic_write_u64(&slot->s.first_id, 0);
	wake_relays(db);
}

/*
 * The relay tells how far the sequence is, when it starts: after a restart
 * of the server, shared memory does not know. All ids up to last_id have been
 * taken before, so the proof above holds for this value, too.
 */
void
outbox_horizon_raise(OutboxDatabase *db, uint64 last_id)
{
	atomic_max(&db->last_issued, last_id);
}

/*
 * The relay is going to sleep if it finds nothing in the round that follows.
 * It has reset its latch before.
 */
void
outbox_horizon_sleep(OutboxDatabase *db, const OutboxRelaySlot *slot)
{
	/* a full barrier, too */
	if (!for_good)
		pg_atomic_fetch_or_u32(&db->relays_sleeping,
							   1U << (slot - db->relays));
}

/* The relay is going to end if it finds nothing in the round that follows. */
void
outbox_horizon_sleep_for_good(OutboxDatabase *db, const OutboxRelaySlot *slot)
{
	outbox_horizon_sleep(db, slot);
	for_good = true;
}

/* It has found something. */
void
outbox_horizon_stay(void)
{
	for_good = false;
}

/* Has nobody woken that relay since it said that it sleeps? */
bool
outbox_horizon_sleeps(OutboxDatabase *db, const OutboxRelaySlot *slot)
{
	pg_memory_barrier();
	return (pg_atomic_read_u32(&db->relays_sleeping) &
			(1U << (slot - db->relays))) != 0;
}

/* The relay ends, but not for want of work: nobody needs to wake it. */
void
outbox_horizon_gone(OutboxDatabase *db, const OutboxRelaySlot *slot)
{
	pg_atomic_fetch_and_u32(&db->relays_sleeping,
							~(1U << (slot - db->relays)));
}

/*
 * The horizon, and how far the WAL must be flushed before the rows below it
 * are read. Afterwards the relay must take a new snapshot.
 */
uint64
outbox_horizon_read(OutboxDatabase *db, XLogRecPtr *commit_lsn)
{
	uint32 database = (uint32) (db - outbox_shmem->databases);
	uint64 horizon = pg_atomic_read_u64(&db->last_issued) + 1;

	/* H first, then the slots */
	pg_memory_barrier();

	for (int i = 0; i < outbox_shmem->inflight_slots; i++)
	{
		OutboxInflight *slot = &outbox_shmem->inflight[i];
		uint64 first_id = pg_atomic_read_u64(&slot->s.first_id);

		if (first_id == 0 || first_id >= horizon)
			continue;
		pg_read_barrier();
		if (pg_atomic_read_u32(&slot->s.database) == database)
			horizon = first_id;
	}

	/* the slots first, then what those that are clear have left behind */
	pg_memory_barrier();
	*commit_lsn = pg_atomic_read_u64(&db->commit_lsn);
	return horizon;
}
