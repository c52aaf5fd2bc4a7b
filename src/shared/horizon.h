/*-------------------------------------------------------------------------
 *
 * horizon.h
 *	  The horizon protocol: which ids are decided forever.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_HORIZON_H
#define OUTBOX_HORIZON_H

#include "access/xlogdefs.h"

#include "shared/shmem.h"

/* writer */
extern uint64 outbox_horizon_enter(OutboxDatabase *db);
extern void outbox_horizon_issued(OutboxDatabase *db, uint64 last_id);
extern void outbox_horizon_leave(OutboxDatabase *db, XLogRecPtr commit_lsn);

/* relay */
extern void outbox_horizon_raise(OutboxDatabase *db, uint64 last_id);
extern void outbox_horizon_sleep(OutboxDatabase *db,
								 const OutboxRelaySlot *slot);
extern void outbox_horizon_sleep_for_good(OutboxDatabase *db,
										  const OutboxRelaySlot *slot);
extern void outbox_horizon_stay(void);
extern bool outbox_horizon_sleeps(OutboxDatabase *db,
								  const OutboxRelaySlot *slot);
extern void outbox_horizon_gone(OutboxDatabase *db,
								const OutboxRelaySlot *slot);
extern uint64 outbox_horizon_read(OutboxDatabase *db, XLogRecPtr *commit_lsn);

#endif /* OUTBOX_HORIZON_H */
