/*-------------------------------------------------------------------------
 *
 * commit_times.h
 *	  When the last transactions that emitted events have committed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_COMMIT_TIMES_H
#define OUTBOX_COMMIT_TIMES_H

#include "shared/shmem.h"

extern void outbox_commit_times_note(OutboxDatabase *db, uint64 first_id,
									 uint64 last_id);
extern TimestampTz outbox_commit_times_of(OutboxDatabase *db, uint64 id);

#endif /* OUTBOX_COMMIT_TIMES_H */
