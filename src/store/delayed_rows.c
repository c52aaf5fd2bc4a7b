/*-------------------------------------------------------------------------
 *
 * delayed_rows.c
 *	  The SQL on outbox.delayed, events that are not due yet. All is done in
 *	  the current transaction, which has locked the table.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "catalog/pg_type.h"
#include "utils/timestamp.h"

#include "store/delayed_rows.h"
#include "store/event_receiver.h"

/* Finds the first event there or later; false if there is none. */
bool
outbox_delayed_rows_first(OutboxDelayedPlace from, OutboxDelayedPlace *first)
{
	static OutboxStatement statement = {
		.sql = "SELECT deliver_at, id FROM outbox.delayed"
			   " WHERE (deliver_at, id) >= ($1, $2)"
			   " ORDER BY deliver_at, id LIMIT 1",
		.nargs = 2,
		.types = {TIMESTAMPTZOID, INT8OID}};
	Datum values[] = {TimestampTzGetDatum(from.due), Int64GetDatum(from.id)};

	if (outbox_store_execute(&statement, values, NULL) == 0)
		return false;
	first->due = outbox_store_result(0, 1);
	first->id = outbox_store_result(0, 2);
	return true;
}

/*
 * Takes events from that place on that are due now out of the table, at most
 * limit of them and none that others have locked, and gives them to the
 * consumer, with the time when they were due as theirs. They are found again
 * by their ctid: by their id, a plan that was made while the table was all but
 * empty looks at every row for each of them.
 */
uint64
outbox_delayed_rows_take(OutboxDelayedPlace from, TimestampTz now, int64 limit,
						 OutboxEventConsumer consumer, void *arg)
{
	static OutboxStatement statement = {
		.sql = "WITH due AS MATERIALIZED ("
			   " SELECT ctid FROM outbox.delayed"
			   " WHERE (deliver_at, id) >= ($1, $2) AND deliver_at <= $3"
			   " ORDER BY deliver_at, id LIMIT $4 FOR UPDATE SKIP LOCKED),"
			   " moved AS ("
			   " DELETE FROM outbox.delayed"
			   " WHERE ctid = ANY (ARRAY(SELECT ctid FROM due)) RETURNING *)"
			   " SELECT id, event_id, deliver_at, topic, key, payload,"
			   "  headers, expires_at, type, source, content_type"
			   " FROM moved ORDER BY deliver_at, id",
		.nargs = 4,
		.types = {TIMESTAMPTZOID, INT8OID, TIMESTAMPTZOID, INT8OID}};
	Datum values[] = {TimestampTzGetDatum(from.due), Int64GetDatum(from.id),
					  TimestampTzGetDatum(now), Int64GetDatum(limit)};

	return outbox_store_stream(&statement, values, NULL, consumer, arg);
}
