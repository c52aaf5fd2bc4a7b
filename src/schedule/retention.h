/*-------------------------------------------------------------------------
 *
 * retention.h
 *	  Space: segments are used in turn, and emptied.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_RETENTION_H
#define OUTBOX_RETENTION_H

#include "shared/task.h"

extern OutboxTask outbox_retention_task;

extern void outbox_retention_used(void);

#endif /* OUTBOX_RETENTION_H */
