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

extern OutboxStoreStatus outbox_delayed_open(void);
extern void outbox_delayed_undone(void);
extern OutboxTaskResult outbox_delayed_run(void);
extern long outbox_delayed_timeout_ms(void);

#endif /* OUTBOX_DELAYED_H */
