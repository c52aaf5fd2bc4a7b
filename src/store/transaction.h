/*-------------------------------------------------------------------------
 *
 * transaction.h
 *	  The relay's transactions and their locks.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_TRANSACTION_H
#define OUTBOX_TRANSACTION_H

#include "outbox.h"

#include "storage/lockdefs.h"

#include "shared/task.h"

/* Whether the tables could be used */
typedef enum OutboxStoreStatus
{
	OUTBOX_STORE_OK,
	OUTBOX_STORE_BUSY,  /* somebody holds a strong lock: try again */
	OUTBOX_STORE_ABSENT /* the extension is not there, or not the same */
} OutboxStoreStatus;

/* What a task answers that has done what it could; worked: if all went well */
static inline OutboxTaskResult
outbox_store_task_result(OutboxStoreStatus status, bool worked)
{
	switch (status)
	{
		case OUTBOX_STORE_OK:
			return worked ? OUTBOX_TASK_WORKED : OUTBOX_TASK_IDLE;
		case OUTBOX_STORE_BUSY:
			return OUTBOX_TASK_BUSY;
		case OUTBOX_STORE_ABSENT:
			break;
	}
	return OUTBOX_TASK_ABSENT;
}

extern OutboxStoreStatus outbox_store_begin(const char *activity);
extern OutboxStoreStatus outbox_store_begin_emit(const char *activity,
												 const char *table);
extern OutboxStoreStatus outbox_store_begin_messages(const char *activity);
extern void outbox_store_begin_unlocked(const char *activity);
extern void outbox_store_end(void);
extern void outbox_store_undo(void);

/* in the current transaction */
extern OutboxStoreStatus outbox_store_lock(const char *name, LOCKMODE mode);
extern Oid outbox_store_relation(const char *name);
extern OutboxStoreStatus outbox_store_lock_segment(const char *prefix,
												   int segment, LOCKMODE mode);
extern OutboxStoreStatus outbox_store_lock_ring(const char *name,
												const char *prefix);
extern bool outbox_store_lock_whole(Oid table);
extern bool outbox_store_is_same(void);
extern ErrorData *outbox_store_subtransaction(void (*body)(void *arg),
											  void *arg);
extern void outbox_store_new_snapshot(void);
extern void outbox_store_limit_waits(int limit_ms);

extern MemoryContext outbox_store_argument_context(void);

#endif /* OUTBOX_TRANSACTION_H */
