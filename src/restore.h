/*-------------------------------------------------------------------------
 *
 * restore.h
 *	  Is somebody loading rows into the outbox?
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_RESTORE_H
#define OUTBOX_RESTORE_H

#include "shmem.h"

extern bool outbox_restore_is_under_way(OutboxDatabase *db);
extern void outbox_restore_check(OutboxDatabase *db);

#endif /* OUTBOX_RESTORE_H */
