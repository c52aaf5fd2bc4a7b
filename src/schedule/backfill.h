/*-------------------------------------------------------------------------
 *
 * backfill.h
 *	  Rows that tables have already are published.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_BACKFILL_H
#define OUTBOX_BACKFILL_H

#include "outbox.h"

#include "shared/task.h"

extern OutboxTask outbox_backfill_task;

#endif /* OUTBOX_BACKFILL_H */
