/*-------------------------------------------------------------------------
 *
 * reset_figures.c
 *	  outbox.reset_figures(): lets the figures of relays begin anew, once the
 *	  transaction has committed; so they do not without its row in
 *	  outbox.audit.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/xact.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "monitor/reset_figures.h"
#include "shared/figures.h"
#include "shared/prepared.h"
#include "shared/shmem.h"

PG_FUNCTION_INFO_V1(outbox_reset_figures);

/* What the current transaction has asked for, in its memory */
typedef struct Wish
{
	struct Wish *next;
	int level; /* of the subtransaction */
	char relay[FLEXIBLE_ARRAY_MEMBER];
} Wish;

static Wish *wishes = NULL; /* the last one first: levels do not grow */

/* outbox.reset_figures(relay): false if it has none */
Datum
outbox_reset_figures(PG_FUNCTION_ARGS)
{
	char *relay = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Wish *wish;

	outbox_shmem_require();
	if (!outbox_figures_exist(relay))
		PG_RETURN_BOOL(false);
	wish = MemoryContextAlloc(TopTransactionContext,
							  offsetof(Wish, relay) + strlen(relay) + 1);
	strcpy(wish->relay, relay);
	wish->level = GetCurrentTransactionNestLevel();
	wish->next = wishes;
	wishes = wish;
	outbox_prepared_refuse("reset figures");
	PG_RETURN_BOOL(true);
}

static void
xact_callback(XactEvent event, void *arg)
{
	(void) arg;
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT &&
		event != XACT_EVENT_PREPARE)
		return;
	for (Wish *wish = wishes; wish != NULL; wish = wish->next)
	{
		if (event == XACT_EVENT_COMMIT)
			outbox_figures_reset(wish->relay);
	}
	wishes = NULL;
}

static void
subxact_callback(SubXactEvent event, SubTransactionId my_subid,
				 SubTransactionId parent_subid, void *arg)
{
	int level = GetCurrentTransactionNestLevel();

	(void) my_subid;
	(void) parent_subid;
	(void) arg;
	if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		while (wishes != NULL && wishes->level >= level)
			wishes = wishes->next;
	}
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		for (Wish *wish = wishes; wish != NULL; wish = wish->next)
			wish->level = Min(wish->level, level - 1);
	}
}

/* Called once, while the postmaster loads the library. */
void
outbox_reset_figures_install_hooks(void)
{
	RegisterXactCallback(xact_callback, NULL);
	RegisterSubXactCallback(subxact_callback, NULL);
}
