/*-------------------------------------------------------------------------
 *
 * prepared.c
 *	  What cannot be part of a prepared transaction.
 *
 * Relays are told of some things when their transaction commits, or kept away
 * until then. A prepared transaction belongs to no process, and commits in
 * any other, perhaps after a restart: nobody would know what to tell. So these
 * things are refused, as core refuses NOTIFY. What a rolled-back savepoint has
 * done does not count.
 *
 * Events themselves are refused in xact.c.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/xact.h"

#include "shared/prepared.h"

/* What the transaction has done, and in which of its levels; 0 = nothing. Of
 * several things, the one in the lowest level lasts the longest. */
static const char *done = NULL;
static int done_level = 0;

/* The current transaction has done this, and cannot be prepared any more. */
void
outbox_prepared_refuse(const char *deed)
{
	int level = GetCurrentTransactionNestLevel();

	if (done_level != 0 && done_level <= level)
		return;
	done = deed;
	done_level = level;
}

static void
xact_callback(XactEvent event, void *arg)
{
	(void) arg;

	if (event == XACT_EVENT_PRE_PREPARE && done_level != 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot PREPARE a transaction that has %s", done),
				 errhint("Use COMMIT, or do it in another "
						 "transaction.")));
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT ||
		event == XACT_EVENT_PREPARE)
		done_level = 0;
}

static void
subxact_callback(SubXactEvent event, SubTransactionId my_subid,
				 SubTransactionId parent_subid, void *arg)
{
	(void) my_subid;
	(void) parent_subid;
	(void) arg;

	if (done_level == 0 || done_level < GetCurrentTransactionNestLevel())
		return;
	if (event == SUBXACT_EVENT_COMMIT_SUB)
		done_level--;
	else if (event == SUBXACT_EVENT_ABORT_SUB)
		done_level = 0;
}

/* Called once, while the postmaster loads the library. */
void
outbox_prepared_install_hooks(void)
{
	RegisterXactCallback(xact_callback, NULL);
	RegisterSubXactCallback(subxact_callback, NULL);
}
