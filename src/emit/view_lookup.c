/*-------------------------------------------------------------------------
 *
 * view_lookup.c
 *	  Finds a row of a view of events by its id.
 *
 * An ORM that removes objects does so one by one, each by its id, and a
 * function in FROM gives all of its rows first: n rows would cost n * n. So
 * when a query of such a view asks for one id, outbox.event_view_rows() is told
 * which, and gives no others. The condition stays where it is, so that nothing
 * but the time depends on this.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "optimizer/clauses.h"
#include "optimizer/paths.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"

#include "emit/view_lookup.h"
#include "emit/view_rows.h"

#define FUNCTION_NAME "event_view_rows"

/* its arguments and the column of its result */
#define ARGS          2
#define ID_COLUMN     1

static set_rel_pathlist_hook_type next_hook = NULL;

/*
 * Is it ours? Its name tells little: where the extension is not, anybody may
 * have a schema "outbox", and a function with arguments of other types in it.
 */
static bool
is_view_rows(Oid function)
{
	char *name = get_func_name(function);
	FmgrInfo flinfo;

	/* first, for it costs less */
	if (name == NULL || strcmp(name, FUNCTION_NAME) != 0)
		return false;
	fmgr_info(function, &flinfo);
	return flinfo.fn_addr == outbox_event_view_rows;
}

/* The call of outbox.event_view_rows() for all rows that the relation is; NULL
 * if it is another one. */
static FuncExpr *
view_rows_call(const RangeTblEntry *rte)
{
	RangeTblFunction *function;
	FuncExpr *call;
	Const *id;

	if (list_length(rte->functions) != 1 || rte->funcordinality)
		return NULL;
	function = linitial_node(RangeTblFunction, rte->functions);
	call = (FuncExpr *) function->funcexpr;
	if (!IsA(call, FuncExpr) || list_length(call->args) != ARGS ||
		call->funcresulttype != RECORDOID)
		return NULL;
	id = lsecond(call->args);
	if (!IsA(id, Const) || !id->constisnull || id->consttype != UUIDOID)
		return NULL;
	return is_view_rows(call->funcid) ? call : NULL;
}

static bool
is_id_column(Node *node, Index relid)
{
	return IsA(node, Var) && ((Var *) node)->varno == (int) relid &&
		   ((Var *) node)->varattno == ID_COLUMN &&
		   ((Var *) node)->varlevelsup == 0;
}

/* What the clause says that the id is equal to; NULL if it says nothing, or
 * nothing that is known before the rows are */
static Node *
wanted_id(Expr *clause, Index relid)
{
	Node *left;
	Node *right;

	if (!is_opclause(clause) || list_length(((OpExpr *) clause)->args) != 2 ||
		get_opcode(((OpExpr *) clause)->opno) != F_UUID_EQ)
		return NULL;
	left = get_leftop(clause);
	right = get_rightop(clause);
	if (is_id_column(right, relid))
	{
		Node *other = left;

		left = right;
		right = other;
	}
	return is_id_column(left, relid) && is_pseudo_constant_clause(right)
			   ? right
			   : NULL;
}

static void
set_rel_pathlist(PlannerInfo *root, RelOptInfo *rel, Index rti,
				 RangeTblEntry *rte)
{
	FuncExpr *call;
	ListCell *cell;

	if (next_hook != NULL)
		next_hook(root, rel, rti, rte);
	if (rte->rtekind != RTE_FUNCTION || rel->baserestrictinfo == NIL)
		return;
	call = view_rows_call(rte);
	if (call == NULL)
		return;
	foreach (cell, rel->baserestrictinfo)
	{
		Node *id = wanted_id(lfirst_node(RestrictInfo, cell)->clause, rti);

		if (id != NULL)
		{
			lsecond(call->args) = copyObject(id);
			return;
		}
	}
}

/* Called once, while the postmaster loads the library. */
void
outbox_view_lookup_install_hooks(void)
{
	next_hook = set_rel_pathlist_hook;
	set_rel_pathlist_hook = set_rel_pathlist;
}
