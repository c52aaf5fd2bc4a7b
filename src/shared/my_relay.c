/*-------------------------------------------------------------------------
 *
 * my_relay.c
 *	  Which relay this process is: learned step by step when it starts, and
 *	  the same until it ends. Nobody else keeps a copy.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/memutils.h"

#include "shared/my_relay.h"

/* class of our advisory lock, beside the 1 and 2 that SQL functions use */
#define RELAY_LOCK_CLASS 0x6f62

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
	outbox_my_relay.label =
		psprintf("outbox relay for database \"%s\"", database);
	MemoryContextSwitchTo(old_context);
}

/* Has somebody changed outbox.relay since this relay has read its row? */
bool
outbox_my_relay_has_changed(void)
{
	return outbox_my_relay.db != NULL &&
		   pg_atomic_read_u32(&outbox_my_relay.db->relay_changes) !=
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

/* One process for each relay of a database, whoever starts it: raises 55006 if
 * there is another one. */
void
outbox_my_relay_lock(void)
{
	LOCKTAG tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, (uint32) outbox_my_relay.number,
						 RELAY_LOCK_CLASS);
	if (LockAcquire(&tag, ExclusiveLock, true, true) == LOCKACQUIRE_NOT_AVAIL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE),
						errmsg("another outbox relay \"%s\" is active in "
							   "this database",
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
