/*-------------------------------------------------------------------------
 *
 * relay.c
 *	  The process that publishes one database's events: its life, its
 *	  settings and its loop.
 *
 * One round of the loop takes in what the broker has answered, publishes a
 * page of events (publish.c), and writes the position now and then. When a
 * round has done nothing, the process waits for its latch, which a committing
 * backend sets, and for the sink's pipe, both at once; there is no polling.
 *
 * No transaction, snapshot or lock is held while waiting: each function of
 * store.c ends its own.
 *
 * Any error ends the process; the launcher starts another one, which goes on
 * from the position. SIGTERM (core's handler) is acted upon at once inside
 * lock waits; in the loop, after the page that is being read, the process
 * first gives the broker a moment to answer and writes its position, so that
 * an orderly restart repeats nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/xact.h"
#include "commands/dbcommands.h"
#include "deadletter.h"
#include "fmgr.h"
#include "guc.h"
#include "horizon.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "publish.h"
#include "reconfigure.h"
#include "relay.h"
#include "retry.h"
#include "settle.h"
#include "status.h"
#include "storage/ipc.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "trouble.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "wait.h"

#define POSITION_EVERY_MS 1000
#define BUSY_RETRY_MS     50
#define SAFETY_TICK_MS    60000

/* class of our advisory lock, beside the 1 and 2 that SQL functions use */
#define RELAY_LOCK_CLASS  0x6f62

typedef struct Relay
{
	OutboxRelayArgs args;
	const char *name;
	OutboxStream stream;
	uint64 written; /* position in the table */
	TimestampTz written_at;
	uint32 extension_changes; /* of the database, that we have looked at */
} Relay;

static Relay relay;

/* Ends the process in good order. */
static void
finish(OutboxLaunchState state)
{
	outbox_status_launch(&relay.args, state);
	proc_exit(0);
}

static void
end_if_absent(OutboxStoreStatus status)
{
	if (status != OUTBOX_STORE_ABSENT)
		return;
	ereport(LOG, (errmsg("outbox relay for database \"%s\" ends: the "
						 "extension has been dropped",
						 relay.stream.database)));
	finish(OUTBOX_LAUNCH_ABSENT);
}

/* Writes the position if it has moved; not while others lock the table. */
static void
write_position(void)
{
	uint64 position = outbox_publish_position(&relay.stream);
	OutboxStoreStatus status;

	if (position == relay.written)
		return;
	status = outbox_store_write_position(relay.name, position);
	relay.written_at = GetCurrentTimestamp();
	if (status == OUTBOX_STORE_OK)
		relay.written = position;
	end_if_absent(status);
}

/*
 * Ends the process if the extension has been dropped. An idle relay, or one
 * without a sink, would not notice by itself: it reads nothing.
 */
static void
check_extension(void)
{
	uint32 changes = pg_atomic_read_u32(&relay.stream.db->extension_changes);
	OutboxStoreStatus status;

	if (changes == relay.extension_changes)
		return;
	status = outbox_store_check();
	end_if_absent(status);
	if (status == OUTBOX_STORE_OK)
		relay.extension_changes = changes;
	else
		relay.stream.busy_until =
			TimestampTzPlusMilliseconds(GetCurrentTimestamp(), BUSY_RETRY_MS);
}

/* Waits a moment for answers and writes the position; interrupts wait. */
static void
wind_up(void)
{
	HOLD_INTERRUPTS();
	outbox_publish_drain(&relay.stream, OUTBOX_PUBLISH_STOP_GRACE_MS);
	outbox_retry_drain(outbox_publish_position(&relay.stream),
					   OUTBOX_PUBLISH_STOP_GRACE_MS);
	write_position();
	RESUME_INTERRUPTS();
}

static void
handle_interrupts(void)
{
	if (ProcDiePending)
		wind_up();
	CHECK_FOR_INTERRUPTS();

	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
		if (!outbox_enabled ||
			!outbox_guc_database_allowed(relay.stream.database))
		{
			wind_up();
			ereport(LOG, (errmsg("outbox relay for database \"%s\" ends: "
								 "publishing is turned off",
								 relay.stream.database)));
			finish(OUTBOX_LAUNCH_FINISHED);
		}
		outbox_reconfigure(&relay.stream);
	}
}

/* How long there will be nothing to do unless somebody wakes us */
static long
next_timeout(void)
{
	TimestampTz now = GetCurrentTimestamp();
	long timeout_ms = SAFETY_TICK_MS;
	long patience_ms = outbox_trouble_patience_ms(&relay.stream);

	if (outbox_publish_position(&relay.stream) != relay.written)
		timeout_ms = TimestampDifferenceMilliseconds(
			now,
			TimestampTzPlusMilliseconds(relay.written_at, POSITION_EVERY_MS));
	if (relay.stream.busy_until > now)
		timeout_ms = Min(timeout_ms, BUSY_RETRY_MS);
	if (outbox_reconfigure_running() != NULL)
	{
		long retry_ms = outbox_retry_timeout_ms();
		long settle_ms = outbox_settle_timeout_ms(&relay.stream);
		long dead_ms = outbox_deadletter_timeout_ms();

		if (retry_ms >= 0)
			timeout_ms = Min(timeout_ms, retry_ms);
		if (dead_ms >= 0)
			timeout_ms = Min(timeout_ms, dead_ms);
		if (settle_ms >= 0)
			timeout_ms = Min(timeout_ms, settle_ms);
	}
	if (patience_ms >= 0)
		timeout_ms = Min(timeout_ms, patience_ms);
	return timeout_ms;
}

/* One round; true if anything was done. */
static bool
round_of_work(void)
{
	OutboxStream *stream = &relay.stream;
	const OutboxSinkConfig *config = outbox_reconfigure_running();
	bool progress = outbox_publish_poll(stream);
	bool page = false;
	uint64 published = pg_atomic_read_u64(&stream->db->published);

	if (config != NULL)
	{
		end_if_absent(outbox_settle_run(stream, &progress));
		outbox_reconfigure_reopen(stream);
		end_if_absent(outbox_retry_run(config, outbox_publish_position(stream),
									   &progress));
		/* an outage may end while the stream itself has nothing to send */
		if (stream->trouble_since != 0 && !outbox_publish_is_pending(stream) &&
			pg_atomic_read_u64(&stream->db->published) != published)
			outbox_trouble_over(stream);
		end_if_absent(outbox_deadletter_run(config, &progress));
		end_if_absent(outbox_publish_page(stream, &page));
	}
	outbox_publish_show_position(stream);
	if (TimestampDifferenceExceeds(relay.written_at, GetCurrentTimestamp(),
								   POSITION_EVERY_MS))
		write_position();
	return progress || page;
}

static void
run(void)
{
	for (;;)
	{
		Assert(CurrentMemoryContext == TopMemoryContext);
		handle_interrupts();
		check_extension();
		if (!round_of_work())
			outbox_wait(next_timeout(),
						outbox_publish_is_pending(&relay.stream)
							? OUTBOX_WAIT_RELAY_ACK
							: OUTBOX_WAIT_RELAY_IDLE);
	}
}

/* One relay of this name for each database, whoever starts it */
static void
lock_relay(void)
{
	LOCKTAG tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, 0, RELAY_LOCK_CLASS);
	if (LockAcquire(&tag, ExclusiveLock, true, true) == LOCKACQUIRE_NOT_AVAIL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_IN_USE),
						errmsg("another outbox relay \"%s\" is active in "
							   "this database",
							   relay.name)));
}

/* Learns from the database where to go on. */
static void
attach(void)
{
	OutboxStoreStatus status;
	uint64 last_id = 0;

	lock_relay();
	for (;;)
	{
		status = outbox_store_check();
		if (status == OUTBOX_STORE_OK)
		{
			/* before anything else can fail, so that it is shown there */
			relay.stream.db = outbox_shmem_my_database();
			status = outbox_store_open(relay.name, &relay.stream.read_upto,
									   &last_id);
		}
		if (status != OUTBOX_STORE_BUSY)
			break;
		CHECK_FOR_INTERRUPTS();
		outbox_wait(BUSY_RETRY_MS, OUTBOX_WAIT_RELAY_IDLE);
	}
	if (status == OUTBOX_STORE_ABSENT)
		finish(OUTBOX_LAUNCH_ABSENT);

	if (!outbox_status_attach(relay.stream.db, &relay.args))
	{
		relay.stream.db = NULL;
		finish(OUTBOX_LAUNCH_FINISHED);
	}

	relay.written = relay.stream.read_upto;
	relay.written_at = GetCurrentTimestamp();
	relay.stream.more = true;
	relay.stream.relay = relay.name;
	/* the first round looks: it may have changed since the store was opened */
	relay.extension_changes =
		pg_atomic_read_u32(&relay.stream.db->extension_changes) - 1;
	/* if the sequence was set back, nobody may use ids up to the position */
	outbox_horizon_raise(relay.stream.db,
						 Max(last_id, relay.stream.read_upto));
	pg_atomic_write_u64(&relay.stream.db->position, relay.stream.read_upto);
	pg_atomic_write_u32(&relay.stream.db->relay_ready, 1);
	ConditionVariableBroadcast(&relay.stream.db->position_moved);
}

static void
before_exit_close(int code, Datum arg)
{
	(void) code;
	(void) arg;
	outbox_publish_close(&relay.stream);
	outbox_retry_close();
	outbox_deadletter_close();
}

static void
before_exit_detach(int code, Datum arg)
{
	(void) code;
	(void) arg;
	if (relay.stream.db != NULL)
		outbox_status_detach(relay.stream.db);
}

/* Keeps the message of an unexpected error for outbox.stat_relay. */
static void
show_error(void)
{
	ErrorData *error;

	if (relay.stream.db == NULL)
		return;
	MemoryContextSwitchTo(TopMemoryContext);
	error = CopyErrorData();
	outbox_status_error(relay.stream.db, error->message);
	FreeErrorData(error);
}

static void
connect_database(void)
{
	/* registered before the connection, so it runs after the connection has
	 * gone: no process shown means that its locks are free */
	before_shmem_exit(before_exit_detach, (Datum) 0);
	BackgroundWorkerInitializeConnectionByOid(relay.args.dbid, InvalidOid, 0);
	before_shmem_exit(before_exit_close, (Datum) 0);
	outbox_store_init();

	StartTransactionCommand();
	relay.stream.database =
		MemoryContextStrdup(TopMemoryContext, get_database_name(MyDatabaseId));
	CommitTransactionCommand();
	pgstat_report_activity(STATE_IDLE, NULL);
	MemoryContextSwitchTo(TopMemoryContext);
	outbox_status_launch(&relay.args, OUTBOX_LAUNCH_RUNNING);
}

void
outbox_relay_main(Datum main_arg)
{
	OutboxSinkApiFunction sink_api;

	(void) main_arg;
	memcpy(&relay.args, MyBgworkerEntry->bgw_extra, sizeof(relay.args));
	relay.name = OUTBOX_DEFAULT_RELAY;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	/* there is no statement of anybody's to cancel */
	pqsignal(SIGINT, SIG_IGN);
	BackgroundWorkerUnblockSignals();
	if (outbox_status_is_blocked(&relay.args))
		finish(OUTBOX_LAUNCH_FINISHED);
	connect_database();

	PG_TRY();
	{
		attach();
		sink_api = (OutboxSinkApiFunction) load_external_function(
			"$libdir/outbox_kafka", OUTBOX_SINK_SYMBOL, true, NULL);
		relay.stream.api = sink_api();
		outbox_retry_init(relay.stream.db, relay.name, relay.stream.api);
		outbox_deadletter_init(relay.name, relay.stream.api);
		outbox_status_set(relay.stream.db, OUTBOX_RELAY_UNCONFIGURED);

		/* a SIGHUP may have come before there was a handler */
		ConfigReloadPending = true;
		outbox_reconfigure(&relay.stream);
		run();
	}
	PG_CATCH();
	{
		outbox_status_launch(&relay.args, OUTBOX_LAUNCH_FAILED);
		show_error();
		PG_RE_THROW();
	}
	PG_END_TRY();
}
