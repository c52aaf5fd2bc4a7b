/*-------------------------------------------------------------------------
 *
 * retry.h
 *	  Blocked topics and keys, and the events that are tried again.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_RETRY_H
#define OUTBOX_RETRY_H

#include "shared/shmem.h"
#include "sink/sink.h"
#include "store/parked.h"

extern void outbox_retry_init(const OutboxSinkApi *api);
extern OutboxTaskResult outbox_retry_run(const OutboxSinkConfig *config,
										 uint64 position);
extern long outbox_retry_timeout_ms(void);
extern void outbox_retry_drain(uint64 position, long grace_ms);
extern void outbox_retry_close(void);

#endif /* OUTBOX_RETRY_H */
