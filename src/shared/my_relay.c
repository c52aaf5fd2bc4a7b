/*-------------------------------------------------------------------------
 *
 * my_relay.c
 *	  Which relay this process is: learned step by step when it starts, and
 *	  the same until it ends. Nobody else keeps a copy.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "utils/memutils.h"

#include "shared/my_relay.h"

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
