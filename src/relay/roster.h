/*-------------------------------------------------------------------------
 *
 * roster.h
 *	  Which relays the database has, and which of them this process is.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_ROSTER_H
#define OUTBOX_ROSTER_H

#include "outbox.h"

#include "shared/shmem.h"
#include "store/transaction.h"

extern OutboxLaunchState outbox_roster_guess(void);
extern OutboxStoreStatus outbox_roster_look(OutboxLaunchState *state);

#endif /* OUTBOX_ROSTER_H */
