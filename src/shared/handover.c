/*-------------------------------------------------------------------------
 *
 * handover.c
 *	  Events that are to be committed although the session's transaction may
 *	  be rolled back: the session hands them over to the relay that does the
 *	  chores, which commits each in a transaction of its own, and answers.
 *
 * Each backend has one place, which is in one of these states:
 *
 *	  FREE		 ask (session)		   -> ASKED
 *	  ASKED		 take (relay)		   -> TAKEN
 *				 let go (session)	   -> FREE
 *	  TAKEN		 answer (relay)		   -> COMMITTED or FAILED
 *				 give back (relay)	   -> ASKED
 *				 let go (session)	   -> ABANDONED
 *	  ABANDONED  answer (relay)		   -> FREE
 *	  COMMITTED, FAILED
 *				 let go (session)	   -> FREE
 *
 * Every step is one exchange of the state, which only one side can win. So a
 * session that gives up knows whether it is sure that nothing is emitted (it
 * was ASKED) or not (it was TAKEN), and a relay commits no event that has been
 * withdrawn. The relay takes it inside its transaction, whose end answers
 * whatever becomes of the relay: if it is to end itself, it gives the event
 * back, and the next one takes it. Should it crash, so does the session.
 *
 * The row is in a segment of dynamic shared memory that is the session's. Who
 * has won ASKED for TAKEN may read it as long as it can be mapped; it is gone
 * only if the session has let go.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "shared/chores.h"
#include "shared/handover.h"
#include "shared/relays.h"

/* The place of this backend */
OutboxHandover *
outbox_handover_mine(void)
{
	/* raises an error for a process that has none */
	OutboxInflight *slot = outbox_shmem_my_inflight();

	return &outbox_shmem->handovers[slot - outbox_shmem->inflight];
}

static OutboxDatabase *
database_of(const OutboxHandover *handover)
{
	return &outbox_shmem->databases[handover->database];
}

static bool
step(OutboxHandover *handover, OutboxHandoverState from,
	 OutboxHandoverState to)
{
	uint32 expected = from;

	/* a full barrier, if it is done */
	return pg_atomic_compare_exchange_u32(&handover->state, &expected, to);
}

/*
 * Hands an event over, and wakes the relays. False if a relay has not answered
 * for the last one of this place, which was abandoned: when it does, it sets
 * our latch.
 */
bool
outbox_handover_ask(OutboxDatabase *db, dsm_handle event, bool delayed)
{
	OutboxHandover *handover = outbox_handover_mine();

	if (outbox_handover_state() != OUTBOX_HANDOVER_FREE)
		return false;
	handover->database = (uint32) (db - outbox_shmem->databases);
	handover->event = event;
	handover->delayed = delayed;
	/* first, so that it is never less than there are */
	pg_atomic_fetch_add_u32(&db->handed_over, 1);
	(void) step(handover, OUTBOX_HANDOVER_FREE, OUTBOX_HANDOVER_ASKED);
	outbox_chores_wanted(db);
	outbox_relays_wake(db);
	return true;
}

OutboxHandoverState
outbox_handover_state(void)
{
	OutboxHandoverState state = (OutboxHandoverState) pg_atomic_read_u32(
		&outbox_handover_mine()->state);

	/* the state first, then the answer */
	pg_read_barrier();
	return state;
}

/*
 * The session waits no longer, or has the answer, which stays until it asks
 * again. False if the state is not that any more. After it was ASKED, nobody
 * will take it.
 */
bool
outbox_handover_let_go(OutboxHandoverState state)
{
	OutboxHandover *handover = outbox_handover_mine();
	bool taken =
		(state == OUTBOX_HANDOVER_TAKEN || state == OUTBOX_HANDOVER_ABANDONED);

	if (!step(handover, state,
			  taken ? OUTBOX_HANDOVER_ABANDONED : OUTBOX_HANDOVER_FREE))
		return false;
	if (state == OUTBOX_HANDOVER_ASKED)
		pg_atomic_fetch_sub_u32(&database_of(handover)->handed_over, 1);
	return true;
}

/* One that nobody has taken, each in its turn; NULL = there is none */
OutboxHandover *
outbox_handover_next(OutboxDatabase *db)
{
	static int last = 0;

	if (pg_atomic_read_u32(&db->handed_over) == 0)
		return NULL;
	for (int i = 0; i < outbox_shmem->inflight_slots; i++)
	{
		OutboxHandover *handover;

		last = (last + 1) % outbox_shmem->inflight_slots;
		handover = &outbox_shmem->handovers[last];
		if (pg_atomic_read_u32(&handover->state) != OUTBOX_HANDOVER_ASKED)
			continue;
		pg_read_barrier();
		if (database_of(handover) == db)
			return handover;
	}
	return NULL;
}

/* Tells the session what has become of it. Never fails. */
void
outbox_handover_answer(OutboxHandover *handover, OutboxHandoverState answer)
{
	if (!step(handover, OUTBOX_HANDOVER_TAKEN, answer))
		(void) step(handover, OUTBOX_HANDOVER_ABANDONED, OUTBOX_HANDOVER_FREE);
	/* it may wait for its place */
	outbox_shmem_set_latch((uint32) (handover - outbox_shmem->handovers));
}

/* Leaves it to another relay, as if it had not been taken. Never fails. */
void
outbox_handover_give_back(OutboxHandover *handover)
{
	OutboxDatabase *db = database_of(handover);

	pg_atomic_fetch_add_u32(&db->handed_over, 1);
	if (step(handover, OUTBOX_HANDOVER_TAKEN, OUTBOX_HANDOVER_ASKED))
	{
		outbox_relays_wake(db);
		return;
	}
	pg_atomic_fetch_sub_u32(&db->handed_over, 1);
	outbox_handover_answer(handover, OUTBOX_HANDOVER_FAILED);
}

/*
 * Takes it, for whose table the relay has a lock: delayed, as it was before
 * that. False if its session has withdrawn it, or another relay has it.
 */
bool
outbox_handover_take(OutboxDatabase *db, OutboxHandover *handover,
					 bool delayed)
{
	if (!step(handover, OUTBOX_HANDOVER_ASKED, OUTBOX_HANDOVER_TAKEN))
		return false;
	pg_atomic_fetch_sub_u32(&database_of(handover)->handed_over, 1);
	if (database_of(handover) == db && handover->delayed == delayed)
		return true;
	/* it was withdrawn, and the place is that of another event now */
	outbox_handover_give_back(handover);
	return false;
}
