/*-------------------------------------------------------------------------
 *
 * retry.h
 *	  Blocked topics and keys, and the events that are tried again.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_RETRY_H
#define OUTBOX_RETRY_H

#include "shared/task.h"

extern OutboxTask outbox_retry_task;

#endif /* OUTBOX_RETRY_H */
