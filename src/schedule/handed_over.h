/*-------------------------------------------------------------------------
 *
 * handed_over.h
 *	  Events of outbox_emit_now().
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_HANDED_OVER_H
#define OUTBOX_HANDED_OVER_H

#include "shared/task.h"

extern OutboxTask outbox_handed_over_task;

#endif /* OUTBOX_HANDED_OVER_H */
