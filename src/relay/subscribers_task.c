/*-------------------------------------------------------------------------
 *
 * subscribers_task.c
 *	  The chore that reads which subscriptions the database has, and tells
 *	  everybody (subscribers.c): when it is not known, since the server started,
 *	  and when somebody has changed that.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "relay/subscribers_task.h"
#include "shared/my_relay.h"
#include "store/subscription_list.h"

static bool
are_known(OutboxDatabase *db)
{
	bool known;

	LWLockAcquire(outbox_shmem->lock, LW_SHARED);
	known = outbox_subscribers_are_known(db);
	LWLockRelease(outbox_shmem->lock);
	return known;
}

static OutboxTaskResult
run(const OutboxRound *round)
{
	OutboxDatabase *db = outbox_my_relay.db;
	OutboxSubscriptionRows list;
	OutboxStoreStatus status;
	uint32 changes;

	(void) round;
	if (are_known(db))
		return OUTBOX_TASK_IDLE;
	changes = pg_atomic_read_u32(&db->subscribers.changes);
	/* the count first, then what it covers */
	pg_memory_barrier();
	status = outbox_subscription_list_read(&list);
	if (status == OUTBOX_STORE_OK)
		outbox_subscribers_store(db, &list, changes);
	return outbox_store_task_result(status, true);
}

OutboxTask outbox_subscribers_task = {
	.name = "reading subscriptions",
	.detail = "New ones do not begin; others go on.",
	.needs = OUTBOX_TASK_NEEDS_NOTHING,
	.care = OUTBOX_TASK_AS_ALWAYS,
	.chore = true,
	.run = run,
};
