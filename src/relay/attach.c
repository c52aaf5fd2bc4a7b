/*-------------------------------------------------------------------------
 *
 * attach.c
 *	  How a relay finds its outbox, before it publishes: is the extension
 *	  there, is it of our version, which relay is this (roster.c); and where
 *	  does it go on.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "miscadmin.h"

#include "relay/attach.h"
#include "relay/roster.h"
#include "shared/horizon.h"
#include "shared/my_relay.h"
#include "shared/relay_state.h"
#include "shared/times.h"
#include "shared/wait.h"
#include "store/extension.h"
#include "store/parked.h"
#include "store/position.h"
#include "store/logical_subscription.h"

/* Says once that library and extension do not fit together. */
void
outbox_attach_report_incompatible(const char *version)
{
	char reason[NAMEDATALEN + 64];

	snprintf(reason, sizeof(reason),
			 "The library is of version %s, the extension of version %s",
			 OUTBOX_VERSION, version);
	if (outbox_relay_state_set(
			OUTBOX_RELAY_INCOMPATIBLE, reason,
			"Run ALTER EXTENSION " OUTBOX_EXTENSION " UPDATE there, or "
			"restart the server with the library of the extension's "
			"version."))
		outbox_relay_state_error(reason);
}

/* Tries once; state: see outbox_roster_look(). */
static OutboxStoreStatus
try_attach(OutboxStream *stream, uint64 *last_id, OutboxLaunchState *state)
{
	OutboxStoreStatus status = outbox_roster_look(state);

	if (status != OUTBOX_STORE_OK || *state != OUTBOX_LAUNCH_STARTED)
		return status;
	status = outbox_position_open(outbox_my_relay.name, &stream->read_upto,
								  last_id, &stream->has_events);
	if (status == OUTBOX_STORE_OK)
		status = outbox_parked_beyond(outbox_my_relay.name, stream->read_upto,
									  &stream->done.ids, &stream->done.count);
	return status;
}

/*
 * Makes this process a relay of its database, and tells the stream where to
 * go on. Waits while others have locked the tables, and while the extension is
 * of another version. STARTED if all is well, else why the process is to end.
 * Raises an error if there is another such relay, or none at all.
 */
OutboxLaunchState
outbox_attach(OutboxStream *stream)
{
	OutboxStoreStatus status;
	uint64 last_id = 0;

	for (;;)
	{
		OutboxLaunchState state = OUTBOX_LAUNCH_STARTED;
		char version[NAMEDATALEN];
		long retry_ms = OUTBOX_TABLES_RETRY_MS;

		status = outbox_store_version(version, sizeof(version));
		if (status == OUTBOX_STORE_OK && strcmp(version, OUTBOX_VERSION) != 0)
		{
			state = outbox_roster_guess();
			if (state == OUTBOX_LAUNCH_STARTED)
				outbox_attach_report_incompatible(version);
			status = OUTBOX_STORE_BUSY;
			/* ALTER EXTENSION wakes us */
			retry_ms = OUTBOX_SAFETY_TICK_MS;
		}
		else if (status == OUTBOX_STORE_OK)
			status = try_attach(stream, &last_id, &state);
		if (state != OUTBOX_LAUNCH_STARTED)
			return state;
		if (status != OUTBOX_STORE_BUSY)
			break;
		CHECK_FOR_INTERRUPTS();
		outbox_wait(retry_ms, OUTBOX_WAIT_RELAY_START);
	}
	if (status == OUTBOX_STORE_ABSENT)
		return OUTBOX_LAUNCH_ABSENT;

	outbox_logical_subscription_leave_all();
	stream->has_more = true;
	/* if the sequence was set back, nobody may use ids up to the position */
	outbox_horizon_raise(outbox_my_relay.db, Max(last_id, stream->read_upto));
	pg_atomic_write_u64(&outbox_my_relay.slot->position, stream->read_upto);
	/* ready last: who sees it reads the others */
	pg_write_barrier();
	pg_atomic_write_u32(&outbox_my_relay.slot->ready, 1);
	ConditionVariableBroadcast(&outbox_my_relay.db->position_moved);
	return OUTBOX_LAUNCH_STARTED;
}
