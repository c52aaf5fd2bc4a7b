/*-------------------------------------------------------------------------
 *
 * shmem.c
 *	  Asks for the shared memory of outbox, lays it out, and finds entries
 *	  in it. shmem.h tells what is in it and what guards it.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/shmem.h"

#include "guc.h"
#include "shared/crash.h"
#include "shared/shmem.h"

/* of messages that are received at once: more of them than CPUs */
#define INBOX_TRANCHE "outbox_inbox"
#define INBOX_LOCKS   128

OutboxShmem *outbox_shmem = NULL;

static shmem_request_hook_type prev_shmem_request_hook = NULL;
static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

static Size
databases_size(void)
{
	return add_size(offsetof(OutboxShmem, databases),
					mul_size(outbox_max_databases, sizeof(OutboxDatabase)));
}

/* The slots start on a cache line, so that no two backends share one. */
static Size
inflight_offset(void)
{
	return TYPEALIGN(PG_CACHE_LINE_SIZE, databases_size());
}

static int
launch_count(void)
{
	return outbox_max_relays + outbox_max_subscribers;
}

static Size
launches_offset(void)
{
	return add_size(inflight_offset(),
					mul_size(MaxBackends, sizeof(OutboxInflight)));
}

static Size
kept_away_offset(void)
{
	return add_size(launches_offset(),
					mul_size(launch_count(), sizeof(OutboxLaunch)));
}

static Size
figures_offset(void)
{
	return MAXALIGN(add_size(kept_away_offset(),
							 mul_size(MaxBackends, sizeof(OutboxKeptAway))));
}

static Size
handovers_offset(void)
{
	return MAXALIGN(
		add_size(figures_offset(),
				 mul_size(outbox_max_relays, sizeof(OutboxFiguresSlot))));
}

static Size
total_size(void)
{
	return add_size(handovers_offset(),
					mul_size(MaxBackends, sizeof(OutboxHandover)));
}

static void
shmem_request(void)
{
	if (prev_shmem_request_hook)
		prev_shmem_request_hook();

	RequestAddinShmemSpace(total_size());
	RequestNamedLWLockTranche(OUTBOX_EXTENSION, 1);
	RequestNamedLWLockTranche(INBOX_TRANCHE, INBOX_LOCKS);
}

static void
init_relay(OutboxRelaySlot *slot)
{
	pg_atomic_init_u32(&slot->proc, OUTBOX_NO_PROC);
	pg_atomic_init_u32(&slot->ready, 0);
	pg_atomic_init_u64(&slot->position, 0);
	pg_atomic_init_u64(&slot->horizon, 0);
	pg_atomic_init_u64(&slot->published, 0);
	pg_atomic_init_u64(&slot->parked, 0);
	pg_atomic_init_u64(&slot->unwritten_since, 0);
}

static void
init_subscriber(OutboxSubscriberSlot *slot)
{
	init_relay(&slot->process);
	pg_atomic_init_u64(&slot->handled, 0);
	pg_atomic_init_u64(&slot->repeated, 0);
	pg_atomic_init_u64(&slot->failed, 0);
	pg_atomic_init_u32(&slot->partitions, 0);
	pg_atomic_init_u64(&slot->lag_messages, 0);
	pg_atomic_init_u64(&slot->lag_since, 0);
}

static void
init_database(OutboxDatabase *db)
{
	memset(db, 0, sizeof(*db));
	pg_atomic_init_u64(&db->last_issued, 0);
	pg_atomic_init_u64(&db->commit_lsn, 0);
	pg_atomic_init_u32(&db->relays_sleeping, 0);
	pg_atomic_init_u32(&db->current_segment, 0);
	for (int i = 0; i < OUTBOX_SEGMENTS; i++)
		pg_atomic_init_u32(&db->segment_opened[i], 0);
	pg_atomic_init_u32(&db->chores, 0);
	pg_atomic_init_u64(&db->chores_until, 0);
	pg_atomic_init_u32(&db->behind_told, 0);
	pg_atomic_init_u32(&db->restores, 0);
	pg_atomic_init_u32(&db->loaders, 0);
	pg_atomic_init_u64(&db->next_due, OUTBOX_NEVER_DUE);
	pg_atomic_init_u32(&db->handed_over, 0);
	pg_atomic_init_u32(&db->inbox_current, 0);
	pg_atomic_init_u32(&db->handover_locked, 0);
	pg_atomic_init_u32(&db->extension_changes, 0);
	pg_atomic_init_u32(&db->relays_named, 0);
	pg_atomic_init_u32(&db->relay_changes, 0);
	pg_atomic_init_u64(&db->addressed_upto, 0);
	pg_atomic_init_u32(&db->dead_for_all, 0);
	pg_atomic_init_u32(&db->parked_changes, 0);
	pg_atomic_init_u64(&db->endless_backfill, 0);
	pg_atomic_init_u64(&db->issued_bytes, 0);
	pg_atomic_init_u64(&db->settled_bytes, 0);
	pg_atomic_init_u64(&db->before_bytes, 0);
	pg_atomic_init_u64(&db->before_from, 0);
	pg_atomic_init_u64(&db->before_upto, 0);
	pg_atomic_init_u64(&db->delayed, 0);
	pg_atomic_init_u64(&db->aside_bytes, 0);
	pg_atomic_init_u32(&db->pending_changed, 0);
	pg_atomic_init_u64(&db->next_mark_id, PG_UINT64_MAX);
	pg_atomic_init_u64(&db->marked_bytes, 0);
	pg_atomic_init_u64(&db->commits, 0);
	pg_atomic_init_u64(&db->commits_from, 0);
	for (int i = 0; i < OUTBOX_COMMIT_TIMES; i++)
	{
		pg_atomic_init_u64(&db->commit_time[i].turn, 0);
		pg_atomic_init_u64(&db->commit_time[i].last_id, 0);
		pg_atomic_init_u64(&db->commit_time[i].at, 0);
	}
	ConditionVariableInit(&db->position_moved);
	for (int i = 0; i < OUTBOX_RELAYS; i++)
		init_relay(&db->relays[i]);
	pg_atomic_init_u32(&db->subscribers.changes, 0);
	for (int i = 0; i < OUTBOX_SUBSCRIBERS; i++)
		init_subscriber(&db->subscribers.slots[i]);
}

static void
shmem_startup(void)
{
	bool found;

	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();

	/* after a crash the postmaster comes here again, with new memory */
	outbox_shmem = NULL;

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	outbox_shmem = ShmemInitStruct(OUTBOX_EXTENSION, total_size(), &found);
	if (!found)
	{
		memset(outbox_shmem, 0, total_size());
		outbox_shmem->lock = &GetNamedLWLockTranche(OUTBOX_EXTENSION)->lock;
		outbox_shmem->inbox_locks = GetNamedLWLockTranche(INBOX_TRANCHE);
		pg_atomic_init_u32(&outbox_shmem->launcher_proc, OUTBOX_NO_PROC);
		pg_atomic_init_u32(&outbox_shmem->ddl_count, 0);
		outbox_shmem->crashes = outbox_crash_count_start();
		outbox_shmem->inflight_slots = MaxBackends;
		outbox_shmem->inflight =
			(OutboxInflight *) ((char *) outbox_shmem + inflight_offset());
		outbox_shmem->launch_count = launch_count();
		outbox_shmem->launches =
			(OutboxLaunch *) ((char *) outbox_shmem + launches_offset());
		outbox_shmem->kept_away =
			(OutboxKeptAway *) ((char *) outbox_shmem + kept_away_offset());

		outbox_shmem->figures =
			(OutboxFiguresSlot *) ((char *) outbox_shmem + figures_offset());
		outbox_shmem->handovers =
			(OutboxHandover *) ((char *) outbox_shmem + handovers_offset());
		for (int i = 0; i < outbox_max_databases; i++)
			init_database(&outbox_shmem->databases[i]);
		for (int i = 0; i < outbox_max_relays; i++)
		{
			pg_atomic_init_u32(&outbox_shmem->figures[i].resets, 0);
			pg_atomic_init_u64(&outbox_shmem->figures[i].resets_at, 0);
			pg_atomic_init_u32(&outbox_shmem->figures[i].changes, 0);
		}
		for (int i = 0; i < MaxBackends; i++)
		{
			pg_atomic_init_u64(&outbox_shmem->inflight[i].s.first_id, 0);
			pg_atomic_init_u32(&outbox_shmem->inflight[i].s.database, 0);
			pg_atomic_init_u32(&outbox_shmem->handovers[i].state, 0);
		}
	}
	LWLockRelease(AddinShmemInitLock);
}

/* Called once, while the postmaster loads the library. */
void
outbox_shmem_install_hooks(void)
{
	prev_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = shmem_request;
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = shmem_startup;
}

/* Raises 55000 if the library has not been preloaded. */
void
outbox_shmem_require(void)
{
	if (outbox_shmem == NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("outbox is not loaded"),
						errhint("Add outbox to shared_preload_libraries and "
								"restart the server.")));
}

/*
 * The entry of a database, or NULL. The caller holds the lock, in any mode.
 */
OutboxDatabase *
outbox_shmem_find(Oid dbid)
{
	Assert(LWLockHeldByMe(outbox_shmem->lock));

	for (int i = 0; i < outbox_max_databases; i++)
	{
		if (outbox_shmem->databases[i].dbid == dbid)
			return &outbox_shmem->databases[i];
	}
	return NULL;
}

/*
 * The entry of a database, made if it is new. Takes the lock itself. Raises
 * 53400 when outbox.max_databases are in use.
 */
static OutboxDatabase *
find_or_create(Oid dbid)
{
	OutboxDatabase *db;

	LWLockAcquire(outbox_shmem->lock, LW_EXCLUSIVE);
	db = outbox_shmem_find(dbid);
	if (db == NULL)
	{
		db = outbox_shmem_find(InvalidOid);
		if (db != NULL)
		{
			init_database(db);
			db->dbid = dbid;
		}
	}
	LWLockRelease(outbox_shmem->lock);

	if (db == NULL)
		ereport(ERROR, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
						errmsg("too many databases use outbox"),
						errdetail("outbox.max_databases is %d.",
								  outbox_max_databases),
						errhint("Raise outbox.max_databases and restart the "
								"server.")));
	return db;
}

/* The entry of our own database, looked up once. Raises 53400, as above. */
OutboxDatabase *
outbox_shmem_my_database(void)
{
	static OutboxDatabase *my_database = NULL;

	if (my_database == NULL)
		my_database = find_or_create(MyDatabaseId);
	return my_database;
}

/* The lock of messages with this hash: inbox.c */
LWLock *
outbox_shmem_inbox_lock(uint32 hash)
{
	return &outbox_shmem->inbox_locks[hash % INBOX_LOCKS].lock;
}

/*
 * Gives an entry back, because its database is gone. The caller holds the
 * lock exclusively.
 */
void
outbox_shmem_forget(OutboxDatabase *db)
{
	Assert(LWLockHeldByMeInMode(outbox_shmem->lock, LW_EXCLUSIVE));
	db->dbid = InvalidOid;
}

/* The process that keeps relays of a database away, by its number; -1 = none
 * does */
static int
find_holder(Oid dbid)
{
	Assert(LWLockHeldByMe(outbox_shmem->lock));

	for (int i = 0; i < outbox_shmem->inflight_slots; i++)
	{
		if (outbox_shmem->kept_away[i].for_ddl == dbid ||
			outbox_shmem->kept_away[i].for_restore == dbid)
			return i;
	}
	return -1;
}

/*
 * Is something under way, for which the database must have no relay? Also for
 * databases without an entry. The caller holds the lock, in any mode.
 */
bool
outbox_shmem_is_held_off(Oid dbid)
{
	return find_holder(dbid) >= 0;
}

/* What that is, palloc'd; NULL = nothing. Takes the lock. */
char *
outbox_shmem_why_held_off(Oid dbid)
{
	int holder;
	int pid = 0;
	bool loads = false;

	LWLockAcquire(outbox_shmem->lock, LW_SHARED);
	holder = find_holder(dbid);
	if (holder >= 0)
	{
		pid = ProcGlobal->allProcs[holder].pid;
		loads = (outbox_shmem->kept_away[holder].for_ddl != dbid);
	}
	LWLockRelease(outbox_shmem->lock);
	if (holder < 0)
		return NULL;
	return psprintf(loads ? "Process %d loads rows into the outbox. It starts "
							"again when that session has ended."
						  : "Process %d runs a command for which it must not "
							"run. It starts again when that is over.",
					pid);
}

/* What a process of that number is; also one that is not a relay yet */
OutboxProcessKind
outbox_kind_of(int number)
{
	return number < OUTBOX_RELAYS ? OUTBOX_KIND_RELAY : OUTBOX_KIND_SUBSCRIBER;
}

/* What the process of that number shows */
OutboxRelaySlot *
outbox_slot_of(OutboxDatabase *db, int number)
{
	if (outbox_kind_of(number) == OUTBOX_KIND_RELAY)
		return &db->relays[number];
	return &db->subscribers.slots[number - OUTBOX_RELAYS].process;
}

/* This process' number, under which others can set its latch. */
uint32
outbox_shmem_my_proc(void)
{
	return (uint32) (MyProc - ProcGlobal->allProcs);
}

/* This backend's slot. */
OutboxInflight *
outbox_shmem_my_inflight(void)
{
	uint32 proc = outbox_shmem_my_proc();

	if (proc >= (uint32) outbox_shmem->inflight_slots)
		elog(ERROR, "no in-flight slot for process number %u", proc);
	return &outbox_shmem->inflight[proc];
}

/* Wakes a process; does nothing for OUTBOX_NO_PROC. */
void
outbox_shmem_set_latch(uint32 proc)
{
	if (proc != OUTBOX_NO_PROC)
		SetLatch(&GetPGProcByNumber(proc)->procLatch);
}

void
outbox_shmem_wake_launcher(void)
{
	outbox_shmem_set_latch(pg_atomic_read_u32(&outbox_shmem->launcher_proc));
}
