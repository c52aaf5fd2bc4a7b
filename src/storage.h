/*-------------------------------------------------------------------------
 *
 * storage.h
 *	  Space: segments are used in turn, and emptied.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_STORAGE_H
#define OUTBOX_STORAGE_H

#include "outbox.h"

#include "shmem.h"
#include "store.h"

extern void outbox_storage_used(void);
extern void outbox_storage_reload(void);
extern OutboxStoreStatus
outbox_storage_run(OutboxDatabase *db, const char *relay, uint64 position);
extern long outbox_storage_timeout_ms(void);

#endif /* OUTBOX_STORAGE_H */
