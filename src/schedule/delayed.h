/*-------------------------------------------------------------------------
 *
 * delayed.h
 *	  Events that are not due yet.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_DELAYED_H
#define OUTBOX_DELAYED_H

#include "outbox.h"

#include "datatype/timestamp.h"

#include "shared/shmem.h"
#include "store/transaction.h"

extern OutboxStoreStatus outbox_delayed_open(OutboxDatabase *db);
extern void outbox_delayed_undone(OutboxDatabase *db);
extern OutboxTaskResult outbox_delayed_run(OutboxDatabase *db,
										   const char *relay);
extern long outbox_delayed_timeout_ms(OutboxDatabase *db);

#endif /* OUTBOX_DELAYED_H */
