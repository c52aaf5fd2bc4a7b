/*-------------------------------------------------------------------------
 *
 * condition.c
 *	  Which rows of a table are published: those that an expression over their
 *	  columns is true of, as in a CHECK constraint or in WHERE.
 *
 * It is stored as text, and read with an empty search_path, so that it means
 * the same whoever changes the table.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/sysattr.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "optimizer/optimizer.h"
#include "parser/parse_clause.h"
#include "parser/parse_collate.h"
#include "parser/parse_node.h"
#include "parser/parse_relation.h"
#include "parser/parser.h"
#include "utils/rel.h"

#include "capture/condition.h"
#include "capture/settings.h"
#include "compat.h"

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
check_columns(Node *expr)
{
	Bitmapset *columns = NULL;
	int member = -1;

	pull_varattnos(expr, 1, &columns);
	while ((member = bms_next_member(columns, member)) >= 0)
	{
		int number = member + FirstLowInvalidHeapAttributeNumber;

		if (number < 0)
			ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
							errmsg("a condition cannot use system columns")));
	}
}

/* Makes a condition of its text, in the current memory context. */
OutboxCaptureExpression *
outbox_capture_condition(Relation rel, const char *text)
{
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
	check_columns(expr);
	if (contain_mutable_functions(expr))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("functions in a condition must be immutable"),
				 errdetail("A row is gone for who reads when it is not wanted "
						   "any more, which must not happen by itself."),
				 errhint("Let it depend on columns of the row alone.")));
	expr = outbox_expand_generated_columns(expr, rel);
	free_parsestate(state);
	outbox_capture_unpin_settings(level);
	return outbox_capture_expression(expr);
}

/* Is the row one of those that are published? */
bool
outbox_capture_is_wanted(const OutboxCapturePlan *plan, TupleTableSlot *row)
{
	bool is_null;
	Datum wanted;

	if (plan->condition == NULL)
		return true;
	wanted = outbox_capture_evaluate(plan->condition, row, &is_null);
	return !is_null && DatumGetBool(wanted);
}
