/*-------------------------------------------------------------------------
 *
 * parked.c
 *	  The SQL on outbox.parked: events that have been taken out of the stream.
 *	  Like store.c, each function is a transaction of its own.
 *
 *	  retrying	has failed; the first of its key or topic, tried again at
 *				next_attempt_at
 *	  queued	waits behind one that is retrying, or has been requeued
 *	  dead		is not tried again unless somebody requeues it
 *
 * Rows are complete copies: an event's segment may be emptied meanwhile.
 * outbox.requeue() and outbox.discard() change rows in sessions of their own;
 * the relay passes over rows that they have locked, and learns of it later.
 * Rows of events that have been delivered, but that others had locked then,
 * are as if they were gone (parked_held.c).
 *
 * So rows are locked first, by a query in ARRAY(), which runs once. As IN, it
 * may be run again for each row: a plan is made when next to nothing is parked,
 * and lasts.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "store/parked.h"
#include "store/parked_held.h"

/* The class of a failure, as the table and the views show it */
const char *
outbox_parked_class(OutboxFailure failure)
{
	switch (failure)
	{
		case OUTBOX_FAILURE_CLUSTER:
			return "cluster";
		case OUTBOX_FAILURE_LOGIN:
			return "login";
		case OUTBOX_FAILURE_TOPIC:
			return "topic";
		case OUTBOX_FAILURE_EVENT:
			return "event";
		case OUTBOX_FAILURE_SIZE:
			return "size";
		case OUTBOX_FAILURE_INVALID:
			return "invalid";
	}
	return "unknown";
}

static void
take_block(HeapTuple tuple, TupleDesc tupdesc, OutboxBlockConsumer consumer)
{
	OutboxBlock block = {0};
	bool is_null;
	Datum value;

	value = SPI_getbinval(tuple, tupdesc, 1, &is_null);
	block.scope = (OutboxBlockScope) DatumGetInt32(value);
	block.topic = SPI_getvalue(tuple, tupdesc, 2);
	for (int i = 0; i < 2; i++)
	{
		value = SPI_getbinval(tuple, tupdesc, 3 + i, &is_null);
		block.key_hash[i] = is_null ? 0 : (uint64) DatumGetInt64(value);
	}
	value = SPI_getbinval(tuple, tupdesc, 5, &is_null);
	block.rows = DatumGetInt64(value);
	value = SPI_getbinval(tuple, tupdesc, 6, &is_null);
	block.queued = DatumGetInt64(value);
	value = SPI_getbinval(tuple, tupdesc, 7, &is_null);
	block.next_attempt = is_null ? 0 : DatumGetTimestampTz(value);
	consumer(&block);
}

/* Topics of which an event failed because of the topic: they are blocked */
#define BLOCKED_TOPICS                                                      \
	"ARRAY(SELECT DISTINCT t.topic FROM outbox.parked t WHERE t.relay = $1" \
	" AND t.id <> ALL ($2) AND t.state = 'retrying' AND t.class = 'topic')"

/*
 * Tells all that is blocked. A topic is, if an event of it failed because of
 * the topic; else a key, if one of its events is parked and blocks it.
 */
OutboxStoreStatus
outbox_parked_load(const char *relay, OutboxBlockConsumer consumer)
{
	static OutboxStatement statement = {
		.sql =
			"SELECT scope, topic, hash_0, hash_1, count(*),"
			" count(*) - count(next_attempt_at), min(next_attempt_at)"
			" FROM (SELECT scope, CASE WHEN scope < 2 THEN topic END AS topic,"
			"  CASE WHEN scope = 1 THEN hashtextextended(key, 0) END AS "
			"hash_0,"
			"  CASE WHEN scope = 1 THEN hashtextextended(key, 1) END AS "
			"hash_1,"
			"  next_attempt_at"
			"  FROM (SELECT CASE WHEN topic = ANY (" BLOCKED_TOPICS ") THEN 0"
			"   WHEN blocking AND key IS NOT NULL THEN 1 ELSE 2 END AS scope,"
			"   topic, key, next_attempt_at"
			"   FROM outbox.parked WHERE relay = $1 AND state <> 'dead'"
			"    AND id <> ALL ($2)) p) q"
			" GROUP BY scope, topic, hash_0, hash_1",
		.read_only = true,
		.nargs = 2,
		.types = {TEXTOID, INT8ARRAYOID}};
	OutboxStoreStatus status =
		outbox_store_begin("outbox: reading what is blocked");
	Datum values[2];

	if (status != OUTBOX_STORE_OK)
		return status;
	values[0] = CStringGetTextDatum(relay);
	values[1] = outbox_held_ids(OUTBOX_HELD_DELIVERED);
	outbox_store_execute(&statement, values, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
		take_block(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, consumer);
	outbox_store_end();
	return OUTBOX_STORE_OK;
}

/*
 * Allocates the ids of events beyond the position that are parked already, or
 * have been and were discarded: the relay has ended before the position passed
 * them. In order.
 */
OutboxStoreStatus
outbox_parked_beyond(const char *relay, uint64 position, uint64 **ids,
					 int *count)
{
	static OutboxStatement statement = {
		.sql = "SELECT id FROM outbox.parked WHERE relay = $1 AND id > $2"
			   " UNION SELECT id FROM outbox.discarded"
			   "  WHERE relay = $1 AND id > $2 ORDER BY id",
		.read_only = true,
		.nargs = 2,
		.types = {TEXTOID, INT8OID}};
	OutboxStoreStatus status =
		outbox_store_begin("outbox: looking for parked events");
	Datum values[2];

	if (status != OUTBOX_STORE_OK)
		return status;
	status = outbox_store_lock(OUTBOX_DISCARDED_TABLE, AccessShareLock);
	if (status != OUTBOX_STORE_OK)
	{
		outbox_store_end();
		return status;
	}
	values[0] = CStringGetTextDatum(relay);
	values[1] = Int64GetDatum((int64) position);
	*count = (int) outbox_store_execute(&statement, values, NULL);
	*ids = MemoryContextAllocHuge(TopMemoryContext,
								  (*count + 1) * sizeof(uint64));
	for (int i = 0; i < *count; i++)
	{
		bool is_null;
		Datum id = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc,
								 1, &is_null);

		(*ids)[i] = (uint64) DatumGetInt64(id);
	}
	outbox_store_end();
	return OUTBOX_STORE_OK;
}

static void
set_reason(Datum *values, char *nulls, const OutboxParkReason *reason)
{
	values[0] = CStringGetTextDatum(reason->dead ? "dead" : "retrying");
	values[1] = BoolGetDatum(reason->blocking);
	values[2] = CStringGetTextDatum(outbox_parked_class(reason->failure));
	values[3] = CStringGetTextDatum(reason->error);
	values[4] = Int32GetDatum(reason->attempts);
	values[5] = TimestampTzGetDatum(reason->next_attempt);
	nulls[5] = reason->dead ? 'n' : ' ';
}

#define PARKED_EVENTS                                                    \
	"SELECT id, event_id, emitted_at, topic, key, payload, headers,"     \
	" expires_at, attempts, blocking, next_attempt_at IS NOT NULL, ctid" \
	" FROM outbox.parked"                                                \
	" WHERE relay = $1 AND state <> 'dead' AND id <> ALL ($2)"

/*
 * Gives rows of a block, in order, to the consumer. Of a topic, only one that
 * failed because of it; of those that block no other, only what is due, or
 * queued and not beyond upto.
 */
OutboxStoreStatus
outbox_parked_read(const char *relay, const OutboxBlock *block, uint64 upto,
				   int limit, OutboxEventConsumer consumer, void *arg,
				   uint64 *rows)
{
	static OutboxStatement statements[] = {
		[OUTBOX_BLOCK_TOPIC] = {.sql = PARKED_EVENTS
								" AND topic = $3 AND $4 = 0 AND $5 = 0"
								" AND $6 >= 0"
								" AND state = 'retrying' AND class = 'topic'"
								" ORDER BY id LIMIT $7"},
		[OUTBOX_BLOCK_KEY] = {.sql = PARKED_EVENTS
							  " AND topic = $3"
							  " AND hashtextextended(key, 0) = $4"
							  " AND hashtextextended(key, 1) = $5"
							  " AND blocking AND $6 >= 0"
							  " ORDER BY id LIMIT $7"},
		[OUTBOX_BLOCK_EVENT] = {.sql = PARKED_EVENTS
								" AND $3 = '' AND $4 = 0 AND $5 = 0"
								" AND NOT (blocking AND key IS NOT NULL)"
								" AND (next_attempt_at <= now()"
								"  OR next_attempt_at IS NULL AND id <= $6)"
								" AND topic <> ALL (" BLOCKED_TOPICS
								") ORDER BY id LIMIT $7"},
	};
	static const Oid types[] = {TEXTOID, INT8ARRAYOID, TEXTOID, INT8OID,
								INT8OID, INT8OID,      INT8OID};
	OutboxStatement *statement = &statements[block->scope];
	OutboxStoreStatus status =
		outbox_store_begin("outbox: reading parked events");
	Datum values[7];

	*rows = 0;
	if (status != OUTBOX_STORE_OK)
		return status;
	statement->read_only = true;
	statement->nargs = lengthof(types);
	memcpy(statement->types, types, sizeof(types));
	values[0] = CStringGetTextDatum(relay);
	values[1] = outbox_held_ids(OUTBOX_HELD_DELIVERED);
	values[2] = CStringGetTextDatum(block->topic);
	values[3] = Int64GetDatum((int64) block->key_hash[0]);
	values[4] = Int64GetDatum((int64) block->key_hash[1]);
	values[5] = Int64GetDatum((int64) upto);
	values[6] = Int64GetDatum(limit);
	*rows = outbox_store_stream(statement, values, NULL, consumer, arg);
	outbox_store_end();
	return OUTBOX_STORE_OK;
}

/* Gives all rows, but those of blocked topics, to the consumer, in order. */
OutboxStoreStatus
outbox_parked_read_all(const char *relay, OutboxEventConsumer consumer,
					   void *arg)
{
	static OutboxStatement statement = {
		.sql = PARKED_EVENTS " AND topic <> ALL (" BLOCKED_TOPICS ")"
							 " ORDER BY id",
		.read_only = true,
		.nargs = 2,
		.types = {TEXTOID, INT8ARRAYOID}};
	OutboxStoreStatus status =
		outbox_store_begin("outbox: reading parked events");
	Datum values[2];

	if (status != OUTBOX_STORE_OK)
		return status;
	values[0] = CStringGetTextDatum(relay);
	values[1] = outbox_held_ids(OUTBOX_HELD_DELIVERED);
	outbox_store_stream(&statement, values, NULL, consumer, arg);
	outbox_store_end();
	return OUTBOX_STORE_OK;
}

/* A topic can be written to: what failed because of it waits no more. */
OutboxStoreStatus
outbox_parked_unblock_topic(const char *relay, const char *topic)
{
	static OutboxStatement statement = {
		.sql = "UPDATE outbox.parked SET state = 'queued',"
			   "  next_attempt_at = NULL WHERE relay = $1 AND id = ANY"
			   " (ARRAY(SELECT id FROM outbox.parked WHERE relay = $1"
			   "  AND topic = $2 AND state = 'retrying' AND class = 'topic'"
			   "  FOR UPDATE SKIP LOCKED))",
		.nargs = 2,
		.types = {TEXTOID, TEXTOID}};
	OutboxStoreStatus status = outbox_store_begin("outbox: a topic is back");
	Datum values[2];

	if (status != OUTBOX_STORE_OK)
		return status;
	values[0] = CStringGetTextDatum(relay);
	values[1] = CStringGetTextDatum(topic);
	outbox_store_execute(&statement, values, NULL);
	outbox_store_end();
	return OUTBOX_STORE_OK;
}

/* A parked event has failed again. */
OutboxStoreStatus
outbox_parked_failed(const char *relay, uint64 id,
					 const OutboxParkReason *reason)
{
	static OutboxStatement statement = {
		.sql = "UPDATE outbox.parked SET state = $1, blocking = $2,"
			   "  class = $3, error = $4, attempts = $5,"
			   "  first_failed_at = COALESCE(first_failed_at, now()),"
			   "  last_failed_at = now(), next_attempt_at = $6"
			   " WHERE relay = $7 AND id = ANY"
			   " (ARRAY(SELECT id FROM outbox.parked WHERE relay = $7"
			   "  AND id = $8 FOR UPDATE SKIP LOCKED))",
		.nargs = 8,
		.types = {TEXTOID, BOOLOID, TEXTOID, TEXTOID, INT4OID, TIMESTAMPTZOID,
				  TEXTOID, INT8OID}};
	OutboxStoreStatus status =
		outbox_store_begin("outbox: noting a failed attempt");
	Datum values[8];
	char nulls[] = "        ";

	if (status != OUTBOX_STORE_OK)
		return status;
	set_reason(values, nulls, reason);
	values[6] = CStringGetTextDatum(relay);
	values[7] = Int64GetDatum((int64) id);
	outbox_store_execute(&statement, values, nulls);
	outbox_store_end();
	return OUTBOX_STORE_OK;
}
