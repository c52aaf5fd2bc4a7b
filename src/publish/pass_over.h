/*-------------------------------------------------------------------------
 *
 * pass_over.h
 *	  The position moves on over events that this relay does not publish.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_PASS_OVER_H
#define OUTBOX_PASS_OVER_H

#include "shared/task.h"

extern OutboxTask outbox_pass_over_task;

#endif /* OUTBOX_PASS_OVER_H */
