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
	outbox_my_relay.name = OUTBOX_DEFAULT_RELAY;
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
