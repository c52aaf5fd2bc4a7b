/*-------------------------------------------------------------------------
 *
 * condition.c
 *	  Which rows of a table are published: those that an expression over their
 *	  columns is true of, as in a CHECK constraint or in WHERE.
 *
 * It is stored as text, and read with an empty search_path, so that it means
 * the same whoever changes the table. What is needed to evaluate it is made
 * once in a transaction, and ends with that, as functions in it may want.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/sysattr.h"
#include "executor/executor.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "optimizer/optimizer.h"
#include "parser/parse_clause.h"
#include "parser/parse_collate.h"
#include "parser/parse_node.h"
#include "parser/parse_relation.h"
#include "parser/parser.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "capture/condition.h"
#include "capture/settings.h"
#include "compat.h"

struct OutboxCaptureCondition
{
	Expr *expr;
	uint32 life; /* what follows is of */
	bool busy;   /* is being evaluated */
	ExprState *state;
	EState *executor;
};

/* counts transactions in which conditions were evaluated; even: not in this
 * one */
static uint32 lives = 0;

static void
end_life(void *arg)
{
	(void) arg;
	lives++;
}

/* The expression, if the text is one, and nothing else */
static Node *
parse(const char *text)
{
	List *statements = raw_parser(text, RAW_PARSE_PLPGSQL_EXPR);
	SelectStmt *rest = (SelectStmt *) linitial_node(RawStmt, statements)->stmt;
	List *targets = rest->targetList;

	rest->targetList = NIL;
	if (list_length(targets) != 1 || !equal(rest, makeNode(SelectStmt)))
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("\"%s\" is not a condition", text),
				 errhint("Write it as in WHERE: 'status = ''paid'''.")));
	return linitial_node(ResTarget, targets)->val;
}

/* Raises an error if it needs a column that is not there when triggers run. */
static void
check_columns(Relation rel, Node *expr)
{
	Bitmapset *columns = NULL;
	int member = -1;

	pull_varattnos(expr, 1, &columns);
	while ((member = bms_next_member(columns, member)) >= 0)
	{
		int number = member + FirstLowInvalidHeapAttributeNumber;

		if (number < 0 ||
			(number > 0 &&
			 TupleDescAttr(RelationGetDescr(rel), number - 1)->attgenerated ==
				 OUTBOX_GENERATED_VIRTUAL))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("a condition cannot use system columns or virtual "
							"generated columns")));
	}
}

/* Makes a condition of its text, in the current memory context. */
OutboxCaptureCondition *
outbox_capture_condition(Relation rel, const char *text)
{
	OutboxCaptureCondition *condition = palloc0(sizeof(*condition));
	ParseState *state = make_parsestate(NULL);
	int level = outbox_capture_pin_settings();
	ParseNamespaceItem *item;
	Node *expr;

	item = addRangeTableEntryForRelation(state, rel, AccessShareLock, NULL,
										 false, true);
	addNSItemToQuery(state, item, false, true, true);
	expr = transformWhereClause(state, parse(text), EXPR_KIND_TRIGGER_WHEN,
								"condition");
	assign_expr_collations(state, expr);
	check_columns(rel, expr);
	if (contain_mutable_functions(expr))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("functions in a condition must be immutable"),
				 errdetail("A row is gone for who reads when it is not wanted "
						   "any more, which must not happen by itself."),
				 errhint("Let it depend on columns of the row alone.")));
	condition->expr = (Expr *) expr;
	free_parsestate(state);
	outbox_capture_unpin_settings(level);
	return condition;
}

/* Makes what is needed in this transaction. If that fails, it ends with the
 * subtransaction. */
static void
begin(OutboxCaptureCondition *condition)
{
	MemoryContext old_context = MemoryContextSwitchTo(CurTransactionContext);
	EState *executor = CreateExecutorState();
	ExprState *state = ExecPrepareExpr(condition->expr, executor);

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
	condition->executor = executor;
	condition->state = state;
	condition->life = lives;
	condition->busy = false;
}

/* Is the row one of those that are published? */
bool
outbox_capture_is_wanted(const OutboxCapturePlan *plan, TupleTableSlot *row)
{
	OutboxCaptureCondition *condition = plan->condition;
	EState *executor;
	ExprContext *context;
	Datum wanted;
	bool is_null;

	if (condition == NULL)
		return true;
	/* busy: a function in it has changed the table */
	if (condition->life != lives || lives % 2 == 0 || condition->busy)
		begin(condition);
	condition->busy = true;
	executor = condition->executor;
	context = GetPerTupleExprContext(executor);
	context->ecxt_scantuple = row;
	PG_TRY();
	{
		wanted =
			ExecEvalExprSwitchContext(condition->state, context, &is_null);
	}
	PG_CATCH();
	{
		/* left as it is, it is not used again, and ends with the
		 * subtransaction */
		MemoryContextSetParent(executor->es_query_cxt, CurTransactionContext);
		if (condition->executor == executor)
			condition->life = 0;
		PG_RE_THROW();
	}
	PG_END_TRY();
	ResetExprContext(context);
	condition->busy = false;
	return !is_null && DatumGetBool(wanted);
}
