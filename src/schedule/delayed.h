/*-------------------------------------------------------------------------
 *
 * delayed.h
 *	  Events that are not due yet.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_DELAYED_H
#define OUTBOX_DELAYED_H

#include "outbox.h"

#include "shared/task.h"

extern OutboxTask outbox_delayed_task;

#endif /* OUTBOX_DELAYED_H */
