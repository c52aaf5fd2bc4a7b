/*-------------------------------------------------------------------------
 *
 * load_guard.c
 *	  Keeps the relay away while a session loads rows into our tables.
 *
 * A restore brings events, positions and the sequence one by one, each in a
 * transaction of its own, perhaps several at once and in any order. A relay
 * that looked at them meanwhile would go on from a wrong position. The
 * triggers of these tables call us; rows that outbox_emit(), the relay and
 * outbox.replay() write do not. What a relay has seen before the first of them
 * is an outbox without events, in which it writes no position (relay.c).
 *
 * What shared memory knows of ids and segments is forgotten: it is that of the
 * outbox before, which may even have had higher ids. The relay learns it anew
 * when it starts. Until the restore has brought the sequence, new events would
 * get ids below the position, and never be published: so nobody can emit while
 * a session is connected that has loaded events or positions.
 *
 * Where a restore ends, we cannot see; that its session ends, or is made as new
 * by DISCARD ALL, as poolers do before they give it to the next client.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include <signal.h>

#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "utils/rel.h"

#include "shared/load_guard.h"
#include "shared/my_relay.h"
#include "shared/prepared.h"
#include "shared/relays.h"
#include "shared/shmem.h"
#include "shared/subscribers.h"

PG_FUNCTION_INFO_V1(outbox_keep_relay_away);

static bool is_restoring = false; /* does this session keep the relay away? */

static void
forget_outbox(OutboxDatabase *db)
{
	/* a full barrier, before another segment can become the current one */
	pg_atomic_fetch_add_u32(&db->restores, 1);
	outbox_relays_forget(db);
	/* which subscriptions there are is to be read anew, too */
	pg_atomic_fetch_add_u32(&db->subscribers.changes, 1);
	pg_atomic_write_u32(&db->current_segment, 0);
	pg_atomic_write_u64(&db->last_issued, 0);
}

/* Are ids not to be trusted, because events or positions are loaded? */
bool
outbox_load_guard_is_under_way(OutboxDatabase *db)
{
	return pg_atomic_read_u32(&db->loaders) > 0;
}

/* The process id of a session that loads them; 0 = it has just ended. */
static int
find_loader(void)
{
	int pid = 0;

	LWLockAcquire(outbox_shmem->lock, LW_SHARED);
	for (int i = 0; i < outbox_shmem->inflight_slots; i++)
	{
		const OutboxKeptAway *kept = &outbox_shmem->kept_away[i];

		if (kept->for_restore == MyDatabaseId && kept->loads_ids)
			pid = ProcGlobal->allProcs[i].pid;
	}
	LWLockRelease(outbox_shmem->lock);
	return pid;
}

/* Raises 55000 if so. */
void
outbox_load_guard_check(OutboxDatabase *db)
{
	int loader;

	if (!outbox_load_guard_is_under_way(db))
		return;
	loader = find_loader();
	ereport(
		ERROR,
		(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
		 errmsg("cannot emit an event while rows are loaded into "
				"the outbox"),
		 loader == 0 ? 0
					 : errdetail("The session of process %d has loaded "
								 "some.",
								 loader),
		 errhint("Try again when the session that restores them has ended. "
				 "One that a connection pooler keeps open ends with "
				 "DISCARD ALL, or pg_terminate_backend().")));
}

/* What this session has loaded is complete: the relay may start. Does nothing
 * if it has loaded nothing. Takes the lock. */
void
outbox_load_guard_end(void)
{
	OutboxKeptAway *kept;
	OutboxDatabase *db;

	if (!is_restoring)
		return;
	is_restoring = false;
	kept = &outbox_shmem->kept_away[outbox_shmem_my_proc()];
	LWLockAcquire(outbox_shmem->lock, LW_EXCLUSIVE);
	db = outbox_shmem_find(MyDatabaseId);
	if (db != NULL)
	{
		/* once more, for what was learned while rows were missing */
		forget_outbox(db);
		db->start_wanted = true;
		if (kept->loads_ids)
			pg_atomic_fetch_sub_u32(&db->loaders, 1);
	}
	kept->for_restore = InvalidOid;
	kept->loads_ids = false;
	LWLockRelease(outbox_shmem->lock);
	pg_atomic_fetch_add_u32(&outbox_shmem->ddl_count, 1);
	outbox_shmem_wake_launcher();
}

static void
session_ends(int code, Datum arg)
{
	(void) code;
	(void) arg;
	outbox_load_guard_end();
}

/* Is it one of the tables that tell which ids are used? */
static bool
tells_ids(const char *table)
{
	return strncmp(table, OUTBOX_SEGMENT_PREFIX,
				   strlen(OUTBOX_SEGMENT_PREFIX)) == 0 ||
		   strncmp(table, OUTBOX_POSITION_PREFIX,
				   strlen(OUTBOX_POSITION_PREFIX)) == 0;
}

/* Ends the relay, and keeps it from starting until the session has ended. */
static void
keep_relay_away(bool loads_ids)
{
	static bool registered = false;
	OutboxDatabase *db = outbox_shmem_my_database();
	OutboxKeptAway *kept = &outbox_shmem->kept_away[outbox_shmem_my_proc()];

	if (!registered)
		before_shmem_exit(session_ends, (Datum) 0);
	registered = true;
	outbox_prepared_refuse("loaded rows into the outbox");

	is_restoring = true;
	LWLockAcquire(outbox_shmem->lock, LW_EXCLUSIVE);
	kept->for_restore = MyDatabaseId;
	(void) outbox_relays_end(db);
	(void) outbox_subscribers_end(db);
	forget_outbox(db);
	if (loads_ids && !kept->loads_ids)
	{
		kept->loads_ids = true;
		pg_atomic_fetch_add_u32(&db->loaders, 1);
	}
	LWLockRelease(outbox_shmem->lock);
}

/* outbox.keep_relay_away(): the trigger */
Datum
outbox_keep_relay_away(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("outbox.keep_relay_away() must be called as a "
							   "trigger")));
	/* without the library in place there is no relay; and what a subscriber
	 * writes, where triggers fire, is not loaded */
	if (outbox_shmem != NULL && outbox_my_relay.db == NULL)
		keep_relay_away(tells_ids(RelationGetRelationName(
			((TriggerData *) fcinfo->context)->tg_relation)));
	return PointerGetDatum(NULL);
}
