/*-------------------------------------------------------------------------
 *
 * inbox_turn.h
 *	  Which of the two tables of the inbox is written to.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_INBOX_TURN_H
#define OUTBOX_INBOX_TURN_H

#include "shared/task.h"

/* a session, in its transaction, which has locked the gate */
extern int outbox_inbox_current(OutboxDatabase *db);

/* a relay */
extern OutboxTask outbox_inbox_task;

#endif /* OUTBOX_INBOX_TURN_H */
