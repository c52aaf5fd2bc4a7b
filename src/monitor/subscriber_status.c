/*-------------------------------------------------------------------------
 *
 * subscriber_status.c
 *	  What SQL can see of a subscriber.
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

#include "shared/relay_state.h"
#include "shared/shortage.h"
#include "shared/subscriber_figures.h"
#include "shared/subscribers.h"

PG_FUNCTION_INFO_V1(outbox_subscriber_status);

/* the columns of its result */
enum
{
	STATE,
	STATE_SINCE,
	PID,
	LAST_ERROR,
	LAST_ERROR_AT,
	PARTITIONS,
	LAG_MESSAGES,
	LAG_SECONDS,
	HANDLED,
	REPEATED,
	FAILED,
	RATE,
	STATS_RESET,
	COLUMNS
};

/* A row of results; all is null that is not set */
typedef struct Row
{
	Datum values[COLUMNS];
	bool nulls[COLUMNS];
} Row;

static void
set(Row *row, int column, Datum value)
{
	row->values[column] = value;
	row->nulls[column] = false;
}

/* null, if it is 0 */
static void
set_time(Row *row, int column, TimestampTz time)
{
	if (time != 0)
		set(row, column, TimestampTzGetDatum(time));
}

/* What it counts, and how much is behind; that only while it runs */
static void
set_figures(Row *row, OutboxSubscriberSlot *slot)
{
	TimestampTz now = GetCurrentTimestamp();
	int64 lag = (int64) pg_atomic_read_u64(&slot->lag_messages);
	TimestampTz since = (TimestampTz) pg_atomic_read_u64(&slot->lag_since);

	set(row, HANDLED, UInt64GetDatum(pg_atomic_read_u64(&slot->handled)));
	set(row, REPEATED, UInt64GetDatum(pg_atomic_read_u64(&slot->repeated)));
	set(row, FAILED, UInt64GetDatum(pg_atomic_read_u64(&slot->failed)));
	set(row, RATE, Float8GetDatum(outbox_subscriber_rate(slot, now)));
	set_time(row, STATS_RESET, slot->counted_since);
	if (slot->process.status.pid == 0)
		return;
	set(row, PARTITIONS,
		UInt32GetDatum(pg_atomic_read_u32(&slot->partitions)));
	if (lag == OUTBOX_LAG_UNKNOWN)
		return;
	set(row, LAG_MESSAGES, Int64GetDatum(lag));
	set(row, LAG_SECONDS,
		Float8GetDatum(
			since == 0 ? 0 : Max(0, (double) (now - since) / USECS_PER_SEC)));
}

/* Writes down what is in the way of one that does not run: an error of its
 * own, or why none can run; which of them is newer. */
static void
explain(OutboxRelayStatus *status, const char *database)
{
	TimestampTz since;
	char *why =
		outbox_shortage_why_none(OUTBOX_KIND_SUBSCRIBER, database, &since);

	if (why == NULL || since < status->last_error_at)
		return;
	strlcpy(status->last_error, why, sizeof(status->last_error));
	status->last_error_at = since;
}

/* The caller holds outbox_shmem->lock. */
static OutboxSubscriberSlot *
find_slot(const char *subscription, int worker)
{
	OutboxDatabase *db = outbox_shmem_find(MyDatabaseId);

	for (int i = 0; db != NULL && i < OUTBOX_SUBSCRIBERS; i++)
	{
		OutboxSubscriberSlot *slot = &db->subscribers.slots[i];

		if (slot->worker == worker &&
			strcmp(slot->process.name, subscription) == 0)
			return slot;
	}
	return NULL;
}

/*
 * outbox.subscriber_status(subscription, worker): a subscriber of this database
 * as shared memory knows it. Figures are null if there is none.
 */
Datum
outbox_subscriber_status(PG_FUNCTION_ARGS)
{
	char *subscription = text_to_cstring(PG_GETARG_TEXT_PP(0));
	const char *database = get_database_name(MyDatabaseId);
	OutboxSubscriberSlot *slot;
	OutboxRelayStatus status = {0};
	TupleDesc tupdesc;
	Row row;

	outbox_shmem_require();
	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	memset(row.nulls, true, sizeof(row.nulls));

	LWLockAcquire(outbox_shmem->lock, LW_SHARED);
	slot = subscription[0] == '\0'
			   ? NULL
			   : find_slot(subscription, PG_GETARG_INT32(1));
	if (slot != NULL)
	{
		status = slot->process.status;
		set_figures(&row, slot);
	}
	LWLockRelease(outbox_shmem->lock);

	if (status.pid == 0)
		explain(&status, database);
	set(&row, STATE,
		CStringGetTextDatum(outbox_relay_state_name(&status, database)));
	set_time(&row, STATE_SINCE,
			 status.failing_since != 0 ? status.failing_since
									   : status.state_since);
	if (status.pid != 0)
		set(&row, PID, Int32GetDatum(status.pid));
	if (status.last_error_at != 0)
		set(&row, LAST_ERROR, CStringGetTextDatum(status.last_error));
	set_time(&row, LAST_ERROR_AT, status.last_error_at);
	PG_RETURN_DATUM(HeapTupleGetDatum(
		heap_form_tuple(BlessTupleDesc(tupdesc), row.values, row.nulls)));
}
