/*-------------------------------------------------------------------------
 *
 * expiry.c
 *	  Events that expire before they are published become dead letters, of
 *	  class expired: those of the stream when their turn comes (parked_writer.c), those
 *	  that are parked at their time, in a transaction of their own.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "retry/blocked_keys.h"
#include "retry/dead_letter_copies.h"
#include "retry/expiry.h"
#include "store/parked.h"
#include "store/parked_held.h"

/* how soon rows that others have locked are tried again */
#define BUSY_RETRY_MS 1000

/* when the first of the parked events expires; 0 = look */
static TimestampTz next = 0;

/* Events may have been parked: it is not known any more when one expires. */
void
outbox_expiry_check(void)
{
	next = 0;
}

/* An event that expires then has been parked. */
void
outbox_expiry_note(TimestampTz expires_at)
{
	next = Min(next, expires_at);
}

/* When outbox_expiry_to_dead_letters() has something to do */
TimestampTz
outbox_expiry_next(void)
{
	return next;
}

/* Makes dead letters of parked events whose time has passed. */
OutboxStoreStatus
outbox_expiry_to_dead_letters(const char *relay)
{
	static OutboxStatement bury = {
		.sql = "UPDATE outbox.parked SET state = 'dead', class = "
			   "'" OUTBOX_EXPIRED_CLASS "',"
			   "  error = '" OUTBOX_EXPIRED_ERROR "', blocking = false,"
			   "  next_attempt_at = NULL,"
			   "  first_failed_at = COALESCE(first_failed_at, now()),"
			   "  last_failed_at = now()"
			   " WHERE relay = $1 AND id = ANY"
			   " (ARRAY(SELECT id FROM outbox.parked WHERE relay = $1"
			   "  AND state <> 'dead' AND expires_at IS NOT NULL"
			   "  AND expires_at <= $2 AND id <> ALL ($3)"
			   "  FOR UPDATE SKIP LOCKED))",
		.nargs = 3,
		.types = {TEXTOID, TIMESTAMPTZOID, INT8ARRAYOID}};
	static OutboxStatement look = {
		.sql = "SELECT min(expires_at) FROM outbox.parked WHERE relay = $1"
			   " AND state <> 'dead' AND expires_at IS NOT NULL",
		.nargs = 1,
		.types = {TEXTOID}};
	TimestampTz now = GetCurrentTimestamp();
	OutboxStoreStatus status =
		outbox_store_begin("outbox: looking for expired events");
	Datum values[3];
	uint64 buried;

	if (status != OUTBOX_STORE_OK)
		return status;
	values[0] = CStringGetTextDatum(relay);
	values[1] = TimestampTzGetDatum(now);
	values[2] = outbox_held_ids(OUTBOX_HELD_DELIVERED);
	buried = outbox_store_execute(&bury, values, NULL);
	outbox_store_execute(&look, values, NULL);
	next = outbox_store_result(1);
	if (next == 0)
		next = DT_NOEND;
	else if (next <= now)
		next = TimestampTzPlusMilliseconds(now, BUSY_RETRY_MS);
	outbox_store_end();
	if (buried > 0)
	{
		outbox_blocked_keys_reload();
		outbox_dead_letter_copies_added();
	}
	return OUTBOX_STORE_OK;
}
