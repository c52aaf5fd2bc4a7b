/*-------------------------------------------------------------------------
 *
 * answers.h
 *	  What the stream's sink has to tell.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_ANSWERS_H
#define OUTBOX_ANSWERS_H

#include "publish/stream.h"
#include "shared/task.h"

extern OutboxTask outbox_answers_task;

extern bool outbox_answers_drain(OutboxStream *stream, long grace_ms);

#endif /* OUTBOX_ANSWERS_H */
