/*-------------------------------------------------------------------------
 *
 * due.h
 *	  When the first delayed event is due.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_DUE_H
#define OUTBOX_DUE_H

#include "shared/shmem.h"

extern void outbox_due_lower(OutboxDatabase *db, TimestampTz due);

#endif /* OUTBOX_DUE_H */
