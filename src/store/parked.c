/*-------------------------------------------------------------------------
 *
 * parked.c
 *	  The SQL on outbox.parked: events that have been taken out of the stream.
 *	  Each function is a transaction of its own. For dead letters see
 *	  dead_letters.c.
 *
 *	  retrying	has failed; the first of its key or topic, tried again at
 *				next_attempt_at
 *	  waiting	waits behind one that is retrying, or has been requeued
 *	  dead		is not tried again unless somebody requeues it
 *
 * Rows are complete copies: an event's segment may be emptied meanwhile.
 * outbox.requeue() and outbox.discard() change rows in sessions of their own;
 * the relay passes over rows that they have locked, and learns of it later.
 * Rows of events that have been delivered, but that others had locked then,
 * are as if they were gone (parked_held.c).
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "catalog/pg_type.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "store/event_receiver.h"
#include "store/parked.h"
#include "store/parked_held.h"
#include "store/parked_sql.h"
#include "store/position.h"

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

/* A row as a block. Its scope can be told from what it has. */
static void
take_block(uint64 row, OutboxBlockConsumer consumer)
{
	OutboxBlock block = {.scope = OUTBOX_BLOCK_EVENT};

	if (!outbox_store_is_null(row, 1))
		block.scope = outbox_store_is_null(row, 2) ? OUTBOX_BLOCK_TOPIC
												   : OUTBOX_BLOCK_KEY;
	block.topic = outbox_store_string(row, 1);
	block.key_hash[0] = (uint64) outbox_store_result(row, 2);
	block.key_hash[1] = (uint64) outbox_store_result(row, 3);
	block.rows = outbox_store_result(row, 4);
	block.queued = outbox_store_result(row, 5);
	block.next_attempt = outbox_store_result(row, 6);
	block.paused = outbox_store_result(row, 7) != 0;
	consumer(&block);
}

static void
take_blocks(uint64 rows, void *arg)
{
	OutboxBlockConsumer *consumer = arg;

	for (uint64 row = 0; row < rows; row++)
		take_block(row, *consumer);
}

/* Topics of which an event failed because of the topic: they are blocked */
#define BLOCKED_TOPICS                                                      \
	"ARRAY(SELECT DISTINCT t.topic FROM outbox.parked t WHERE t.relay = $1" \
	" AND t.id <> ALL ($2) AND t.state = 'retrying' AND t.class = 'topic')"

/* Topics that somebody has paused */
#define PAUSED_TOPICS                           \
	"SELECT t.topic FROM outbox.paused_topic t" \
	" WHERE t.relay = $1 OR t.relay IS NULL"

/*
 * Tells all that is blocked. A topic is, if it is paused, perhaps with nothing
 * parked, or if an event of it failed because of the topic; else a key, if one
 * of its events is parked and blocks it. All others make one row, which has
 * neither topic nor hash.
 */
OutboxStoreStatus
outbox_parked_load(const char *relay, OutboxBlockConsumer consumer)
{
	static OutboxStatement statement = {
		.sql =
			"SELECT topic, hash_0, hash_1, count(id),"
			" count(id) - count(next_attempt_at), min(next_attempt_at), paused"
			" FROM (SELECT CASE WHEN scope <> 'event' THEN topic END AS topic,"
			"  CASE WHEN scope = 'key' THEN hashtextextended(key, 0) END"
			"   AS hash_0,"
			"  CASE WHEN scope = 'key' THEN hashtextextended(key, 1) END"
			"   AS hash_1,"
			"  id, next_attempt_at, scope = 'paused' AS paused"
			"  FROM (SELECT CASE"
			"   WHEN topic = ANY (ARRAY(" PAUSED_TOPICS ")) THEN 'paused'"
			"   WHEN topic = ANY (" BLOCKED_TOPICS ") THEN 'topic'"
			"   WHEN blocking AND key IS NOT NULL THEN 'key'"
			"   ELSE 'event' END AS scope, topic, key, id, next_attempt_at"
			"   FROM outbox.parked WHERE relay = $1 AND state <> 'dead'"
			"    AND id <> ALL ($2)) p"
			"  UNION ALL SELECT p.topic, NULL, NULL, NULL, NULL, true"
			"   FROM (" PAUSED_TOPICS ") p) q"
			" GROUP BY topic, hash_0, hash_1, paused",
		.table = OUTBOX_PAUSED_TABLE,
		.table_lock = AccessShareLock,
		.read_only = true,
		.nargs = 2,
		.types = {TEXTOID, INT8ARRAYOID}};
	Datum values[] = {outbox_store_text(relay),
					  outbox_held_ids(OUTBOX_HELD_DELIVERED)};

	return outbox_store_query("outbox: reading what is blocked", &statement,
							  values, take_blocks, &consumer);
}

/* Ids, as a result */
typedef struct IdList
{
	uint64 *ids;
	int count;
} IdList;

static void
take_ids(uint64 rows, void *arg)
{
	IdList *list = arg;

	list->count = (int) rows;
	list->ids =
		MemoryContextAllocHuge(TopMemoryContext, (rows + 1) * sizeof(uint64));
	for (uint64 row = 0; row < rows; row++)
		list->ids[row] = (uint64) outbox_store_result(row, 1);
}

/*
 * Allocates the ids of events beyond the position that are parked already, or
 * have been and were discarded, or were published: the relay has ended before
 * the position passed them. In order.
 */
OutboxStoreStatus
outbox_parked_beyond(const char *relay, uint64 position, uint64 **ids,
					 int *count)
{
	static OutboxStatement statement = {
		.sql = "SELECT id FROM outbox.parked WHERE relay = $1 AND id > $2"
			   " UNION SELECT id FROM outbox.discarded"
			   "  WHERE relay = $1 AND id > $2"
			   " UNION SELECT b.id FROM outbox.position p,"
			   "  unnest(p.beyond) b (id)"
			   "  WHERE p.relay = $1 AND p.position = $2 AND b.id > $2"
			   " ORDER BY id",
		.table = OUTBOX_DISCARDED_TABLE,
		.table_lock = AccessShareLock,
		.read_only = true,
		.nargs = 2,
		.types = {TEXTOID, INT8OID}};
	Datum values[] = {outbox_store_text(relay),
					  Int64GetDatum((int64) position)};
	IdList list = {0};
	OutboxStoreStatus status = outbox_store_begin_for(
		"outbox: looking for events that are done", &statement);

	if (status != OUTBOX_STORE_OK)
		return status;
	status = outbox_position_lock();
	if (status == OUTBOX_STORE_OK)
		take_ids(outbox_store_execute(&statement, values, NULL), &list);
	outbox_store_end();
	if (status != OUTBOX_STORE_OK)
		return status;
	*ids = list.ids;
	*count = list.count;
	return OUTBOX_STORE_OK;
}

#define PARKED_EVENTS                                                \
	"SELECT id, event_id, emitted_at, topic, key, payload, headers," \
	" expires_at, type, source, content_type,"                       \
	" attempts, blocking, next_attempt_at IS NOT NULL, ctid"         \
	" FROM outbox.parked"                                            \
	" WHERE relay = $1 AND state <> 'dead' AND id <> ALL ($2)"

/* Of these, those of no topic that is blocked as a whole */
#define AND_FREE_TOPIC                       \
	" AND topic <> ALL (" BLOCKED_TOPICS ")" \
	" AND topic <> ALL (ARRAY(" PAUSED_TOPICS "))"

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
		[OUTBOX_BLOCK_EVENT] =
			{.sql = PARKED_EVENTS
			 " AND $3 = '' AND $4 = 0 AND $5 = 0"
			 " AND NOT (blocking AND key IS NOT NULL)"
			 " AND (next_attempt_at <= now()"
			 "  OR next_attempt_at IS NULL AND id <= $6)" AND_FREE_TOPIC
			 " ORDER BY id LIMIT $7",
			 .table = OUTBOX_PAUSED_TABLE,
			 .table_lock = AccessShareLock},
	};
	static const Oid types[] = {TEXTOID, INT8ARRAYOID, TEXTOID, INT8OID,
								INT8OID, INT8OID,      INT8OID};
	OutboxStatement *statement = &statements[block->scope];
	Datum values[] = {
		outbox_store_text(relay),
		outbox_held_ids(OUTBOX_HELD_DELIVERED),
		outbox_store_text(block->topic),
		Int64GetDatum((int64) block->key_hash[0]),
		Int64GetDatum((int64) block->key_hash[1]),
		Int64GetDatum((int64) upto),
		Int64GetDatum(limit),
	};

	statement->read_only = true;
	statement->nargs = lengthof(types);
	memcpy(statement->types, types, sizeof(types));
	return outbox_store_read("outbox: reading parked events", statement,
							 values, consumer, arg, rows);
}

/* Gives all rows, but those of blocked topics, to the consumer, in order. */
OutboxStoreStatus
outbox_parked_read_all(const char *relay, OutboxEventConsumer consumer,
					   void *arg)
{
	static OutboxStatement statement = {.sql = PARKED_EVENTS AND_FREE_TOPIC
										" ORDER BY id",
										.table = OUTBOX_PAUSED_TABLE,
										.table_lock = AccessShareLock,
										.read_only = true,
										.nargs = 2,
										.types = {TEXTOID, INT8ARRAYOID}};
	Datum values[] = {outbox_store_text(relay),
					  outbox_held_ids(OUTBOX_HELD_DELIVERED)};
	uint64 rows;

	return outbox_store_read("outbox: reading parked events", &statement,
							 values, consumer, arg, &rows);
}

/* A topic can be written to: what failed because of it waits no more. */
OutboxStoreStatus
outbox_parked_unblock_topic(const char *relay, const char *topic)
{
	static OutboxStatement statement = {
		.sql = "UPDATE outbox.parked SET state = 'waiting',"
			   " next_attempt_at = NULL" OUTBOX_WHERE_FREE
			   "topic = $2 AND state = 'retrying'"
			   " AND class = 'topic'" OUTBOX_SKIP_LOCKED,
		.nargs = 2,
		.types = {TEXTOID, TEXTOID}};
	Datum values[] = {outbox_store_text(relay), outbox_store_text(topic)};

	return outbox_store_call("outbox: a topic is back", &statement, values,
							 NULL);
}

/* A parked event has failed again. */
OutboxStoreStatus
outbox_parked_failed(const char *relay, uint64 id,
					 const OutboxParkReason *reason)
{
	static OutboxStatement statement = {
		.sql = "UPDATE outbox.parked SET state = $3, blocking = $4,"
			   " class = $5, error = $6, attempts = $7,"
			   " next_attempt_at = $8," OUTBOX_SET_FAILED_NOW OUTBOX_WHERE_FREE
			   "id = $2" OUTBOX_SKIP_LOCKED,
		.nargs = 8,
		.types = {TEXTOID, INT8OID, TEXTOID, BOOLOID, TEXTOID, TEXTOID,
				  INT4OID, TIMESTAMPTZOID}};
	Datum values[] = {
		outbox_store_text(relay),
		Int64GetDatum((int64) id),
		outbox_store_text(reason->dead ? "dead" : "retrying"),
		BoolGetDatum(reason->blocking),
		outbox_store_text(outbox_parked_class(reason->failure)),
		outbox_store_text(reason->error),
		Int32GetDatum(reason->attempts),
		TimestampTzGetDatum(reason->next_attempt),
	};

	return outbox_store_call("outbox: noting a failed attempt", &statement,
							 values, reason->dead ? "       n" : NULL);
}
