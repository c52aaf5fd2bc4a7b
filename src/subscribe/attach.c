/*-------------------------------------------------------------------------
 *
 * attach.c
 *	  How a subscriber finds its subscription: is the extension there, is it of
 *	  our version; which subscription is this, and which of its workers; and
 *	  what does its row say.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "relay/attach.h"
#include "shared/my_relay.h"
#include "shared/relay_state.h"
#include "shared/times.h"
#include "shared/wait.h"
#include "store/extension.h"
#include "store/subscription_row.h"
#include "subscribe/attach.h"
#include "subscribe/subscriber.h"

OutboxSubscriber outbox_subscriber;

/* Makes this process the subscriber that it was started for. False if it is
 * not to be any more, or runs. */
static bool
become(void)
{
	OutboxDatabase *db = outbox_shmem_my_database();
	int number = outbox_my_relay.args.number;
	char name[NAMEDATALEN];

	LWLockAcquire(outbox_shmem->lock, LW_SHARED);
	strlcpy(name, outbox_slot_of(db, number)->name, sizeof(name));
	LWLockRelease(outbox_shmem->lock);
	if (name[0] == '\0' || !outbox_relay_state_attach(number, name))
		return false;
	outbox_my_relay.name = MemoryContextStrdup(TopMemoryContext, name);
	/* ours, and nobody else's while we are there */
	outbox_subscriber.worker = outbox_my_relay.subscriber->worker;
	outbox_my_relay_name_subscriber(outbox_subscriber.worker,
									outbox_my_relay.subscriber->workers);
	outbox_my_relay_lock();
	return true;
}

/* Takes over the row that has been read. False if the subscription is another
 * one, or has less workers. */
static bool
take(OutboxSubscription *new)
{
	OutboxSubscription *old = outbox_subscriber.subscription;

	if (new == NULL || outbox_subscriber.worker >= new->workers ||
		(old != NULL && old->created_at != new->created_at))
	{
		if (new != NULL)
			MemoryContextDelete(new->context);
		return false;
	}
	if (old == NULL || old->workers != new->workers)
		outbox_my_relay_name_subscriber(outbox_subscriber.worker,
										new->workers);
	outbox_subscriber.subscription = new;
	if (old != NULL)
		MemoryContextDelete(old->context);
	return true;
}

/*
 * Reads our row, which becomes outbox_subscriber.subscription; pointers into
 * the one before are not valid any more. If the status is OK, state becomes
 * STARTED, or DROPPED: the process is to end.
 */
OutboxStoreStatus
outbox_subscriber_look(OutboxLaunchState *state)
{
	uint32 seen_before = outbox_my_relay.changes_seen;
	OutboxSubscription *new;
	OutboxStoreStatus status;

	/* before the snapshot: what is changed after it is seen the next time */
	outbox_my_relay.changes_seen =
		pg_atomic_read_u32(outbox_my_relay_changes());
	pg_memory_barrier();
	status = outbox_subscription_row_read(outbox_my_relay.name, &new);
	if (status != OUTBOX_STORE_OK)
		outbox_my_relay.changes_seen = seen_before;
	else
		*state = take(new) ? OUTBOX_LAUNCH_STARTED : OUTBOX_LAUNCH_DROPPED;
	return status;
}

/*
 * Makes this process a subscriber of its database. Waits while others have
 * locked the tables, and while the extension is of another version. STARTED if
 * all is well, else why the process is to end. Raises an error if there is
 * another such process.
 */
OutboxLaunchState
outbox_subscriber_attach(void)
{
	if (!become())
		return OUTBOX_LAUNCH_FINISHED;
	for (;;)
	{
		OutboxLaunchState state = OUTBOX_LAUNCH_STARTED;
		char version[NAMEDATALEN];
		long retry_ms = OUTBOX_TABLES_RETRY_MS;
		OutboxStoreStatus status =
			outbox_store_version(version, sizeof(version));

		if (status == OUTBOX_STORE_OK && strcmp(version, OUTBOX_VERSION) != 0)
		{
			outbox_attach_report_incompatible(version);
			status = OUTBOX_STORE_BUSY;
			/* ALTER EXTENSION wakes us */
			retry_ms = OUTBOX_SAFETY_TICK_MS;
		}
		else if (status == OUTBOX_STORE_OK)
			status = outbox_subscriber_look(&state);
		if (status == OUTBOX_STORE_OK)
			return state;
		if (status == OUTBOX_STORE_ABSENT)
			return OUTBOX_LAUNCH_ABSENT;
		CHECK_FOR_INTERRUPTS();
		outbox_wait(retry_ms, OUTBOX_WAIT_SUBSCRIBER_START);
	}
}
