/*-------------------------------------------------------------------------
 *
 * replay.h
 *	  Events that are published once more.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_REPLAY_H
#define OUTBOX_REPLAY_H

#include "outbox.h"

#include "shared/task.h"

extern OutboxTask outbox_replay_task;

#endif /* OUTBOX_REPLAY_H */
