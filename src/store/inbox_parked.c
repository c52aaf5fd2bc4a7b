/*-------------------------------------------------------------------------
 *
 * inbox_parked.c
 *	  The SQL on outbox.inbox_parked: messages that have failed, and those that
 *	  wait behind them. All is done in the current transaction, by a user who
 *	  may, with SPI connected.
 *
 * Rows are complete copies: the offsets of their partitions have been moved on.
 * outbox.inbox_requeue() and outbox.inbox_discard() change rows in sessions of
 * their own; a subscriber passes over rows that they have locked.
 *
 * Of messages that wait for each other, none but the first needs a time: when
 * it is gone, the next one is the first, and is tried at once.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "store/inbox_parked.h"
#include "store/statement.h"

#define TABLE     "outbox.inbox_parked"

/* a key may be too long for an index; as outbox_inbox_key_hash() */
#define KEY_HASH  "hashtextextended(encode(key, 'hex') COLLATE \"C\", 0)"

/* the rows of an owner, whose arguments these are */
#define OWN       " WHERE subscription = $1 AND mod(partition, $2) = $3"
#define OWN_TYPES TEXTOID, INT4OID, INT4OID

/* one row */
#define BY_PLACE                              \
	" WHERE subscription = $1 AND topic = $2" \
	" AND partition = $3 AND \"offset\" = $4"
#define PLACE_TYPES TEXTOID, TEXTOID, INT4OID, INT8OID

/* A key's hash, as it is in the index */
int64
outbox_inbox_key_hash(const bytea *key)
{
	int bytes = VARSIZE_ANY_EXHDR(key);
	char *hex = palloc_extended((Size) bytes * 2 + 1, MCXT_ALLOC_HUGE);
	uint64 hash;

	hex_encode(VARDATA_ANY(key), bytes, hex);
	hash = hash_bytes_extended((const unsigned char *) hex, bytes * 2, 0);
	pfree(hex);
	return (int64) hash;
}

/* The result has only one row, or none. */
static bool
has_row(OutboxStatement *statement, Datum *values, const char *nulls)
{
	return outbox_store_execute(statement, values, nulls) > 0;
}

/*
 * Messages that wait for no other are tried at once, if they had been waiting:
 * of those without a key, or all if keyed. False if somebody has locked some.
 */
bool
outbox_inbox_parked_release(const OutboxInboxOwner *owner, bool keyed)
{
	static OutboxStatement statement = {
		.sql = "WITH free AS (SELECT ctid FROM " TABLE OWN
			   "  AND next_attempt_at IS NULL AND (key IS NULL OR $4)"
			   "  FOR UPDATE SKIP LOCKED)"
			   " UPDATE " TABLE " SET next_attempt_at = clock_timestamp()"
			   " WHERE ctid = ANY (ARRAY(SELECT ctid FROM free))",
		.nargs = 4,
		.types = {OWN_TYPES, BOOLOID}};
	static OutboxStatement look = {
		.sql = "SELECT FROM " TABLE OWN
			   " AND next_attempt_at IS NULL AND (key IS NULL OR $4) LIMIT 1",
		.nargs = 4,
		.types = {OWN_TYPES, BOOLOID}};
	Datum values[] = {CStringGetTextDatum(owner->subscription),
					  Int32GetDatum(owner->workers),
					  Int32GetDatum(owner->worker), BoolGetDatum(keyed)};

	if (!has_row(&look, values, NULL))
		return true;
	outbox_store_execute(&statement, values, NULL);
	return !has_row(&look, values, NULL);
}

/* What tells blocks of a scope apart */
static const char *const block_columns[OUTBOX_INBOX_SCOPES] = {
	[OUTBOX_INBOX_SCOPE_NONE] = "NULL::text, NULL::bigint, NULL::bigint",
	[OUTBOX_INBOX_SCOPE_KEY] =
		"CASE WHEN key IS NOT NULL THEN topic END,"
		" CASE WHEN key IS NOT NULL THEN partition::bigint END, " KEY_HASH,
	[OUTBOX_INBOX_SCOPE_PARTITION] =
		"topic::text, partition::bigint, NULL::bigint",
	[OUTBOX_INBOX_SCOPE_ALL] = "NULL::text, NULL::bigint, NULL::bigint",
};

static OutboxStatement *
load_statement(OutboxInboxScope scope)
{
	static OutboxStatement statements[OUTBOX_INBOX_SCOPES];
	OutboxStatement *statement = &statements[scope];

	if (statement->sql == NULL)
		*statement = (OutboxStatement){
			.sql = MemoryContextStrdup(
				TopMemoryContext,
				psprintf("SELECT %s, min(next_attempt_at) FROM " TABLE OWN
						 " GROUP BY 1, 2, 3",
						 block_columns[scope])),
			.nargs = 3,
			.types = {OWN_TYPES}};
	return statement;
}

/*
 * Tells all blocks, if messages that fail have that scope. Those without a key
 * have none if it is KEY: they make one block, as all do if it is NONE. When
 * the first of a block is to be tried may be told too early.
 */
void
outbox_inbox_parked_load(const OutboxInboxOwner *owner, OutboxInboxScope scope,
						 OutboxInboxBlockConsumer consumer)
{
	Datum values[] = {CStringGetTextDatum(owner->subscription),
					  Int32GetDatum(owner->workers),
					  Int32GetDatum(owner->worker)};
	uint64 rows = outbox_store_execute(load_statement(scope), values, NULL);

	for (uint64 row = 0; row < rows; row++)
	{
		OutboxInboxBlock block = {
			.scope = scope,
			.topic = outbox_store_string(row, 1),
			.partition = (int32) outbox_store_result(row, 2),
			.key_hash = outbox_store_result(row, 3),
			.next_attempt = outbox_store_result(row, 4),
		};

		if (scope == OUTBOX_INBOX_SCOPE_KEY && block.topic == NULL)
			block.scope = OUTBOX_INBOX_SCOPE_NONE;
		consumer(&block);
	}
}

#define PLACES                                                     \
	"SELECT topic, partition::bigint, \"offset\", next_attempt_at" \
	" FROM " TABLE
#define OF_PARTITION                          \
	" WHERE subscription = $1 AND topic = $2" \
	" AND partition = $3 AND \"offset\" >= $4"

/* Runs the statement that finds the first ones of a block. */
static uint64
find_places(const OutboxInboxOwner *owner, const OutboxInboxBlock *block,
			const OutboxInboxRange *range)
{
	static OutboxStatement due = {
		.sql = PLACES OWN " AND next_attempt_at <= $7"
						  " AND next_attempt_at >= $6 AND (key IS NULL OR $5)"
						  " ORDER BY next_attempt_at, topic, partition,"
						  " \"offset\" LIMIT $4"
						  " FOR UPDATE SKIP LOCKED",
		.nargs = 7,
		.types = {OWN_TYPES, INT8OID, BOOLOID, TIMESTAMPTZOID,
				  TIMESTAMPTZOID}};
	static OutboxStatement all = {
		.sql = PLACES OWN " ORDER BY topic, partition, \"offset\" LIMIT $4",
		.nargs = 4,
		.types = {OWN_TYPES, INT8OID}};
	static OutboxStatement of_partition = {.sql = PLACES OF_PARTITION
										   " ORDER BY \"offset\" LIMIT $5",
										   .nargs = 5,
										   .types = {PLACE_TYPES, INT8OID}};
	static OutboxStatement of_key = {.sql = PLACES OF_PARTITION
									 " AND " KEY_HASH " = $6"
									 " ORDER BY \"offset\" LIMIT $5",
									 .nargs = 6,
									 .types = {PLACE_TYPES, INT8OID, INT8OID}};
	Datum own[] = {CStringGetTextDatum(owner->subscription),
				   Int32GetDatum(owner->workers),
				   Int32GetDatum(owner->worker),
				   Int64GetDatum(range->limit),
				   BoolGetDatum(range->keyed),
				   TimestampTzGetDatum(range->from ? range->from : DT_NOBEGIN),
				   TimestampTzGetDatum(range->upto)};
	Datum of[] = {own[0],
				  block->topic ? CStringGetTextDatum(block->topic) : 0,
				  Int32GetDatum(block->partition),
				  Int64GetDatum(range->from),
				  Int64GetDatum(range->limit),
				  Int64GetDatum(block->key_hash)};

	switch (block->scope)
	{
		case OUTBOX_INBOX_SCOPE_NONE:
			return outbox_store_execute(&due, own, NULL);
		case OUTBOX_INBOX_SCOPE_KEY:
			return outbox_store_execute(&of_key, of, NULL);
		case OUTBOX_INBOX_SCOPE_PARTITION:
			return outbox_store_execute(&of_partition, of, NULL);
		case OUTBOX_INBOX_SCOPE_ALL:
			return outbox_store_execute(&all, own, NULL);
	}
	return 0;
}

/*
 * Finds the first messages of a block, and returns how many they are: in their
 * order; but of SCOPE_NONE those that are due and that nobody else has locked.
 * Topics are palloc'd.
 */
int
outbox_inbox_parked_places(const OutboxInboxOwner *owner,
						   const OutboxInboxBlock *block,
						   const OutboxInboxRange *range,
						   OutboxInboxPlace *places)
{
	int count = (int) find_places(owner, block, range);

	for (int i = 0; i < count; i++)
		places[i] = (OutboxInboxPlace){
			.topic = outbox_store_string(i, 1),
			.partition = (int32) outbox_store_result(i, 2),
			.offset = outbox_store_result(i, 3),
			.next_attempt = outbox_store_result(i, 4),
		};
	return count;
}

/* When the first of those is due that are tried without regard to others; 0 =
 * there are none. */
TimestampTz
outbox_inbox_parked_first(const OutboxInboxOwner *owner, bool keyed)
{
	static OutboxStatement statement = {
		.sql = "SELECT next_attempt_at FROM " TABLE OWN
			   " AND next_attempt_at IS NOT NULL AND (key IS NULL OR $4)"
			   " ORDER BY next_attempt_at LIMIT 1",
		.nargs = 4,
		.types = {OWN_TYPES, BOOLOID}};
	Datum values[] = {CStringGetTextDatum(owner->subscription),
					  Int32GetDatum(owner->workers),
					  Int32GetDatum(owner->worker), BoolGetDatum(keyed)};

	return has_row(&statement, values, NULL) ? outbox_store_result(0, 1) : 0;
}

/* A column of the only row, detoasted, palloc'd; NULL for null */
static void *
varlena_in(int column)
{
	bool is_null;
	Datum value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc,
								column, &is_null);

	return is_null ? NULL : PG_DETOAST_DATUM_COPY(value);
}

/* Reads a message and locks its row, unless somebody else has. It is palloc'd.
 */
OutboxInboxLock
outbox_inbox_parked_lock(const OutboxInboxOwner *owner,
						 const OutboxInboxPlace *place, OutboxMessage *message)
{
	static OutboxStatement statement = {
		.sql =
			"SELECT key, payload, headers, message_id, published_at,"
			" attempts::bigint FROM " TABLE BY_PLACE " FOR UPDATE SKIP LOCKED",
		.nargs = 4,
		.types = {PLACE_TYPES}};
	static OutboxStatement look = {.sql = "SELECT FROM " TABLE BY_PLACE,
								   .nargs = 4,
								   .types = {PLACE_TYPES}};
	Datum values[] = {CStringGetTextDatum(owner->subscription),
					  CStringGetTextDatum(place->topic),
					  Int32GetDatum(place->partition),
					  Int64GetDatum(place->offset)};

	if (!has_row(&statement, values, NULL))
		return has_row(&look, values, NULL) ? OUTBOX_INBOX_HELD
											: OUTBOX_INBOX_GONE;
	*message = (OutboxMessage){
		.topic = place->topic,
		.number = place->partition,
		.offset = place->offset,
		.key = varlena_in(1),
		.payload = varlena_in(2),
		.headers = varlena_in(3),
		.message_id = varlena_in(4),
		.published_at = outbox_store_result(0, 5),
		.attempt = (int) outbox_store_result(0, 6) + 1,
	};
	SPI_freetuptable(SPI_tuptable);
	return OUTBOX_INBOX_LOCKED;
}

/* Parks a message: because it has failed, or (NULL) behind one that has. False
 * if one is parked at its place. */
bool
outbox_inbox_parked_add(const OutboxInboxOwner *owner,
						const OutboxMessage *message,
						const OutboxInboxFailure *failure)
{
	static OutboxStatement statement = {
		.sql = "INSERT INTO " TABLE
			   " (subscription, topic, partition, \"offset\", key, payload,"
			   "  headers, published_at, message_id, attempts, sqlstate,"
			   "  error, next_attempt_at, first_failed_at, last_failed_at)"
			   " SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12,"
			   "  $13, f.at, f.at FROM (SELECT CASE WHEN $10 > 0"
			   "  THEN clock_timestamp() END AS at) f ON CONFLICT DO NOTHING",
		.nargs = 13,
		.types = {PLACE_TYPES, BYTEAOID, BYTEAOID, JSONBOID, TIMESTAMPTZOID,
				  TEXTOID, INT4OID, TEXTOID, TEXTOID, TIMESTAMPTZOID}};
	Datum values[] = {CStringGetTextDatum(owner->subscription),
					  CStringGetTextDatum(message->topic),
					  Int32GetDatum(message->number),
					  Int64GetDatum(message->offset),
					  PointerGetDatum(message->key),
					  PointerGetDatum(message->payload),
					  PointerGetDatum(message->headers),
					  TimestampTzGetDatum(message->published_at),
					  PointerGetDatum(message->message_id),
					  Int32GetDatum(failure ? message->attempt : 0),
					  0,
					  0,
					  0};
	char nulls[] = "             ";

	if (failure != NULL)
	{
		if (failure->sqlstate != NULL)
			values[10] = CStringGetTextDatum(failure->sqlstate);
		values[11] = CStringGetTextDatum(failure->error);
		values[12] = TimestampTzGetDatum(failure->next_attempt);
	}
	nulls[4] = message->key ? ' ' : 'n';
	nulls[5] = message->payload ? ' ' : 'n';
	nulls[7] = message->published_at ? ' ' : 'n';
	nulls[8] = message->message_id ? ' ' : 'n';
	nulls[10] = failure && failure->sqlstate ? ' ' : 'n';
	nulls[11] = nulls[12] = failure ? ' ' : 'n';
	return has_row(&statement, values, nulls);
}

/* A parked message has failed once more. */
void
outbox_inbox_parked_failed(const OutboxInboxOwner *owner,
						   const OutboxMessage *message,
						   const OutboxInboxFailure *failure)
{
	static OutboxStatement statement = {
		.sql = "UPDATE " TABLE " SET attempts = $5, sqlstate = $6,"
			   " error = $7, next_attempt_at = $8,"
			   " first_failed_at = COALESCE(first_failed_at,"
			   "  clock_timestamp()),"
			   " last_failed_at = clock_timestamp()" BY_PLACE,
		.nargs = 8,
		.types = {PLACE_TYPES, INT4OID, TEXTOID, TEXTOID, TIMESTAMPTZOID}};
	Datum values[] = {
		CStringGetTextDatum(owner->subscription),
		CStringGetTextDatum(message->topic),
		Int32GetDatum(message->number),
		Int64GetDatum(message->offset),
		Int32GetDatum(message->attempt),
		failure->sqlstate ? CStringGetTextDatum(failure->sqlstate) : 0,
		CStringGetTextDatum(failure->error),
		TimestampTzGetDatum(failure->next_attempt)};

	outbox_store_execute(&statement, values,
						 failure->sqlstate ? NULL : "     n  ");
}

/* A parked message is done. */
void
outbox_inbox_parked_remove(const OutboxInboxOwner *owner,
						   const OutboxMessage *message)
{
	static OutboxStatement statement = {.sql = "DELETE FROM " TABLE BY_PLACE,
										.nargs = 4,
										.types = {PLACE_TYPES}};
	Datum values[] = {CStringGetTextDatum(owner->subscription),
					  CStringGetTextDatum(message->topic),
					  Int32GetDatum(message->number),
					  Int64GetDatum(message->offset)};

	outbox_store_execute(&statement, values, NULL);
}
