/*-------------------------------------------------------------------------
 *
 * emit_now.c
 *	  outbox_emit_now(): the session's side. The event has been checked as
 *	  that of any outbox_emit(); it is handed over to a relay (handover.c),
 *	  which commits it on its own, and the session waits for that.
 *
 * It waits for no lock that the relay waits for, as the relay waits for none
 * (store/transaction.c): what is locked, perhaps by this very transaction, is
 * an error when the time is over.
 *
 * The relay's commit is asynchronous. It is made durable here, where only this
 * session waits for the disk, and only if its own commits would be.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "emit/emit_now.h"
#include "event.h"
#include "guc.h"
#include "shared/handover.h"
#include "shared/relay_state.h"
#include "shared/relays.h"
#include "shared/shortage.h"
#include "shared/wait.h"
#include "store/pending.h"

/* one that a relay has taken is committed at once; for so long the session
 * waits to know, beyond its time, and whatever interrupts it */
#define TAKEN_MS 1000

/* What keeps relays of this database from running for longer than a moment;
 * NULL = nothing, or one runs */
static const char *
why_no_relay(OutboxDatabase *db, bool *any)
{
	const char *database = get_database_name(MyDatabaseId);
	TimestampTz since;
	char *why;

	LWLockAcquire(outbox_shmem->lock, LW_SHARED);
	*any = outbox_relays_any(db);
	LWLockRelease(outbox_shmem->lock);
	if (*any)
		return NULL;
	why = outbox_shortage_why_none(OUTBOX_KIND_RELAY, database, &since);
	if (why != NULL)
		return why;
	if (!outbox_enabled)
		return "outbox.enabled is off";
	if (!outbox_guc_database_allowed(database, NULL))
		return "outbox.databases does not name this database";
	return NULL;
}

static const char *const not_emitted = "It is not published, and will not be.";

/* Nobody need wait for a relay that does not come. */
static void
check_relay(OutboxDatabase *db)
{
	bool any;
	const char *why = why_no_relay(db, &any);

	if (why != NULL)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("could not emit the event: no relay runs in "
							   "this database"),
						errdetail("%s The reason: %s.", not_emitted, why),
						errhint("outbox_emit() needs no relay.")));
}

/* The time is over, and no relay has taken the event. */
static void
report_not_taken(OutboxDatabase *db)
{
	bool any;
	const char *why = why_no_relay(db, &any);
	bool locked = pg_atomic_read_u32(&db->handover_locked) != 0;

	if (any && locked)
		why = "somebody's lock on a table of outbox, or a load, is in the way";
	else if (any)
		why = "the relay is too busy, fails or hangs";
	else if (why == NULL)
		why = "no relay runs in this database";
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("could not emit the event: no relay has taken it within "
					"%d ms",
					outbox_emit_now_timeout_ms),
			 errdetail("%s The reason: %s.", not_emitted, why),
			 any && locked
				 ? errhint("The lock may be this transaction's own; pg_locks "
						   "has those of others.")
				 : errhint("outbox.health() and the server's log tell more; "
						   "outbox.emit_now_timeout is the time.")));
}

/* A relay has taken the event, and not told what has become of it. */
static void
report_unknown(const Datum *values)
{
	char *event_id = DatumGetCString(
		DirectFunctionCall1(uuid_out, values[OUTBOX_EVENT_EVENT_ID]));

	ereport(ERROR,
			(errcode(ERRCODE_TRANSACTION_RESOLUTION_UNKNOWN),
			 errmsg("it is not known whether the event has been emitted"),
			 errdetail("A relay has begun to commit it, and has not "
					   "answered in time. Its event_id is %s.",
					   event_id),
			 errhint("outbox.event_status will show it if it has been.")));
}

/*
 * Waits until a relay has answered, or the time is over, and lets it go.
 * Returns its last state.
 */
static OutboxHandoverState
wait_for_answer(TimestampTz deadline)
{
	TimestampTz patience = 0; /* with one that is known to be taken */

	for (;;)
	{
		TimestampTz now = GetCurrentTimestamp();
		OutboxHandoverState state = outbox_handover_state();
		bool asked = (state == OUTBOX_HANDOVER_ASKED);
		bool waits = asked || state == OUTBOX_HANDOVER_TAKEN;
		long left_ms = TimestampDifferenceMilliseconds(
			now, asked ? deadline
					   : TimestampTzPlusMilliseconds(deadline, TAKEN_MS));

		if (!waits || left_ms <= 0)
		{
			if (outbox_handover_let_go(state))
				return state;
			continue;
		}
		/* one that is taken must not be left for what can wait a moment */
		if (asked)
			patience = 0;
		else if (patience == 0)
			patience = TimestampTzPlusMilliseconds(now, TAKEN_MS);
		if (now < patience)
			left_ms =
				Min(left_ms, TimestampDifferenceMilliseconds(now, patience));
		else
			CHECK_FOR_INTERRUPTS();
		outbox_wait_session(left_ms, OUTBOX_WAIT_EMIT_NOW);
	}
}

/* The wait has been ended by an error, or the process ends. */
static void
give_up(int code, Datum arg)
{
	(void) code;
	(void) arg;
	while (!outbox_handover_let_go(outbox_handover_state()))
		;
}

/* Has the row committed by a relay. Returns what has become of it. */
static OutboxHandoverState
hand_over(OutboxDatabase *db, HeapTuple tuple, bool delayed)
{
	TimestampTz deadline = TimestampTzPlusMilliseconds(
		GetCurrentTimestamp(), outbox_emit_now_timeout_ms);
	dsm_segment *segment =
		dsm_create(offsetof(OutboxHandedRow, tuple) + tuple->t_len, 0);
	OutboxHandedRow *row = dsm_segment_address(segment);
	OutboxHandoverState state;

	row->bytes = tuple->t_len;
	memcpy(row->tuple, tuple->t_data, tuple->t_len);
	/* a relay may not have answered for an event that was abandoned */
	while (!outbox_handover_ask(db, dsm_segment_handle(segment), delayed))
	{
		long left_ms =
			TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);

		if (left_ms <= 0)
			report_not_taken(db);
		CHECK_FOR_INTERRUPTS();
		outbox_wait_session(left_ms, OUTBOX_WAIT_EMIT_NOW);
	}
	PG_ENSURE_ERROR_CLEANUP(give_up, (Datum) 0);
	{
		state = wait_for_answer(deadline);
	}
	PG_END_ENSURE_ERROR_CLEANUP(give_up, (Datum) 0);
	dsm_detach(segment);
	return state;
}

/*
 * Commits an event, which has been checked, in a relay's transaction. It is
 * durable when this returns, if the session's own commits are. Raises an error
 * if it has not been committed, and says if that is not for sure.
 */
void
outbox_emit_now_commit(Datum *values, bool *nulls, bool delayed)
{
	OutboxDatabase *db = outbox_shmem_my_database();
	const OutboxHandover *handover = outbox_handover_mine();
	HeapTuple tuple;
	OutboxHandoverState state;

	values[OUTBOX_EVENT_ID] = Int64GetDatum(0);
	tuple = outbox_event_form(values, nulls, delayed);
	outbox_pending_check(db, 1, (int64) tuple->t_len);
	check_relay(db);
	state = hand_over(db, tuple, delayed);
	heap_freetuple(tuple);
	if (state == OUTBOX_HANDOVER_ASKED)
		report_not_taken(db);
	if (state == OUTBOX_HANDOVER_TAKEN)
		report_unknown(values);
	if (state == OUTBOX_HANDOVER_FAILED)
		ereport(ERROR,
				(errcode(handover->sqlerrcode),
				 errmsg("could not emit the event: %s", handover->error),
				 errdetail("%s", not_emitted)));
	if (synchronous_commit > SYNCHRONOUS_COMMIT_OFF)
		XLogFlush((XLogRecPtr) handover->commit_lsn);
}
