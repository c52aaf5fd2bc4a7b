/*-------------------------------------------------------------------------
 *
 * handover.h
 *	  Events that sessions hand over to a relay, which commits them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_HANDOVER_H
#define OUTBOX_HANDOVER_H

#include "shared/shmem.h"

typedef enum OutboxHandoverState
{
	OUTBOX_HANDOVER_FREE = 0,
	OUTBOX_HANDOVER_ASKED,     /* by its session */
	OUTBOX_HANDOVER_TAKEN,     /* by a relay, in whose transaction it is */
	OUTBOX_HANDOVER_COMMITTED, /* ... which has committed, */
	OUTBOX_HANDOVER_FAILED,    /* or has been rolled back */
	OUTBOX_HANDOVER_ABANDONED, /* taken, and its session waits no longer */
} OutboxHandoverState;

/* What the segment of dynamic shared memory holds: a row of outbox.event, or
 * of outbox.delayed */
typedef struct OutboxHandedRow
{
	uint32 bytes;
	char tuple[FLEXIBLE_ARRAY_MEMBER] pg_attribute_aligned(MAXIMUM_ALIGNOF);
} OutboxHandedRow;

/* a session, of its own */
extern OutboxHandover *outbox_handover_mine(void);
extern bool outbox_handover_ask(OutboxDatabase *db, dsm_handle event,
								bool delayed);
extern OutboxHandoverState outbox_handover_state(void);
extern bool outbox_handover_let_go(OutboxHandoverState state);

/* a relay */
extern OutboxHandover *outbox_handover_next(OutboxDatabase *db);
extern bool outbox_handover_take(OutboxDatabase *db, OutboxHandover *handover,
								 bool delayed);
extern void outbox_handover_give_back(OutboxHandover *handover);
extern void outbox_handover_answer(OutboxHandover *handover,
								   OutboxHandoverState answer);

#endif /* OUTBOX_HANDOVER_H */
