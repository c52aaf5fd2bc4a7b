/*-------------------------------------------------------------------------
 *
 * statement.c
 *	  Statements of the relay: prepared when they are first needed, run with
 *	  arguments, in a transaction of their own or in the current one, and their
 *	  results.
 *
 * Arguments can be made before their transaction begins: they live until it
 * has ended.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include <signal.h>

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "tcop/tcopprot.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "shared/shutdown.h"
#include "store/statement.h"

/* Begins a transaction with what a statement needs; it has ended already
 * unless the answer is OK. */
OutboxStoreStatus
outbox_store_begin_for(const char *activity, const OutboxStatement *statement)
{
	OutboxStoreStatus status = outbox_store_begin(activity);

	if (status != OUTBOX_STORE_OK || statement->table == NULL)
		return status;
	status = outbox_store_lock(statement->table, statement->table_lock);
	if (status != OUTBOX_STORE_OK)
		outbox_store_end();
	return status;
}

/* Runs a statement in a transaction of its own. Gives the result to the
 * consumer, unless that is NULL. */
static OutboxStoreStatus
run_alone(const char *activity, OutboxStatement *statement, Datum *values,
		  const char *nulls, OutboxResultConsumer consumer, void *arg)
{
	OutboxStoreStatus status = outbox_store_begin_for(activity, statement);
	uint64 rows;

	if (status != OUTBOX_STORE_OK)
		return status;
	rows = outbox_store_execute(statement, values, nulls);
	if (consumer != NULL)
		consumer(rows, arg);
	outbox_store_end();
	return OUTBOX_STORE_OK;
}

/* Runs a statement in a transaction of its own. nulls may be NULL, as SPI's. */
OutboxStoreStatus
outbox_store_call(const char *activity, OutboxStatement *statement,
				  Datum *values, const char *nulls)
{
	return run_alone(activity, statement, values, nulls, NULL, NULL);
}

/* The same; gives the result to the consumer. */
OutboxStoreStatus
outbox_store_query(const char *activity, OutboxStatement *statement,
				   Datum *values, OutboxResultConsumer consumer, void *arg)
{
	return run_alone(activity, statement, values, NULL, consumer, arg);
}

/* The plan of a statement, made when it is first needed */
SPIPlanPtr
outbox_store_plan(OutboxStatement *statement)
{
	if (statement->plan == NULL)
	{
		SPIPlanPtr plan =
			SPI_prepare(statement->sql, statement->nargs, statement->types);

		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "could not prepare \"%s\": %s", statement->sql,
				 SPI_result_code_string(SPI_result));
		statement->plan = plan;
	}
	return statement->plan;
}

/* Runs a statement in the current transaction; its result is SPI's. Returns
 * how many rows it has read or written. */
uint64
outbox_store_execute(OutboxStatement *statement, Datum *values,
					 const char *nulls)
{
	int result = SPI_execute_plan(outbox_store_plan(statement), values, nulls,
								  statement->read_only, 0);

	if (result < 0)
		elog(ERROR, "query \"%s\" failed: %s", statement->sql,
			 SPI_result_code_string(result));
	return SPI_processed;
}

/* Runs a statement that is not worth a plan; its result is SPI's. */
void
outbox_store_run(const char *sql)
{
	int result = SPI_execute(sql, false, 0);

	if (result < 0)
		elog(ERROR, "query \"%s\" failed: %s", sql,
			 SPI_result_code_string(result));
}

static void
run(void *sql)
{
	outbox_store_run(sql);
}

/* Runs a statement in a subtransaction; false if it fails, told in the log
 * unless it only would have had to wait, or SIGTERM has cancelled it. */
static bool
run_or_undo(const char *sql)
{
	ErrorData *error =
		outbox_store_subtransaction(run, unconstify(char *, sql));

	if (error == NULL)
		return true;
	if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE &&
		!outbox_shutdown_is_reason(error->sqlerrcode))
		ereport(WARNING, (errmsg("outbox could not run \"%s\"", sql),
						  errdetail_internal("%s", error->message)));
	FreeErrorData(error);
	return false;
}

/*
 * Runs a statement that changes the catalog, for which others can make it
 * wait in spite of all locks on our tables: an open transaction with a GRANT,
 * for instance. False if it does not succeed at once.
 */
bool
outbox_store_try(const char *sql)
{
	bool ok;

	outbox_store_run("SET LOCAL lock_timeout = 1");
	/* by which a timeout is told */
	pqsignal(SIGINT, StatementCancelHandler);
	ok = run_or_undo(sql);
	pqsignal(SIGINT, SIG_IGN);
	QueryCancelPending = false;
	return ok;
}

/* A text, as an argument of a statement */
Datum
outbox_store_text(const char *string)
{
	MemoryContext old_context =
		MemoryContextSwitchTo(outbox_store_argument_context());
	Datum datum = CStringGetTextDatum(string);

	MemoryContextSwitchTo(old_context);
	return datum;
}

/* An array of ids, as an argument of a statement */
Datum
outbox_store_ids(const uint64 *ids, int count)
{
	MemoryContext old_context =
		MemoryContextSwitchTo(outbox_store_argument_context());
	Datum *datums = palloc(count * sizeof(Datum));
	ArrayType *array;

	for (int i = 0; i < count; i++)
		datums[i] = Int64GetDatum((int64) ids[i]);
	array = construct_array(datums, count, INT8OID, sizeof(int64),
							FLOAT8PASSBYVAL, TYPALIGN_DOUBLE);
	MemoryContextSwitchTo(old_context);
	return PointerGetDatum(array);
}

/* A column (from 1 on) of a row (from 0 on) of the last result; 0 for null */
int64
outbox_store_result(uint64 row, int column)
{
	bool is_null;
	Datum value = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc,
								column, &is_null);

	return is_null ? 0 : DatumGetInt64(value);
}

/* The same as a string; NULL for null */
char *
outbox_store_string(uint64 row, int column)
{
	return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc,
						column);
}

/* Is that column null? */
bool
outbox_store_is_null(uint64 row, int column)
{
	bool is_null;

	(void) SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc,
						 column, &is_null);
	return is_null;
}
