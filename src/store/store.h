/*-------------------------------------------------------------------------
 *
 * store.h
 *	  The outbox as the relay reads and writes it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_STORE_H
#define OUTBOX_STORE_H

#include "outbox.h"

#include "datatype/timestamp.h"
#include "executor/spi.h"
#include "storage/lockdefs.h"

#include "event.h"
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

/* A query, prepared when it is first needed */
#define OUTBOX_STATEMENT_ARGS 15

typedef struct OutboxStatement
{
	const char *sql;
	bool read_only;
	int nargs;
	Oid types[OUTBOX_STATEMENT_ARGS];
	SPIPlanPtr plan;
} OutboxStatement;

extern OutboxStoreStatus outbox_store_version(char *version, int size);
extern void outbox_store_leave_subscriptions(void);

/* for other files with SQL of the relay */
extern OutboxStoreStatus outbox_store_begin(const char *activity);
extern OutboxStoreStatus outbox_store_begin_emit(const char *activity,
												 const char *table);
extern void outbox_store_end(void);
extern Datum outbox_store_ids(const uint64 *ids, int count);
extern SPIPlanPtr outbox_store_plan(OutboxStatement *statement);
extern uint64 outbox_store_execute(OutboxStatement *statement, Datum *values,
								   const char *nulls);
extern void outbox_store_fill_event(OutboxEvent *event, const Datum *values,
									const bool *nulls);
extern uint64 outbox_store_stream(OutboxStatement *statement, Datum *values,
								  const char *nulls,
								  OutboxEventConsumer consumer, void *arg);
extern OutboxStoreStatus outbox_store_lock(const char *name, LOCKMODE mode);
extern Oid outbox_store_relation(const char *name);
extern OutboxStoreStatus outbox_store_lock_segment(const char *prefix,
												   int segment, LOCKMODE mode);
extern OutboxStoreStatus outbox_store_lock_ring(const char *name,
												const char *prefix);
extern bool outbox_store_lock_whole(Oid table);
extern void outbox_store_run(const char *sql);
extern bool outbox_store_try(const char *sql);
extern void outbox_store_limit_waits(int limit_ms);
extern int64 outbox_store_result(int column);
extern void outbox_store_new_snapshot(void);

#endif /* OUTBOX_STORE_H */
