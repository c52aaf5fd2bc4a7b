/*-------------------------------------------------------------------------
 *
 * to_dead_letter.c
 *	  Makes dead letters of events that raise errors when they are handled, or
 *	  crash the process (guard.c and crash_note.c say which). Each function is
 *	  a transaction of its own.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "poison/guard.h"
#include "retry/dead_letter_copies.h"
#include "retry/to_dead_letter.h"
#include "shared/figures.h"
#include "shared/my_relay.h"
#include "shared/relays.h"
#include "store/dead_letters.h"

/* Notes that it has been made, if so. */
static OutboxStoreStatus
note(OutboxStoreStatus status)
{
	if (status != OUTBOX_STORE_OK)
		return status;
	outbox_figures_dead(NULL, 1, false);
	outbox_dead_letter_copies_added();
	return OUTBOX_STORE_OK;
}

/*
 * Makes a dead letter of an event of outbox.event; or of outbox.delayed, from
 * where it is removed: one of each relay that would publish it. One that is
 * parked already stays as it is. no_copy: none
 * must be published to outbox.dead_letter_topic.
 */
OutboxStoreStatus
outbox_to_dead_letter(const char *relay, const char *table, uint64 id,
					  const char *error, bool no_copy)
{
	OutboxStoreStatus status = outbox_dead_letters_from_event(
		relay, table, id, error, no_copy, outbox_guard_may_be_event);

	if (status == OUTBOX_STORE_OK && strcmp(table, OUTBOX_DELAYED_TABLE) == 0)
	{
		/* others have one, too */
		pg_atomic_fetch_add_u32(&outbox_my_relay.db->dead_for_all, 1);
		outbox_relays_wake(outbox_my_relay.db);
	}
	return note(status);
}

/* The same for one that is parked; its row stays as it is. */
OutboxStoreStatus
outbox_to_dead_letter_parked(const char *relay, uint64 id, const char *error,
							 bool no_copy)
{
	return note(outbox_dead_letters_from_parked(relay, id, error, no_copy));
}
