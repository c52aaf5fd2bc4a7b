/*-------------------------------------------------------------------------
 *
 * relays.h
 *	  The relays of a database, as everybody else knows them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_RELAYS_H
#define OUTBOX_RELAYS_H

#include "shared/shmem.h"

/* the caller holds outbox_shmem->lock */
extern bool outbox_relays_any(const OutboxDatabase *db);
extern bool outbox_relays_end(OutboxDatabase *db);

/* without it */
extern void outbox_relays_wake(OutboxDatabase *db);
extern bool outbox_relays_position(OutboxDatabase *db, uint64 *position);
extern uint64 outbox_relays_parked(OutboxDatabase *db);
extern void outbox_relays_forget(OutboxDatabase *db);

#endif /* OUTBOX_RELAYS_H */
