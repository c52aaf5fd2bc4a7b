/*-------------------------------------------------------------------------
 *
 * load_guard.h
 *	  Is somebody loading rows into the outbox?
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_LOAD_GUARD_H
#define OUTBOX_LOAD_GUARD_H

#include "shared/shmem.h"

extern bool outbox_load_guard_is_under_way(OutboxDatabase *db);
extern void outbox_load_guard_check(OutboxDatabase *db);
extern void outbox_load_guard_end(void);

#endif /* OUTBOX_LOAD_GUARD_H */
