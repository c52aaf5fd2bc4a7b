/*-------------------------------------------------------------------------
 *
 * publish.h
 *	  Events on their way from the store to the sink.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_PUBLISH_H
#define OUTBOX_PUBLISH_H

#include "shared/task.h"

extern OutboxTask outbox_publish_task;

#endif /* OUTBOX_PUBLISH_H */
