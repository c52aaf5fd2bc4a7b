/*-------------------------------------------------------------------------
 *
 * expression.c
 *	  Expressions over the columns of a row: conditions, and virtual generated
 *	  columns, which are not there when triggers run.
 *
 * What is needed to evaluate one is made once in a transaction, and ends with
 * that, as functions in it may want.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/transam.h"
#include "executor/executor.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "capture/expression.h"
#include "compat.h"

struct OutboxCaptureExpression
{
	Expr *expr;
	/* of its result, to copy it */
	bool by_value;
	int16 length;
	uint32 life; /* what follows is of */
	bool busy;   /* is being evaluated */
	ExprState *state;
	EState *executor;
};

/* counts transactions in which expressions were evaluated; even: not in this
 * one */
static uint32 lives = 0;

static void
end_life(void *arg)
{
	(void) arg;
	lives++;
}

/* Makes one, in the current memory context, of an expression in which the row
 * is the first relation. */
OutboxCaptureExpression *
outbox_capture_expression(Node *expr)
{
	OutboxCaptureExpression *expression = palloc0(sizeof(*expression));

	expression->expr = (Expr *) expr;
	get_typlenbyval(exprType(expr), &expression->length,
					&expression->by_value);
	return expression;
}

static bool
is_users_function(Oid function, void *context)
{
	(void) context;
	return function >= FirstNormalObjectId;
}

/* Does an expression call a function that users have written, by an operator
 * or a check of a domain, perhaps? */
static bool
calls_users(Node *node, void *context)
{
	if (node == NULL)
		return false;
	return IsA(node, CoerceToDomain) ||
		   check_functions_in_node(node, is_users_function, NULL) ||
		   outbox_walk_expression(node, calls_users, context);
}

/* Does it call functions that users have written? */
bool
outbox_capture_expression_is_users(const OutboxCaptureExpression *expression)
{
	return calls_users((Node *) expression->expr, NULL);
}

/* Makes what is needed in this transaction. If that fails, it ends with the
 * subtransaction. */
static void
begin(OutboxCaptureExpression *expression)
{
	MemoryContext old_context = MemoryContextSwitchTo(CurTransactionContext);
	EState *executor = CreateExecutorState();
	ExprState *state = ExecPrepareExpr(expression->expr, executor);

	MemoryContextSwitchTo(old_context);
	if (lives % 2 == 0)
	{
		MemoryContextCallback *callback = MemoryContextAllocZero(
			TopTransactionContext, sizeof(MemoryContextCallback));

		callback->func = end_life;
		MemoryContextRegisterResetCallback(TopTransactionContext, callback);
		lives++;
	}
	MemoryContextSetParent(executor->es_query_cxt, TopTransactionContext);
	expression->executor = executor;
	expression->state = state;
	expression->life = lives;
	expression->busy = false;
}

/* The value for a row, in the current memory context */
Datum
outbox_capture_evaluate(OutboxCaptureExpression *expression,
						TupleTableSlot *row, bool *is_null)
{
	EState *executor;
	ExprContext *context;
	Datum value;

	/* busy: a function in it has changed the table */
	if (expression->life != lives || lives % 2 == 0 || expression->busy)
		begin(expression);
	expression->busy = true;
	executor = expression->executor;
	context = GetPerTupleExprContext(executor);
	context->ecxt_scantuple = row;
	PG_TRY();
	{
		value = ExecEvalExprSwitchContext(expression->state, context, is_null);
	}
	PG_CATCH();
	{
		/* left as it is, it is not used again, and ends with the
		 * subtransaction */
		MemoryContextSetParent(executor->es_query_cxt, CurTransactionContext);
		if (expression->executor == executor)
			expression->life = 0;
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (!*is_null)
		value = datumCopy(value, expression->by_value, expression->length);
	ResetExprContext(context);
	expression->busy = false;
	return value;
}
