/*-------------------------------------------------------------------------
 *
 * parked_dead.c
 *	  The SQL on the dead letters among outbox.parked: how events become dead
 *	  letters without an attempt, their copies for a topic of their own, and
 *	  their end. Like parked.c, each function is a transaction of its own.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "shared/segment.h"
#include "store/parked.h"
#include "store/parked_held.h"

/* Makes dead letters of all that is parked of a topic. */
OutboxStoreStatus
outbox_parked_topic_to_dead_letters(const char *relay, const char *topic,
									const char *error, uint64 *buried)
{
	static OutboxStatement statement = {
		.sql = "UPDATE outbox.parked SET state = 'dead', class = 'topic',"
			   "  error = $3, next_attempt_at = NULL,"
			   "  attempts = attempts + (state = 'retrying')::integer,"
			   "  first_failed_at = COALESCE(first_failed_at, now()),"
			   "  last_failed_at = now()"
			   " WHERE relay = $1 AND id = ANY"
			   " (ARRAY(SELECT id FROM outbox.parked WHERE relay = $1"
			   "  AND topic = $2 AND state <> 'dead' AND id <> ALL ($4)"
			   "  FOR UPDATE SKIP LOCKED))",
		.nargs = 4,
		.types = {TEXTOID, TEXTOID, TEXTOID, INT8ARRAYOID}};
	OutboxStoreStatus status = outbox_store_begin("outbox: parking events");
	Datum values[4];

	if (status != OUTBOX_STORE_OK)
		return status;
	values[0] = CStringGetTextDatum(relay);
	values[1] = CStringGetTextDatum(topic);
	values[2] = CStringGetTextDatum(error);
	values[3] = outbox_held_ids(OUTBOX_HELD_DELIVERED);
	*buried = outbox_store_execute(&statement, values, NULL);
	outbox_store_end();
	return OUTBOX_STORE_OK;
}

/* Removes dead letters that have been kept long enough. */
OutboxStoreStatus
outbox_parked_expire(const char *relay, int retention_s)
{
	static OutboxStatement statement = {
		.sql = "WITH gone AS ("
			   " DELETE FROM outbox.parked WHERE relay = $1 AND id = ANY"
			   " (ARRAY(SELECT id FROM outbox.parked WHERE relay = $1"
			   "  AND state = 'dead'"
			   "  AND last_failed_at < now() - $2 * interval '1 second'"
			   "  LIMIT 100000 FOR UPDATE SKIP LOCKED))"
			   " RETURNING relay, id)"
			   " INSERT INTO outbox.discarded (relay, id)"
			   " SELECT relay, id FROM gone ON CONFLICT DO NOTHING",
		.nargs = 2,
		.types = {TEXTOID, FLOAT8OID}};
	OutboxStoreStatus status =
		outbox_store_begin("outbox: removing old dead letters");
	Datum values[2];

	if (status != OUTBOX_STORE_OK)
		return status;
	status = outbox_store_lock(OUTBOX_DISCARDED_TABLE, RowExclusiveLock);
	if (status == OUTBOX_STORE_OK)
	{
		values[0] = CStringGetTextDatum(relay);
		values[1] = Float8GetDatum(retention_s);
		outbox_store_execute(&statement, values, NULL);
	}
	outbox_store_end();
	return status;
}

/* The lowest id of the events that are kept; 0 = none are. Not by min(id): the
 * relay's plans do not sort, and would read them all for that. */
static OutboxStoreStatus
first_kept(uint64 *first_id)
{
	*first_id = 0;
	for (int i = 0; i < OUTBOX_SEGMENTS; i++)
	{
		OutboxSegmentBounds bounds;

		if (!outbox_segment_bounds(i, &bounds))
			return OUTBOX_STORE_BUSY;
		if (bounds.first_id != 0 &&
			(*first_id == 0 || bounds.first_id < *first_id))
			*first_id = bounds.first_id;
	}
	return OUTBOX_STORE_OK;
}

/*
 * Removes what is known of discarded events that are not kept any more: their
 * segments were emptied before they were discarded.
 */
OutboxStoreStatus
outbox_parked_forget_discarded(const char *relay)
{
	static OutboxStatement statement = {
		.sql = "DELETE FROM outbox.discarded WHERE relay = $1 AND id = ANY"
			   " (ARRAY(SELECT id FROM outbox.discarded WHERE relay = $1"
			   "  AND id < $2 LIMIT 100000 FOR UPDATE SKIP LOCKED))",
		.nargs = 2,
		.types = {TEXTOID, INT8OID}};
	OutboxStoreStatus status =
		outbox_store_begin("outbox: forgetting discarded events");
	Datum values[2];
	uint64 first_id = 0;

	if (status != OUTBOX_STORE_OK)
		return status;
	status = outbox_store_lock(OUTBOX_DISCARDED_TABLE, RowExclusiveLock);
	if (status == OUTBOX_STORE_OK)
		status =
			outbox_store_lock_ring(OUTBOX_EVENT_TABLE, OUTBOX_SEGMENT_PREFIX);
	if (status == OUTBOX_STORE_OK)
		status = first_kept(&first_id);
	if (status == OUTBOX_STORE_OK && first_id != 0)
	{
		values[0] = CStringGetTextDatum(relay);
		values[1] = Int64GetDatum((int64) first_id);
		outbox_store_execute(&statement, values, NULL);
	}
	outbox_store_end();
	return status;
}

/* Gives copies of dead letters for a topic of their own to the consumer. */
OutboxStoreStatus
outbox_parked_unannounced(const char *relay, const char *topic, int limit,
						  OutboxEventConsumer consumer, void *arg,
						  uint64 *rows)
{
	static OutboxStatement statement = {
		.sql =
			"SELECT id, event_id, emitted_at, $2, key, payload,"
			"  COALESCE(headers, '{}') || jsonb_build_object("
			"  'dead_letter_topic', topic, 'dead_letter_error', error,"
			"  'dead_letter_class', class, 'dead_letter_attempts', attempts),"
			"  NULL::timestamptz, attempts, blocking, false, ctid"
			" FROM outbox.parked WHERE relay = $1 AND state = 'dead'"
			"  AND announced_at IS NULL AND id <> ALL ($4)"
			" ORDER BY id LIMIT $3",
		.read_only = true,
		.nargs = 4,
		.types = {TEXTOID, TEXTOID, INT8OID, INT8ARRAYOID}};
	OutboxStoreStatus status =
		outbox_store_begin("outbox: reading dead letters");
	Datum values[4];

	*rows = 0;
	if (status != OUTBOX_STORE_OK)
		return status;
	values[0] = CStringGetTextDatum(relay);
	values[1] = CStringGetTextDatum(topic);
	values[2] = Int64GetDatum(limit);
	values[3] = outbox_held_ids(OUTBOX_HELD_ANNOUNCED);
	*rows = outbox_store_stream(&statement, values, NULL, consumer, arg);
	outbox_store_end();
	return OUTBOX_STORE_OK;
}
