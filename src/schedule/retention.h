/*-------------------------------------------------------------------------
 *
 * retention.h
 *	  Space: segments are used in turn, and emptied.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_RETENTION_H
#define OUTBOX_RETENTION_H

#include "outbox.h"

#include "shared/shmem.h"
#include "store/transaction.h"

extern void outbox_retention_used(void);
extern void outbox_retention_reload(void);
extern OutboxTaskResult outbox_retention_run(uint64 position);
extern long outbox_retention_timeout_ms(void);

#endif /* OUTBOX_RETENTION_H */
