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

#include "shared/shmem.h"
#include "store/transaction.h"

extern OutboxTaskResult outbox_replay_run(void);
extern long outbox_replay_timeout_ms(void);

#endif /* OUTBOX_REPLAY_H */
