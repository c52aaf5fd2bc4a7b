/*-------------------------------------------------------------------------
 *
 * roster.c
 *	  Which relays the database has, and which of them this process is. It
 *	  looks when it begins, and whenever outbox.relay has been changed, and
 *	  tells everybody what it has found (relays.c).
 *
 * The launcher starts a process for a certain relay, by its number; or, as
 * long as nobody knows which there are, for the first one that does not run.
 * A process stays the relay that it has become. When its row is gone, it ends
 * (relay.c).
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "relay/roster.h"
#include "shared/figures.h"
#include "shared/my_relay.h"
#include "shared/relay_state.h"
#include "shared/relays.h"
#include "store/relay_list.h"
#include "store/relay_row.h"

/* Makes this process that relay, if it may be. */
static bool
become(int number, const char *name)
{
	if (!outbox_relay_state_attach(number, name))
		return false;
	outbox_my_relay_name(number, name);
	outbox_my_relay_lock();
	outbox_figures_attach();
	return true;
}

/* The row of the relay of that number, or NULL */
static const OutboxRelayRow *
find_row(const OutboxRelayRows *list, int number)
{
	for (int i = 0; i < list->count; i++)
	{
		if (list->rows[i].number == number)
			return &list->rows[i];
	}
	return NULL;
}

/*
 * Makes this process the relay that it was started for, or the first one that
 * does not run. STARTED, or why there is nothing to do.
 */
static OutboxLaunchState
become_one_of(const OutboxRelayRows *list)
{
	int number = outbox_my_relay.args.number;

	/* which is an error, and told by that relay */
	if (list->count == 0)
		return become(Max(number, 0), OUTBOX_DEFAULT_RELAY)
				   ? OUTBOX_LAUNCH_STARTED
				   : OUTBOX_LAUNCH_FINISHED;
	if (number >= 0)
	{
		const OutboxRelayRow *row = find_row(list, number);

		if (row == NULL)
			return OUTBOX_LAUNCH_DROPPED;
		return become(number, row->name) ? OUTBOX_LAUNCH_STARTED
										 : OUTBOX_LAUNCH_FINISHED;
	}
	for (int i = 0; i < list->count; i++)
	{
		if (become(list->rows[i].number, list->rows[i].name))
			return OUTBOX_LAUNCH_STARTED;
	}
	return OUTBOX_LAUNCH_FINISHED;
}

/*
 * outbox.relay cannot be read, being of another version: this process is the
 * relay that it was started for, or the first one.
 */
OutboxLaunchState
outbox_roster_guess(void)
{
	OutboxDatabase *db = outbox_shmem_my_database();
	int number = Max(outbox_my_relay.args.number, 0);
	char name[NAMEDATALEN];

	if (outbox_my_relay.slot != NULL)
		return OUTBOX_LAUNCH_STARTED;
	LWLockAcquire(outbox_shmem->lock, LW_SHARED);
	strlcpy(name, db->relays[number].name, sizeof(name));
	LWLockRelease(outbox_shmem->lock);
	return become(number, name[0] != '\0' ? name : OUTBOX_DEFAULT_RELAY)
			   ? OUTBOX_LAUNCH_STARTED
			   : OUTBOX_LAUNCH_FINISHED;
}

/*
 * Reads which relays there are, tells everybody, becomes one of them, unless
 * this process is one already, and reads its row. If the status is OK, state
 * becomes STARTED, or why the process is to end: DROPPED if there is no such
 * relay. An outbox that has lost all of them is another matter, which is told
 * when the position is read or written.
 */
OutboxStoreStatus
outbox_roster_look(OutboxLaunchState *state)
{
	OutboxDatabase *db = outbox_shmem_my_database();
	uint32 seen_before = outbox_my_relay.changes_seen;
	uint32 changes = pg_atomic_read_u32(&db->relay_changes);
	OutboxRelayRows list;
	OutboxStoreStatus status;
	bool found = true;

	/* the count first, then what it covers */
	pg_memory_barrier();
	outbox_my_relay.changes_seen = changes;
	*state = OUTBOX_LAUNCH_STARTED;
	status = outbox_relay_list_read(&list);
	if (status == OUTBOX_STORE_OK)
	{
		if (list.count > 0)
			outbox_relays_store(db, &list, changes);
		if (outbox_my_relay.slot == NULL)
			*state = become_one_of(&list);
		if (*state == OUTBOX_LAUNCH_STARTED)
			status = outbox_relay_row_read(&found);
	}
	if (!found && list.count > 0)
		*state = OUTBOX_LAUNCH_DROPPED;
	/* what has been changed in between, both are to see */
	outbox_my_relay.changes_seen =
		status == OUTBOX_STORE_OK ? changes : seen_before;
	return status;
}
