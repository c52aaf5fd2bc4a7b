/*-------------------------------------------------------------------------
 *
 * addressed.h
 *	  Events that one relay alone publishes: up to which id there may be any.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_ADDRESSED_H
#define OUTBOX_ADDRESSED_H

#include "shared/shmem.h"

extern void outbox_addressed_raise(OutboxDatabase *db, uint64 id);
extern uint64 outbox_addressed_upto(OutboxDatabase *db);

#endif /* OUTBOX_ADDRESSED_H */
