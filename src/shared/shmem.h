/*-------------------------------------------------------------------------
 *
 * shmem.h
 *	  What the backends, the launcher and the relays share.
 *
 * Which lock or barrier guards what:
 *
 *	outbox_shmem->lock	guards which database an entry belongs to, and every
 *						field that is not atomic. Held for a few instructions
 *						only, never while waiting.
 *	inbox_locks			guard no memory: who looks whether a message has been
 *						received, and writes that it has, holds one meanwhile
 *						(inbox.c).
 *	atomics				the horizon protocol (horizon.c tells the order in
 *						which they must be touched), and figures that are
 *						merely shown.
 *
 * Processes of a database have numbers: first those of its relays, behind them
 * those of its subscriptions. Where "relay" is said of a process, both are
 * meant, unless the field is one that only relays have.
 *
 * What is of a database, whoever publishes it, is in its OutboxDatabase; what
 * is of one relay is in a slot of it, and only this relay writes there, but
 * that others may take "ready" away, the launcher and DDL read "status", and
 * whoever has read outbox.relay writes the names, and how far those relays are
 * that do not run.
 *
 * Entries hold plain values only: processes are known by their number in the
 * PGPROC array, so that a stale one costs a spurious wake-up and no more.
 *
 * An entry, once it belongs to a database, stays with it until the database
 * is dropped. So a backend may keep a pointer to the entry of its own
 * database: while it is connected, the database cannot go.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_SHMEM_H
#define OUTBOX_SHMEM_H

#include "outbox.h"

#include "datatype/timestamp.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/dsm_impl.h"
#include "storage/lwlock.h"

#include "shared/figures_slot.h"
#include "sink/line_limit.h"

#define OUTBOX_ERROR_MAX   512
#define OUTBOX_REFUSED_MAX 256
#define OUTBOX_NO_PROC     UINT32_MAX
#define OUTBOX_NEVER_DUE   PG_INT64_MAX

/* What a relay is doing, or a subscriber, as outbox.stat_relay and
 * outbox.stat_subscription show it */
typedef enum OutboxRelayState
{
	OUTBOX_RELAY_STOPPED = 0, /* no process */
	OUTBOX_RELAY_STARTING,
	OUTBOX_RELAY_INCOMPATIBLE, /* with the extension's version: waits */
	OUTBOX_RELAY_UNCONFIGURED, /* settings missing or refused: waits */
	OUTBOX_RELAY_PUBLISHING,
	OUTBOX_RELAY_UNAVAILABLE,     /* no broker can be reached */
	OUTBOX_RELAY_UNTRUSTED,       /* we do not trust their certificate */
	OUTBOX_RELAY_UNAUTHENTICATED, /* brokers refuse our credentials */
	OUTBOX_RELAY_IDLE,            /* no process, as there is no work */
	OUTBOX_RELAY_HALTED,          /* by outbox.on_failure = 'halt' */
	OUTBOX_RELAY_PAUSED,          /* by outbox.pause() */
	/* of a subscriber only: */
	OUTBOX_RELAY_CONSUMING,
	OUTBOX_RELAY_GAP, /* messages are missing where it is to go on */
} OutboxRelayState;

/* What a relay or a subscriber shows of itself. Guarded by outbox_shmem->lock;
 * its process, the only one to write it, reads it without. */
typedef struct OutboxRelayStatus
{
	int pid; /* 0 = no process */
	TimestampTz started_at;
	OutboxRelayState state;
	TimestampTz state_since;
	TimestampTz wake_at;       /* of one that is idle: when a task is due */
	TimestampTz failing_since; /* 0 = no error is in the way: guard.c */
	TimestampTz last_error_at;
	char last_error[OUTBOX_ERROR_MAX];
	TimestampTz refused_at; /* 0 = its settings are as they should be */
	char refused[OUTBOX_REFUSED_MAX];
	/* its last processes: how many in a row have failed soon after they were
	 * started, and since when; the launcher writes it (process.c) */
	int early_ends;
	TimestampTz early_since;
} OutboxRelayStatus;

/* What the log has been told of a relay's state: state_log.c. Its process is
 * the only one to use it. */
typedef struct OutboxStateLog
{
	char told[16]; /* "" = nothing yet: it was stopped */
	int untold;    /* changes that there was no line of, since then */
	OutboxLineLimit limit;
} OutboxStateLog;

/* One relay of a database, running or not */
typedef struct OutboxRelaySlot
{
	/* of its row in outbox.relay; guarded by outbox_shmem->lock */
	char name[NAMEDATALEN]; /* "" = there is none */
	TimestampTz created_at; /* another one of that name is another relay */

	OutboxRelayStatus status;
	OutboxStateLog log;

	/* whose latch to set, or OUTBOX_NO_PROC. Set before the relay first says
	 * that it sleeps; one that is stale costs a spurious wake-up */
	pg_atomic_uint32 proc;

	/* read by the views, by outbox.wait_*() and by outbox.max_pending. ready
	 * is set when the position and the database's last_issued are known, after
	 * both; who has seen it passes a barrier, and then reads them */
	pg_atomic_uint32 ready;
	pg_atomic_uint64 position;
	pg_atomic_uint64 horizon;
	pg_atomic_uint64 published; /* acknowledged since the server started */
	pg_atomic_uint64 parked;    /* being retried, or queued behind one */

	/* since when the position is ahead of what has been written; 0 = it is
	 * not */
	pg_atomic_uint64 unwritten_since;
} OutboxRelaySlot;

/* How many relays a database can have; outbox.relay allows for as many, and
 * so do the bits of relays_sleeping and relays_named */
#define OUTBOX_RELAYS 32

/* How many messages a subscriber had handled when a second began */
typedef struct OutboxSubscriberMark
{
	pg_atomic_uint64 second; /* since 2000; 0 = none */
	pg_atomic_uint64 handled;
} OutboxSubscriberMark;

/* One process of a subscription, running or not */
typedef struct OutboxSubscriberSlot
{
	/* as a relay's, but for what is about events; the name is that of the
	 * subscription */
	OutboxRelaySlot process;

	/* guarded by outbox_shmem->lock */
	int number;  /* of its row in outbox.subscription */
	int worker;  /* which of them it is, from 0 on, ... */
	int workers; /* ... and how many there are */

	/* figures, since counted_since: subscriber_figures.h */
	TimestampTz counted_since;
	pg_atomic_uint64 handled;
	OutboxSubscriberMark marks[OUTBOX_RATE_S]; /* of the last seconds */
	pg_atomic_uint64 repeated;
	pg_atomic_uint64 failed;
	pg_atomic_uint32 partitions;
	pg_atomic_uint64 lag_messages;
	pg_atomic_uint64 lag_since;
} OutboxSubscriberSlot;

/* How many processes the subscriptions of a database can have, in all; and how
 * many subscriptions there can be, each of which has one or more */
#define OUTBOX_SUBSCRIBERS 32

#define OUTBOX_PROCESSES   (OUTBOX_RELAYS + OUTBOX_SUBSCRIBERS)

/* All of them, of a database: subscribers.c */
typedef struct OutboxSubscribers
{
	/* counts commits that have changed outbox.subscription; the others are
	 * guarded by outbox_shmem->lock */
	pg_atomic_uint32 changes;
	bool known;  /* since the server started, ... */
	uint32 read; /* ... as of which count */
	bool wait;   /* one of them for a slot whose process has not ended yet */
	OutboxSubscriberSlot slots[OUTBOX_SUBSCRIBERS];
} OutboxSubscribers;

/* So many bytes of events had been committed when ids went up to this one */
typedef struct OutboxPendingMark
{
	uint64 id;
	uint64 bytes;
} OutboxPendingMark;

#define OUTBOX_PENDING_MARKS 256

/* When a transaction with events has committed: commit_times.c */
typedef struct OutboxCommitTime
{
	pg_atomic_uint64 turn; /* 0 = it is being written */
	pg_atomic_uint64 last_id;
	pg_atomic_uint64 at;
} OutboxCommitTime;

#define OUTBOX_COMMIT_TIMES 512

/* One database that has the extension */
typedef struct OutboxDatabase
{
	/* guarded by outbox_shmem->lock */
	Oid dbid;          /* InvalidOid = the entry is free */
	bool start_wanted; /* for the launcher: start a relay now */

	/* horizon protocol, see horizon.c */
	pg_atomic_uint64 last_issued;     /* the highest id handed out */
	pg_atomic_uint64 commit_lsn;      /* end of the last commit with events */
	pg_atomic_uint32 relays_sleeping; /* a bit for each slot */

	/* which segment is written to, and after how many switches; 0 = not known
	 * yet. And how often each has become the current one: segment.c */
	pg_atomic_uint32 current_segment;
	pg_atomic_uint32 segment_opened[OUTBOX_SEGMENTS];
	pg_atomic_uint32 restores; /* how often it has become unknown */

	/* which relay does what is to be done once for all, and until when it must
	 * be heard of again: chores.c */
	pg_atomic_uint32 chores;
	pg_atomic_uint64 chores_until;

	/* sessions that have loaded events or positions: load_guard.c */
	pg_atomic_uint32 loaders;

	/* of which relay the log has been told that events are kept for it longer
	 * than outbox.retention, plus one: retention.c */
	pg_atomic_uint32 behind_told;

	/* when the first of the delayed events is due: delayed.c */
	pg_atomic_uint64 next_due;

	pg_atomic_uint32 handed_over;     /* events, not taken yet: handover.c */
	pg_atomic_uint32 handover_locked; /* others' locks are in the way */

	pg_atomic_uint32 inbox_current; /* table, plus one: inbox_turn.c */

	/* counts commits that may have dropped the extension, or made it anew */
	pg_atomic_uint32 extension_changes;

	/* which slots have a name, a bit for each; 0 = it is not known yet which
	 * relays there are. relay_changes counts commits that have changed
	 * outbox.relay; as of which count it was read: relays.c */
	pg_atomic_uint32 relays_named;
	pg_atomic_uint32 relay_changes;
	uint32 relays_read; /* guarded by outbox_shmem->lock */

	/* up to which id there may be events for one relay alone: addressed.c */
	pg_atomic_uint64 addressed_upto;

	/* counts dead letters that one relay has made for all: of delayed events */
	pg_atomic_uint32 dead_for_all;

	pg_atomic_uint32 parked_changes;   /* commits that changed outbox.parked */
	pg_atomic_uint64 endless_backfill; /* a process has ended for it; or 0 */

	/* what is kept unpublished: pending.c */
	pg_atomic_uint64 issued_bytes;    /* of events, since there is a limit */
	pg_atomic_uint64 settled_bytes;   /* of these, behind all positions */
	pg_atomic_uint64 before_bytes;    /* of events from before that, ... */
	pg_atomic_uint64 before_from;     /* ... whose ids are beyond this one */
	pg_atomic_uint64 before_upto;     /* and up to this one */
	pg_atomic_uint64 delayed;         /* events that are not due yet */
	pg_atomic_uint64 aside_bytes;     /* of these, and of parked ones */
	pg_atomic_uint32 pending_changed; /* a relay is to count again */
	pg_atomic_uint64 next_mark_id;    /* of the first mark; or UINT64_MAX */
	pg_atomic_uint64 marked_bytes;    /* of the last mark */
	/* guarded by outbox_shmem->lock */
	int first_mark;
	int marks;
	OutboxPendingMark mark[OUTBOX_PENDING_MARKS];

	/* how many there have been, the first id of the first one, and a ring of
	 * the last ones: commit_times.c */
	pg_atomic_uint64 commits;
	pg_atomic_uint64 commits_from;
	OutboxCommitTime commit_time[OUTBOX_COMMIT_TIMES];

	ConditionVariable position_moved; /* of any of the relays */
	OutboxRelaySlot relays[OUTBOX_RELAYS];
	OutboxSubscribers subscribers;
} OutboxDatabase;

/* A backend's events on their way into the outbox; a cache line of its own */
typedef union OutboxInflight
{
	struct
	{
		pg_atomic_uint64 first_id; /* 0 = none in flight */
		pg_atomic_uint32 database; /* which entry the ids belong to */
	} s;
	char pad[64];
} OutboxInflight;

/* An event that a session has handed over to a relay: handover.c. The state
 * tells who may touch the other fields. */
typedef struct OutboxHandover
{
	pg_atomic_uint32 state;
	uint32 database;  /* which entry it belongs to */
	dsm_handle event; /* holds the row, ... */
	bool delayed;     /* ... which is one of outbox.delayed */
	/* the answer: of one that is committed, and of one that is not */
	uint64 commit_lsn;
	int sqlerrcode;
	char error[OUTBOX_REFUSED_MAX];
} OutboxHandover;

/* What became of a relay that the launcher has started */
typedef enum OutboxLaunchState
{
	OUTBOX_LAUNCH_FREE = 0,
	OUTBOX_LAUNCH_STARTED,  /* no word yet */
	OUTBOX_LAUNCH_RUNNING,  /* its last word, if a signal has ended it */
	OUTBOX_LAUNCH_ABSENT,   /* ended: the extension is not there */
	OUTBOX_LAUNCH_DROPPED,  /* ended: there is no such relay any more */
	OUTBOX_LAUNCH_FINISHED, /* ended because it was told to */
	OUTBOX_LAUNCH_FAILED,   /* ended by an error */
} OutboxLaunchState;

/* How a relay tells the launcher why it ends; guarded by the lock */
typedef struct OutboxLaunch
{
	OutboxLaunchState state;
	int number;        /* the process that it has become; -1 = none yet */
	uint32 generation; /* so that a late process knows it is too late */
} OutboxLaunch;

/* The processes that the launcher starts */
typedef enum OutboxProcessKind
{
	OUTBOX_KIND_RELAY,
	OUTBOX_KIND_SUBSCRIBER,
	OUTBOX_KINDS
} OutboxProcessKind;

/* What there is too little of for one more process */
typedef enum OutboxShortage
{
	OUTBOX_SHORTAGE_NONE = 0,
	OUTBOX_SHORTAGE_WORKERS, /* max_worker_processes */
	OUTBOX_SHORTAGE_PLACES,  /* outbox.max_relays, outbox.max_subscribers */
} OutboxShortage;

/* Databases that a process needs without a relay, each for its own reason and
 * time; InvalidOid = none */
typedef struct OutboxKeptAway
{
	Oid for_ddl;     /* until the transaction ends: ddl_hooks.c */
	Oid for_restore; /* until the session ends: load_guard.c */
	bool loads_ids;  /* events or positions: it is counted in "loaders" */
} OutboxKeptAway;

typedef struct OutboxShmem
{
	LWLock *lock;
	LWLockPadded *inbox_locks;      /* inbox.c tells what for */
	pg_atomic_uint32 launcher_proc; /* or OUTBOX_NO_PROC */
	pg_atomic_uint32 ddl_count;     /* databases may have come or gone */
	/* outbox.max_relays, and behind them outbox.max_subscribers, so many in
	 * all; guarded by the lock */
	int launch_count;
	OutboxLaunch *launches;
	OutboxFiguresSlot *figures; /* outbox.max_relays; figures_slot.h */
	int crashes;                /* in a row, see crash.c */
	/* guarded by the lock: */
	int launcher_pid;            /* 0 = it does not run, ... */
	TimestampTz launcher_since;  /* or does, since then; 0 = it never has */
	TimestampTz relays_start_at; /* not before that; 0 = not known yet */
	/* what processes cannot be started for: shortage.c */
	OutboxShortage shortage[OUTBOX_KINDS];
	TimestampTz shortage_at[OUTBOX_KINDS];
	int inflight_slots;
	OutboxInflight *inflight;  /* by PGPROC number */
	OutboxKeptAway *kept_away; /* likewise; guarded by the lock */
	OutboxHandover *handovers; /* likewise, without it */
	OutboxDatabase databases[FLEXIBLE_ARRAY_MEMBER];
} OutboxShmem;

/* NULL unless outbox is in shared_preload_libraries */
extern OutboxShmem *outbox_shmem;

extern OutboxProcessKind outbox_kind_of(int number);
extern OutboxRelaySlot *outbox_slot_of(OutboxDatabase *db, int number);
extern void outbox_shmem_install_hooks(void);
extern void outbox_shmem_require(void);
extern OutboxDatabase *outbox_shmem_find(Oid dbid);
extern OutboxDatabase *outbox_shmem_my_database(void);
extern LWLock *outbox_shmem_inbox_lock(uint32 hash);
extern bool outbox_shmem_is_held_off(Oid dbid);
extern char *outbox_shmem_why_held_off(Oid dbid);
extern void outbox_shmem_forget(OutboxDatabase *db);
extern OutboxInflight *outbox_shmem_my_inflight(void);
extern uint32 outbox_shmem_my_proc(void);
extern void outbox_shmem_set_latch(uint32 proc);
extern void outbox_shmem_wake_launcher(void);

#endif /* OUTBOX_SHMEM_H */
