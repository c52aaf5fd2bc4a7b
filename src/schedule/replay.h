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

extern OutboxTaskResult outbox_replay_run(OutboxDatabase *db);
extern long outbox_replay_timeout_ms(OutboxDatabase *db);

#endif /* OUTBOX_REPLAY_H */
