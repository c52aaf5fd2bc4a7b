/*-------------------------------------------------------------------------
 *
 * subscription_change.c
 *	  Functions that make and change subscriptions: tells the subscribers, and a
 *	  relay, once the transaction has committed.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/xact.h"
#include "fmgr.h"

#include "shared/chores.h"
#include "shared/prepared.h"
#include "shared/relays.h"
#include "shared/subscribers.h"

PG_FUNCTION_INFO_V1(outbox_subscriptions_changed);

/* What the current transaction has done */
static bool subscriptions_changed = false;

/* It has committed: who is to look again? */
static void
notify_subscriptions_changed(void)
{
	OutboxDatabase *db = outbox_shmem_my_database();

	pg_atomic_fetch_add_u32(&db->subscribers.changes, 1);
	/* a relay tells which there are; it may have ended for want of work */
	outbox_chores_wanted(db);
	outbox_relays_wake(db);
	outbox_subscribers_wake(db);
}

static void
xact_callback(XactEvent event, void *arg)
{
	(void) arg;

	switch (event)
	{
		case XACT_EVENT_COMMIT:
			if (subscriptions_changed)
				notify_subscriptions_changed();
			subscriptions_changed = false;
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			subscriptions_changed = false;
			break;
		default:
			break;
	}
}

/*
 * outbox.subscriptions_changed(): the subscribers look at outbox.subscription,
 * its offsets and its parked messages again once this transaction has
 * committed.
 */
Datum
outbox_subscriptions_changed(PG_FUNCTION_ARGS)
{
	static bool registered = false;

	(void) fcinfo;
	if (outbox_shmem == NULL)
		PG_RETURN_VOID();
	if (!registered)
		RegisterXactCallback(xact_callback, NULL);
	registered = true;
	/* so that nothing is left to fail after the commit */
	outbox_shmem_my_database();
	outbox_prepared_refuse("changed subscriptions");
	subscriptions_changed = true;
	PG_RETURN_VOID();
}
