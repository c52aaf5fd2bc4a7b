/*-------------------------------------------------------------------------
 *
 * pending.h
 *	  How much is kept that has not been published, and how much may be.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_PENDING_H
#define OUTBOX_PENDING_H

#include "shared/task.h"
#include "store/transaction.h"

/* sessions */
extern void outbox_pending_check(OutboxDatabase *db, int64 own_events,
								 int64 own_bytes);
extern void outbox_pending_committed(OutboxDatabase *db, int64 bytes,
									 int64 delayed);

/* relay */
extern void outbox_pending_changed(OutboxDatabase *db);
extern void outbox_pending_passed(OutboxDatabase *db);
extern OutboxTask outbox_pending_task;

#endif /* OUTBOX_PENDING_H */
