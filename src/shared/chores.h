/*-------------------------------------------------------------------------
 *
 * chores.h
 *	  Which relay does what has to be done once for all of a database.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_CHORES_H
#define OUTBOX_CHORES_H

#include "shared/shmem.h"

/* a relay, of itself */
extern bool outbox_chores_turn(bool publishes);
extern bool outbox_chores_are_mine(void);
extern long outbox_chores_timeout_ms(bool publishes);
extern void outbox_chores_sleep(long timeout_ms);
extern void outbox_chores_give_up(bool wake);

/* anybody */
extern void outbox_chores_wanted(OutboxDatabase *db);

#endif /* OUTBOX_CHORES_H */
