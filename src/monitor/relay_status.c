/*-------------------------------------------------------------------------
 *
 * relay_status.c
 *	  What SQL can see of a relay, and outbox.wait_published().
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "commands/dbcommands.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "guc.h"
#include "shared/horizon.h"
#include "shared/relay_state.h"
#include "shared/relays.h"
#include "shared/shortage.h"
#include "shared/wait.h"

PG_FUNCTION_INFO_V1(outbox_relay_status);
PG_FUNCTION_INFO_V1(outbox_wait_published);

#define STATUS_COLUMNS 8

static void
set_time(Datum *values, bool *nulls, int column, TimestampTz time)
{
	nulls[column] = (time == 0);
	values[column] = TimestampTzGetDatum(time);
}

/* Writes down what is in the way of a relay that does not run: an error of its
 * own, or why none can run; which of them is newer. */
static void
explain(OutboxRelayStatus *status)
{
	TimestampTz since;
	char *why = outbox_shortage_why_none(
		OUTBOX_KIND_RELAY, get_database_name(MyDatabaseId), &since);

	if (why == NULL || since < status->last_error_at)
		return;
	strlcpy(status->last_error, why, sizeof(status->last_error));
	status->last_error_at = since;
}

/*
 * outbox.relay_status(relay): a relay of this database as shared memory knows
 * it. Positions are null if they are not known since the server started.
 */
Datum
outbox_relay_status(PG_FUNCTION_ARGS)
{
	char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	TupleDesc tupdesc;
	Datum values[STATUS_COLUMNS];
	bool nulls[STATUS_COLUMNS] = {0};
	OutboxRelayStatus status = {0};
	OutboxDatabase *db;
	OutboxRelaySlot *slot = NULL;
	bool ready = false;
	uint64 position = 0;
	uint64 horizon = 0;
	uint64 published = 0;

	outbox_shmem_require();
	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");

	LWLockAcquire(outbox_shmem->lock, LW_SHARED);
	db = outbox_shmem_find(MyDatabaseId);
	if (db != NULL && name[0] != '\0')
		slot = outbox_relays_find(db, name);
	if (slot != NULL)
	{
		status = slot->status;
		/* somebody has something for it, but it has not been started yet */
		if (status.state == OUTBOX_RELAY_IDLE &&
			!outbox_horizon_sleeps(db, slot))
			status.state = OUTBOX_RELAY_STOPPED;
		ready = pg_atomic_read_u32(&slot->ready) != 0;
		position = pg_atomic_read_u64(&slot->position);
		horizon = pg_atomic_read_u64(&slot->horizon);
		published = pg_atomic_read_u64(&slot->published);
	}
	LWLockRelease(outbox_shmem->lock);

	values[0] = CStringGetTextDatum(
		outbox_relay_state_name(&status, get_database_name(MyDatabaseId)));
	set_time(values, nulls, 1,
			 status.failing_since != 0 ? status.failing_since
									   : status.state_since);
	nulls[2] = (status.pid == 0);
	values[2] = Int32GetDatum(status.pid);
	nulls[3] = !ready;
	values[3] = Int64GetDatum((int64) position);
	nulls[4] = !ready || horizon == 0;
	values[4] = Int64GetDatum((int64) horizon);
	values[5] = Int64GetDatum((int64) published);
	if (status.pid == 0 && status.state != OUTBOX_RELAY_IDLE)
		explain(&status);
	nulls[6] = (status.last_error_at == 0);
	values[6] = CStringGetTextDatum(status.last_error);
	set_time(values, nulls, 7, status.last_error_at);

	PG_RETURN_DATUM(HeapTupleGetDatum(
		heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls)));
}

/* Are the events published of which we know now that they have committed? By
 * that relay, or if it is NULL, by all. */
static bool
is_published(OutboxDatabase *db, const char *relay, uint64 *target)
{
	uint64 position;
	bool is_known;

	if (relay == NULL)
		is_known = outbox_relays_position(db, &position);
	else if (!outbox_relays_position_of(db, relay, &is_known, &position))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("relay \"%s\" does not exist", relay),
						errhint("The relays of this database are in "
								"outbox.stat_relay.")));
	if (!is_known)
		return false;
	/* only now it is sure that last_issued covers what was there before the
	 * server started */
	if (*target == 0)
		*target = pg_atomic_read_u64(&db->last_issued);
	return position >= *target;
}

/*
 * outbox.wait_published(timeout interval, relay text): waits until everything
 * that was committed before the call is acknowledged or parked, by that relay
 * or by all. False if that takes longer.
 */
Datum
outbox_wait_published(PG_FUNCTION_ARGS)
{
	TimestampTz deadline;
	OutboxDatabase *db;
	char *relay = NULL;
	uint64 target = 0;
	bool published;

	outbox_shmem_require();
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	if (!PG_ARGISNULL(1))
		relay = text_to_cstring(PG_GETARG_TEXT_PP(1));
	db = outbox_shmem_my_database();
	deadline = DatumGetTimestampTz(DirectFunctionCall2(
		timestamptz_pl_interval, TimestampTzGetDatum(GetCurrentTimestamp()),
		PG_GETARG_DATUM(0)));

	/* one that only passes over events is in no hurry */
	outbox_relays_wake(db);
	ConditionVariablePrepareToSleep(&db->position_moved);
	while (!(published = is_published(db, relay, &target)))
	{
		long left_ms =
			TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);

		if (left_ms <= 0)
			break;
		ConditionVariableTimedSleep(&db->position_moved, left_ms,
									outbox_wait_event(OUTBOX_WAIT_PUBLISHED));
	}
	ConditionVariableCancelSleep();
	PG_RETURN_BOOL(published);
}
