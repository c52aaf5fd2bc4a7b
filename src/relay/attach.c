/*-------------------------------------------------------------------------
 *
 * attach.c
 *	  How a relay finds its outbox, before it publishes: is the extension
 *	  there, is it of our version, is nobody else the relay; and where does
 *	  it go on.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "miscadmin.h"
#include "storage/lmgr.h"

#include "relay/attach.h"
#include "shared/horizon.h"
#include "shared/my_relay.h"
#include "shared/relay_state.h"
#include "shared/times.h"
#include "shared/wait.h"
#include "store/extension.h"
#include "store/parked.h"
#include "store/position.h"
#include "store/relay_row.h"
#include "store/subscription.h"

/* class of our advisory lock, beside the 1 and 2 that SQL functions use */
#define RELAY_LOCK_CLASS 0x6f62

/* One relay of this name for each database, whoever starts it */
static void
lock_relay(const char *relay)
{
	LOCKTAG tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, 0, RELAY_LOCK_CLASS);
	if (LockAcquire(&tag, ExclusiveLock, true, true) == LOCKACQUIRE_NOT_AVAIL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE),
						errmsg("another outbox relay \"%s\" is active in "
							   "this database",
							   relay)));
}

/* Says once that library and extension do not fit together. */
static void
report_incompatible(const char *version)
{
	/* nobody else writes it while we are the relay */
	if (outbox_relay_state() == OUTBOX_RELAY_INCOMPATIBLE)
		return;
	outbox_relay_state_set(OUTBOX_RELAY_INCOMPATIBLE);
	outbox_relay_state_error(psprintf("the library is of version %s, the "
									  "extension of version %s",
									  OUTBOX_VERSION, version));
	ereport(WARNING,
			(errmsg("%s waits: the library is "
					"of version %s, the extension of version %s",
					outbox_my_relay.label, OUTBOX_VERSION, version),
			 errhint("Run ALTER EXTENSION %s UPDATE there, or restart the "
					 "server with the library of the extension's version.",
					 OUTBOX_EXTENSION)));
}

/*
 * Tries once. An extension of another version is BUSY, too: then retry_ms
 * becomes longer, as ALTER EXTENSION wakes us.
 */
static OutboxStoreStatus
try_attach(OutboxStream *stream, const char *version, uint64 *last_id,
		   long *retry_ms)
{
	OutboxStoreStatus status;
	bool found;

	if (strcmp(version, OUTBOX_VERSION) != 0)
	{
		report_incompatible(version);
		*retry_ms = OUTBOX_SAFETY_TICK_MS;
		return OUTBOX_STORE_BUSY;
	}
	status = outbox_relay_row_read(&found);
	if (status == OUTBOX_STORE_OK)
		status = outbox_position_open(outbox_my_relay.name, &stream->read_upto,
									  last_id, &stream->has_events);
	if (status == OUTBOX_STORE_OK)
		status = outbox_parked_beyond(outbox_my_relay.name, stream->read_upto,
									  &stream->done.ids, &stream->done.count);
	return status;
}

/*
 * Makes this process the relay of its database, and tells the stream where to
 * go on. Waits while others have locked the tables, and while the extension is
 * of another version. STARTED if all is well, else why the process is to end.
 * Raises an error if there is another relay, or no row for this one.
 */
OutboxLaunchState
outbox_attach(OutboxStream *stream)
{
	OutboxStoreStatus status;
	uint64 last_id = 0;

	lock_relay(outbox_my_relay.name);
	for (;;)
	{
		char version[NAMEDATALEN];
		long retry_ms = OUTBOX_TABLES_RETRY_MS;

		status = outbox_store_version(version, sizeof(version));
		if (status == OUTBOX_STORE_OK)
		{
			/* shown before anything else can fail */
			if (outbox_my_relay.slot == NULL && !outbox_relay_state_attach())
				return OUTBOX_LAUNCH_FINISHED;
			status = try_attach(stream, version, &last_id, &retry_ms);
		}
		if (status != OUTBOX_STORE_BUSY)
			break;
		CHECK_FOR_INTERRUPTS();
		outbox_wait(retry_ms, OUTBOX_WAIT_RELAY_IDLE);
	}
	if (status == OUTBOX_STORE_ABSENT)
		return OUTBOX_LAUNCH_ABSENT;

	outbox_subscription_leave_all();
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
