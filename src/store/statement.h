/*-------------------------------------------------------------------------
 *
 * statement.h
 *	  Statements of the relay, and their results.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_STATEMENT_H
#define OUTBOX_STATEMENT_H

#include "outbox.h"

#include "executor/spi.h"

#include "event.h"
#include "store/transaction.h"

#define OUTBOX_STATEMENT_ARGS 16

/* A statement, prepared when it is first needed */
typedef struct OutboxStatement
{
	const char *sql;
	const char *table; /* locked for it, beside what each transaction locks */
	LOCKMODE table_lock;
	bool read_only;
	int nargs;
	Oid types[OUTBOX_STATEMENT_ARGS];
	SPIPlanPtr plan;
} OutboxStatement;

/* Takes the result of a statement of so many rows, in its transaction */
typedef void (*OutboxResultConsumer)(uint64 rows, void *arg);

/* in a transaction of their own */
extern OutboxStoreStatus outbox_store_call(const char *activity,
										   OutboxStatement *statement,
										   Datum *values, const char *nulls);
extern OutboxStoreStatus
outbox_store_query(const char *activity, OutboxStatement *statement,
				   Datum *values, OutboxResultConsumer consumer, void *arg);

extern OutboxStoreStatus
outbox_store_begin_for(const char *activity, const OutboxStatement *statement);

/* in the current transaction */
extern SPIPlanPtr outbox_store_plan(OutboxStatement *statement);
extern uint64 outbox_store_execute(OutboxStatement *statement, Datum *values,
								   const char *nulls);
extern void outbox_store_run(const char *sql);
extern bool outbox_store_try(const char *sql);

/* arguments and results */
extern Datum outbox_store_text(const char *string);
extern Datum outbox_store_ids(const uint64 *ids, int count);
extern int64 outbox_store_result(uint64 row, int column);
extern char *outbox_store_string(uint64 row, int column);
extern bool outbox_store_is_null(uint64 row, int column);

#endif /* OUTBOX_STATEMENT_H */
