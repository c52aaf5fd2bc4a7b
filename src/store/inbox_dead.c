/*-------------------------------------------------------------------------
 *
 * inbox_dead.c
 *	  The SQL on outbox.inbox_dead: messages that are not tried again, unless
 *	  outbox.inbox_requeue() parks them anew. Where nothing else is said, it is
 *	  done in the current transaction, by a user who may, with SPI connected.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "store/inbox_dead.h"
#include "store/statement.h"

#define COLUMNS                                                              \
	"(subscription, topic, partition, \"offset\", key, payload, headers,"    \
	" published_at, message_id, attempts, sqlstate, error, first_failed_at," \
	" last_failed_at, whole)"

/*
 * Makes a dead letter of a message that is not parked. whole: it is all there,
 * and can be tried again.
 */
void
outbox_inbox_dead_add(const OutboxInboxOwner *owner,
					  const OutboxMessage *message,
					  const OutboxInboxFailure *failure, bool whole)
{
	static OutboxStatement statement = {
		.sql = "INSERT INTO outbox.inbox_dead " COLUMNS
			   " SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12,"
			   "  f.at, f.at, $13 FROM clock_timestamp() AS f (at)",
		.nargs = 13,
		.types = {TEXTOID, TEXTOID, INT4OID, INT8OID, BYTEAOID, BYTEAOID,
				  JSONBOID, TIMESTAMPTZOID, TEXTOID, INT4OID, TEXTOID, TEXTOID,
				  BOOLOID}};
	Datum values[] = {
		CStringGetTextDatum(owner->subscription),
		CStringGetTextDatum(message->topic),
		Int32GetDatum(message->number),
		Int64GetDatum(message->offset),
		PointerGetDatum(message->key),
		PointerGetDatum(message->payload),
		PointerGetDatum(message->headers),
		TimestampTzGetDatum(message->published_at),
		PointerGetDatum(message->message_id),
		Int32GetDatum(message->attempt),
		failure->sqlstate ? CStringGetTextDatum(failure->sqlstate) : 0,
		CStringGetTextDatum(failure->error),
		BoolGetDatum(whole)};
	char nulls[] = "             ";

	nulls[4] = message->key ? ' ' : 'n';
	nulls[5] = message->payload ? ' ' : 'n';
	nulls[7] = message->published_at ? ' ' : 'n';
	nulls[8] = message->message_id ? ' ' : 'n';
	nulls[10] = failure->sqlstate ? ' ' : 'n';
	outbox_store_execute(&statement, values, nulls);
}

/* Makes a dead letter of a message that is parked. */
void
outbox_inbox_dead_bury(const OutboxInboxOwner *owner,
					   const OutboxMessage *message,
					   const OutboxInboxFailure *failure)
{
	static OutboxStatement statement = {
		.sql = "WITH gone AS (DELETE FROM outbox.inbox_parked"
			   "  WHERE subscription = $1 AND topic = $2 AND partition = $3"
			   "  AND \"offset\" = $4 RETURNING *)"
			   " INSERT INTO outbox.inbox_dead " COLUMNS
			   " SELECT subscription, topic, partition, \"offset\", key,"
			   "  payload, headers, published_at, message_id, $5, $6, $7,"
			   "  COALESCE(first_failed_at, clock_timestamp()),"
			   "  clock_timestamp(), true FROM gone",
		.nargs = 7,
		.types = {TEXTOID, TEXTOID, INT4OID, INT8OID, INT4OID, TEXTOID,
				  TEXTOID}};
	Datum values[] = {
		CStringGetTextDatum(owner->subscription),
		CStringGetTextDatum(message->topic),
		Int32GetDatum(message->number),
		Int64GetDatum(message->offset),
		Int32GetDatum(message->attempt),
		failure->sqlstate ? CStringGetTextDatum(failure->sqlstate) : 0,
		CStringGetTextDatum(failure->error)};

	outbox_store_execute(&statement, values,
						 failure->sqlstate ? NULL : "     n ");
}

/*
 * The headers of a copy for a topic of dead letters: the message's own, the
 * last one of each name, and those that tell what has happened, as connectors
 * have them. If the message is called by a UUID, as events of an outbox are,
 * that becomes the event_id of the copy, and is no header; named tells.
 */
Jsonb *
outbox_inbox_dead_headers(const OutboxInboxOwner *owner,
						  const OutboxMessage *message,
						  const OutboxInboxFailure *failure,
						  MemoryContext context, pg_uuid_t *event_id,
						  bool *named)
{
	static OutboxStatement statement = {
		.sql =
			"SELECT COALESCE((SELECT jsonb_object_agg(h.key,"
			"   CASE jsonb_typeof(h.value) WHEN 'array' THEN h.value -> -1"
			"   ELSE h.value END) FROM jsonb_each($1) h"
			"   WHERE h.key <> '" OUTBOX_HEADER_RELAY "'"
			"   AND (i.id IS NULL OR h.key <> '" OUTBOX_HEADER_EVENT_ID "')),"
			"  '{}') || jsonb_build_object("
			"  '__connect.errors.topic', $2,"
			"  '__connect.errors.partition', $3::text,"
			"  '__connect.errors.offset', $4::text,"
			"  '__connect.errors.connector.name', $5,"
			"  '__connect.errors.exception.class.name', $6,"
			"  '__connect.errors.exception.message', $7),"
			" i.id FROM (SELECT CASE WHEN e.value ~ '^[0-9a-f]{8}-[0-9a-f]{4}"
			"-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' AND e.value ~ '[1-9a-f]'"
			"  THEN e.value::uuid END AS id FROM"
			"  (SELECT $1 ->> '" OUTBOX_HEADER_EVENT_ID "' AS value) e) i",
		.nargs = 7,
		.types = {JSONBOID, TEXTOID, INT4OID, INT8OID, TEXTOID, TEXTOID,
				  TEXTOID}};
	Datum values[] = {
		PointerGetDatum(message->headers),
		CStringGetTextDatum(message->topic),
		Int32GetDatum(message->number),
		Int64GetDatum(message->offset),
		CStringGetTextDatum(owner->subscription),
		failure->sqlstate ? CStringGetTextDatum(failure->sqlstate) : 0,
		CStringGetTextDatum(failure->error)};
	MemoryContext old_context;
	bool is_null;
	Datum value;
	Jsonb *headers;

	outbox_store_execute(&statement, values,
						 failure->sqlstate ? NULL : "     n ");
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2,
						  &is_null);
	*named = !is_null;
	if (*named)
		memcpy(event_id, DatumGetUUIDP(value), sizeof(*event_id));
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1,
						  &is_null);
	old_context = MemoryContextSwitchTo(context);
	headers = DatumGetJsonbPCopy(value);
	MemoryContextSwitchTo(old_context);
	return headers;
}

/* Removes dead letters of all subscriptions that have been kept long enough,
 * in a transaction of its own. */
OutboxStoreStatus
outbox_inbox_dead_remove_old(int retention_s)
{
	static OutboxStatement statement = {
		.sql = "DELETE FROM outbox.inbox_dead WHERE id = ANY"
			   " (ARRAY(SELECT id FROM outbox.inbox_dead"
			   "  WHERE last_failed_at < now() - $1 * interval '1 second'"
			   "  LIMIT 100000 FOR UPDATE SKIP LOCKED))",
		.table = "inbox_dead",
		.table_lock = RowExclusiveLock,
		.nargs = 1,
		.types = {FLOAT8OID}};
	Datum values[] = {Float8GetDatum(retention_s)};

	return outbox_store_call("outbox: removing old dead letters", &statement,
							 values, NULL);
}
