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
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include <signal.h>

#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/rel.h"

#include "shared/load_guard.h"
#include "shared/prepared.h"
#include "shared/relays.h"
#include "shared/shmem.h"

PG_FUNCTION_INFO_V1(outbox_keep_relay_away);

static bool is_loader = false; /* is this session counted in db->loaders? */

static void
forget_outbox(OutboxDatabase *db)
{
	/* a full barrier, before another segment can become the current one */
	pg_atomic_fetch_add_u32(&db->restores, 1);
	outbox_relays_forget(db);
	pg_atomic_write_u32(&db->current_segment, 0);
	pg_atomic_write_u64(&db->last_issued, 0);
}

/* Are ids not to be trusted, because events or positions are loaded? */
bool
outbox_load_guard_is_under_way(OutboxDatabase *db)
{
	return pg_atomic_read_u32(&db->loaders) > 0;
}

/* Raises 55000 if so. */
void
outbox_load_guard_check(OutboxDatabase *db)
{
	if (!outbox_load_guard_is_under_way(db))
		return;
	ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					errmsg("cannot emit an event while rows are loaded into "
						   "the outbox"),
					errhint("Try again when the session that restores them "
							"has ended.")));
}

/* The session has ended: the relay may start. */
static void
let_relay_start(int code, Datum arg)
{
	OutboxDatabase *db;

	(void) code;
	(void) arg;
	LWLockAcquire(outbox_shmem->lock, LW_EXCLUSIVE);
	outbox_shmem->kept_away[outbox_shmem_my_proc()].for_restore = InvalidOid;
	db = outbox_shmem_find(MyDatabaseId);
	if (db != NULL)
	{
		/* once more, for what was learned while rows were missing */
		forget_outbox(db);
		db->start_wanted = true;
		if (is_loader)
			pg_atomic_fetch_sub_u32(&db->loaders, 1);
	}
	LWLockRelease(outbox_shmem->lock);
	pg_atomic_fetch_add_u32(&outbox_shmem->ddl_count, 1);
	outbox_shmem_wake_launcher();
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

/* Ends the relay, and keeps it from starting as long as we are connected. */
static void
keep_relay_away(bool loads_ids)
{
	static bool registered = false;
	static bool told = false;
	OutboxDatabase *db = outbox_shmem_my_database();
	bool ended = false;

	if (!registered)
		before_shmem_exit(let_relay_start, (Datum) 0);
	registered = true;
	outbox_prepared_refuse("loaded rows into the outbox");

	LWLockAcquire(outbox_shmem->lock, LW_EXCLUSIVE);
	outbox_shmem->kept_away[outbox_shmem_my_proc()].for_restore = MyDatabaseId;
	ended = outbox_relays_end(db) && !told;
	told = told || ended;
	forget_outbox(db);
	if (loads_ids && !is_loader)
	{
		is_loader = true;
		pg_atomic_fetch_add_u32(&db->loaders, 1);
	}
	LWLockRelease(outbox_shmem->lock);
	if (ended)
		ereport(LOG, (errmsg("outbox relay ends: this session loads rows "
							 "into the outbox"),
					  errdetail("It starts again when the session has "
								"ended.")));
}

/* outbox.keep_relay_away(): the trigger */
Datum
outbox_keep_relay_away(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("outbox.keep_relay_away() must be called as a "
							   "trigger")));
	/* without the library in place there is no relay */
	if (outbox_shmem != NULL)
		keep_relay_away(tells_ids(RelationGetRelationName(
			((TriggerData *) fcinfo->context)->tg_relation)));
	return PointerGetDatum(NULL);
}
