/*-------------------------------------------------------------------------
 *
 * my_relay.c
 *	  Which relay this process is, or which subscriber: learned step by step
 *	  when it starts, and the same until it ends. Nobody else keeps a copy.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/memutils.h"

#include "shared/my_relay.h"

/* classes of our advisory locks, beside the 1 and 2 that SQL functions use */
#define RELAY_LOCK_CLASS      0x6f62
#define SUBSCRIBER_LOCK_CLASS 0x6f73

OutboxMyRelay outbox_my_relay;

/* First of all: for what the launcher has started us */
void
outbox_my_relay_init(const OutboxRelayArgs *args)
{
	outbox_my_relay.args = *args;
	outbox_my_relay.number = args->number;
}

/* Once we are connected: lines of the log say which database it is. */
void
outbox_my_relay_name_database(const char *database)
{
	MemoryContext old_context = MemoryContextSwitchTo(TopMemoryContext);

	outbox_my_relay.database = pstrdup(database);
	outbox_my_relay.label = psprintf(
		"outbox %s for database \"%s\"",
		outbox_my_relay_is_subscriber() ? "subscriber" : "relay", database);
	MemoryContextSwitchTo(old_context);
}

bool
outbox_my_relay_is_subscriber(void)
{
	return outbox_kind_of(outbox_my_relay.args.number) ==
		   OUTBOX_KIND_SUBSCRIBER;
}

/* What counts the changes of the table that has our row */
pg_atomic_uint32 *
outbox_my_relay_changes(void)
{
	OutboxDatabase *db = outbox_my_relay.db;

	return outbox_my_relay_is_subscriber() ? &db->subscribers.changes
										   : &db->relay_changes;
}

/* Has somebody changed outbox.relay since this relay has read its row? Or
 * outbox.subscription, since this subscriber has. */
bool
outbox_my_relay_has_changed(void)
{
	return outbox_my_relay.db != NULL &&
		   pg_atomic_read_u32(outbox_my_relay_changes()) !=
			   outbox_my_relay.changes_seen;
}

/* Once it is known which of several relays this is: they say that, too. */
void
outbox_my_relay_name(int number, const char *name)
{
	MemoryContext old_context = MemoryContextSwitchTo(TopMemoryContext);

	outbox_my_relay.number = number;
	outbox_my_relay.name = pstrdup(name);
	if (strcmp(name, OUTBOX_DEFAULT_RELAY) != 0)
		outbox_my_relay.label =
			psprintf("outbox relay \"%s\" for database \"%s\"", name,
					 outbox_my_relay.database);
	MemoryContextSwitchTo(old_context);
}

/* Which subscriber this is: of the subscription whose name is known, and of its
 * workers, which is said if there are several. That may change. */
void
outbox_my_relay_name_subscriber(int worker, int workers)
{
	MemoryContext old_context = MemoryContextSwitchTo(TopMemoryContext);
	char *of_several = workers > 1 ? psprintf(", worker %d", worker) : NULL;

	/* the one before stays: whoever has it may still show it */
	outbox_my_relay.label = psprintf(
		"outbox subscriber \"%s\" for database \"%s\"%s", outbox_my_relay.name,
		outbox_my_relay.database, of_several ? of_several : "");
	MemoryContextSwitchTo(old_context);
}

/* One process for each relay of a database, whoever starts it, and for each
 * worker of a subscription: raises 55006 if there is another one. */
void
outbox_my_relay_lock(void)
{
	const OutboxSubscriberSlot *subscriber = outbox_my_relay.subscriber;
	LOCKTAG tag;

	if (subscriber == NULL)
		SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0,
							 (uint32) outbox_my_relay.number,
							 RELAY_LOCK_CLASS);
	else
		SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) subscriber->number,
							 (uint32) subscriber->worker,
							 SUBSCRIBER_LOCK_CLASS);
	if (LockAcquire(&tag, ExclusiveLock, true, true) == LOCKACQUIRE_NOT_AVAIL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE),
						errmsg("another outbox %s \"%s\" is active in "
							   "this database",
							   subscriber ? "subscriber" : "relay",
							   outbox_my_relay.name)));
}

/* Functions of users have run here: nobody else would give back the advisory
 * locks that they have left to the session, or take ours again. */
void
outbox_my_relay_lock_alone(void)
{
	LockReleaseSession(USER_LOCKMETHOD);
	outbox_my_relay_lock();
}
