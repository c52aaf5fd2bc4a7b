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
 * from the position. SIGTERM cancels what is under way, but for the page that
 * is being read (stop.c). Then the process gives the broker a moment to answer
 * and writes its position, so that an orderly restart repeats nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include <unistd.h>

#include "access/xact.h"
#include "attach.h"
#include "commands/dbcommands.h"
#include "deadletter.h"
#include "delayed.h"
#include "fmgr.h"
#include "guc.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "pgstat.h"
#include "position.h"
#include "postmaster/interrupt.h"
#include "publish.h"
#include "reconfigure.h"
#include "relay.h"
#include "replay.h"
#include "retry.h"
#include "settle.h"
#include "session.h"
#include "status.h"
#include "stop.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "storage.h"
#include "tcop/tcopprot.h"
#include "trouble.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "wait.h"

#define POSITION_EVERY_MS 1000
#define BUSY_RETRY_MS     50
#define SAFETY_TICK_MS    60000

typedef struct Relay
{
	OutboxRelayArgs args;
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

/* Has the position moved since it was written? */
static bool
needs_writing(void)
{
	return relay.stream.used &&
		   outbox_publish_position(&relay.stream) != relay.written;
}

/*
 * Writes the position if it has moved; not while others lock the table, and
 * not before there have been events: it may be a restore that has brought the
 * sequence, and has yet to bring events and position.
 */
static void
write_position(void)
{
	uint64 position = outbox_publish_position(&relay.stream);
	OutboxStoreStatus status;

	if (!needs_writing())
		return;
	status = outbox_position_write(relay.stream.relay, position);
	relay.written_at = GetCurrentTimestamp();
	if (status == OUTBOX_STORE_OK)
	{
		relay.written = position;
		outbox_storage_used();
	}
	end_if_absent(status);
}

/*
 * Waits a moment for answers and writes down what has been published. If locks
 * of others are in the way, that is an error, which ends the process, too.
 */
static void
wind_up(void)
{
	outbox_publish_drain(&relay.stream, OUTBOX_STOP_GRACE_MS);
	outbox_store_limit_waits(OUTBOX_STOP_GRACE_MS);
	write_position();
	outbox_retry_drain(outbox_publish_position(&relay.stream),
					   OUTBOX_STOP_GRACE_MS);
}

/* Ends the process, as SIGTERM has asked for, with core's message. */
static void
end_as_asked(void)
{
	QueryCancelPending = false;
	wind_up();
	ereport(FATAL, (errcode(ERRCODE_ADMIN_SHUTDOWN),
					errmsg("terminating background worker \"%s\" due to "
						   "administrator command",
						   MyBgworkerEntry->bgw_type)));
}

/* SIGTERM has met a transaction: undoes it. What it was to write down is
 * written again before the process ends. */
static void
undo_cancelled(void)
{
	FlushErrorState();
	AbortOutOfAnyTransaction();
	MemoryContextSwitchTo(TopMemoryContext);
	outbox_position_forget();
}

/*
 * Ends the process if the extension has been dropped, or updated to another
 * version. An idle relay, or one without a sink, would not notice by itself:
 * it reads nothing.
 */
static void
check_extension(void)
{
	uint32 changes = pg_atomic_read_u32(&relay.stream.db->extension_changes);
	char version[NAMEDATALEN];
	OutboxStoreStatus status;

	if (changes == relay.extension_changes)
		return;
	status = outbox_store_version(version, sizeof(version));
	end_if_absent(status);
	if (status != OUTBOX_STORE_OK)
	{
		relay.stream.busy_until =
			TimestampTzPlusMilliseconds(GetCurrentTimestamp(), BUSY_RETRY_MS);
		return;
	}
	relay.extension_changes = changes;
	if (strcmp(version, OUTBOX_VERSION) == 0)
		return;
	wind_up();
	ereport(LOG, (errmsg("outbox relay for database \"%s\" ends: the "
						 "extension has become one of version %s",
						 relay.stream.database, version)));
	finish(OUTBOX_LAUNCH_FINISHED);
}

static void
handle_interrupts(void)
{
	if (outbox_stop_is_requested())
		end_as_asked();
	CHECK_FOR_INTERRUPTS();

	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
		if (!outbox_enabled ||
			!outbox_guc_database_allowed(relay.stream.database, NULL))
		{
			wind_up();
			ereport(WARNING,
					(errmsg("outbox relay for database \"%s\" ends: "
							"publishing is turned off",
							relay.stream.database),
					 errdetail("Events are kept, and no space is freed.")));
			finish(OUTBOX_LAUNCH_FINISHED);
		}
		outbox_reconfigure(&relay.stream);
		outbox_storage_reload();
		outbox_deadletter_reload();
	}
}

/* How long there will be nothing to do unless somebody wakes us */
static long
next_timeout(void)
{
	TimestampTz now = GetCurrentTimestamp();
	long timeout_ms = SAFETY_TICK_MS;
	const long others[] = {outbox_trouble_patience_ms(&relay.stream),
						   outbox_delayed_timeout_ms(relay.stream.db),
						   outbox_replay_timeout_ms(relay.stream.db),
						   outbox_storage_timeout_ms()};

	if (needs_writing())
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
	for (size_t i = 0; i < lengthof(others); i++)
	{
		if (others[i] >= 0)
			timeout_ms = Min(timeout_ms, others[i]);
	}
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
	TimestampTz now;

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
	now = GetCurrentTimestamp();
	/* the clock may have been set back */
	relay.written_at = Min(relay.written_at, now);
	if (TimestampDifferenceExceeds(relay.written_at, now, POSITION_EVERY_MS))
		write_position();
	end_if_absent(outbox_delayed_run(stream->db, &progress));
	end_if_absent(outbox_replay_run(stream->db, &progress));
	end_if_absent(
		outbox_storage_run(stream->db, relay.stream.relay, relay.written));
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
		/* the latch tells of SIGTERM, unless a wait in the round has reset it
		 * and the cancelled transaction was one that may fail */
		if (!round_of_work() && !outbox_stop_is_requested())
			outbox_wait(next_timeout(),
						outbox_publish_is_pending(&relay.stream)
							? OUTBOX_WAIT_RELAY_ACK
							: OUTBOX_WAIT_RELAY_IDLE);
	}
}

/* Learns from the database where to go on. */
static void
attach(void)
{
	OutboxLaunchState state = outbox_attach(&relay.stream, &relay.args);

	if (state != OUTBOX_LAUNCH_STARTED)
		finish(state);
	relay.written = relay.stream.read_upto;
	relay.written_at = GetCurrentTimestamp();
	/* the first round looks: it may have changed since then */
	relay.extension_changes =
		pg_atomic_read_u32(&relay.stream.db->extension_changes) - 1;
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

/*
 * The last thing that this process does. If the client library has threads
 * left, exit() would run its clean-up, and that of OpenSSL, under their feet.
 */
static void
on_exit_leave(int code, Datum arg)
{
	(void) arg;
	if (relay.stream.api != NULL && !relay.stream.api->has_ended())
		_exit(code);
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
	outbox_session_pin();

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
	relay.stream.relay = OUTBOX_DEFAULT_RELAY;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	/* there is no statement of anybody's to cancel */
	pqsignal(SIGINT, SIG_IGN);
	/* registered before all others, so that it is called after them */
	on_proc_exit(on_exit_leave, (Datum) 0);
	BackgroundWorkerUnblockSignals();
	if (outbox_status_is_blocked(&relay.args))
		finish(OUTBOX_LAUNCH_FINISHED);
	connect_database();

	PG_TRY();
	{
		attach();
		/* before that there is nothing to be written */
		outbox_stop_install();
		sink_api = (OutboxSinkApiFunction) load_external_function(
			"$libdir/outbox_kafka", OUTBOX_SINK_SYMBOL, true, NULL);
		relay.stream.api = sink_api();
		outbox_retry_init(relay.stream.db, relay.stream.relay,
						  relay.stream.api);
		outbox_deadletter_init(relay.stream.relay, relay.stream.api);
		outbox_status_set(relay.stream.db, OUTBOX_RELAY_UNCONFIGURED);

		/* a SIGHUP may have come before there was a handler */
		ConfigReloadPending = true;
		outbox_reconfigure(&relay.stream);
		run();
	}
	PG_CATCH();
	{
		if (outbox_stop_is_reason(geterrcode()))
		{
			undo_cancelled();
			end_as_asked();
		}
		outbox_status_launch(&relay.args, OUTBOX_LAUNCH_FAILED);
		show_error();
		PG_RE_THROW();
	}
	PG_END_TRY();
}
