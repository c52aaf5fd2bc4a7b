/*-------------------------------------------------------------------------
 *
 * dead_letters.c
 *	  The dead letters among outbox.parked: how events become dead letters
 *	  without an attempt, the copies for a topic of their own, and their end.
 *	  Each function is a transaction of its own.
 *
 * An event becomes one although its row raises errors: what can be read of it
 * is kept. If that is not all, the dead letter is not whole, and is not
 * published again by outbox.requeue(): an event without its payload would be
 * another event.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "catalog/pg_type.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "shared/event_log.h"
#include "shared/segment.h"
#include "store/dead_letters.h"
#include "store/event_receiver.h"
#include "store/parked_held.h"
#include "store/parked_sql.h"

/* Makes dead letters of parked events; goes on with what else is set. */
#define MAKE_DEAD                              \
	"UPDATE outbox.parked SET state = 'dead'," \
	" next_attempt_at = NULL," OUTBOX_SET_FAILED_NOW

/* announced_at of a dead letter, of which no copy must be published if $4 */
#define NO_COPY_IF "CASE WHEN $4 THEN 'infinity'::timestamptz END"

/* of which a statement tells so much that the log can name them: of columns
 * that are never toasted, since others may not be readable */
#define NAMES      "id, event_id, topic"
#define NAMED_MAX  10

/* The result of a statement is dead letters: tells the log of the first. */
static void
tell(uint64 rows, void *error)
{
	for (uint64 i = 0; i < Min(rows, NAMED_MAX); i++)
		outbox_event_log_named(
			outbox_event_log_name_of((uint64) outbox_store_result(i, 1),
									 outbox_store_string(i, 2),
									 outbox_store_string(i, 3)),
			OUTBOX_EVENT_LOG_DEAD, error);
}

/* How much of a row is taken over, from all on */
typedef enum Extent
{
	EXTENT_WHOLE,
	EXTENT_KEY,  /* without payload and headers */
	EXTENT_NAME, /* without the key, too */
	EXTENTS
} Extent;

/* The statement that copies a row from outbox.event or outbox.delayed */
static OutboxStatement *
copy_statement(bool delayed, Extent extent)
{
	static const char *const columns[EXTENTS] = {
		[EXTENT_WHOLE] = "key, payload, headers, type, source,"
						 " content_type, $3, " NO_COPY_IF ", true",
		[EXTENT_KEY] = "key, NULL, NULL, NULL, NULL, NULL, $3 || ' (payload "
					   "and headers cannot "
					   "be read)', 'infinity', false",
		[EXTENT_NAME] = "NULL, NULL, NULL, NULL, NULL, NULL, $3 || ' (key, "
						"payload and headers "
						"cannot be read)', 'infinity', false",
	};
	static OutboxStatement statements[2][EXTENTS];
	OutboxStatement *statement = &statements[delayed][extent];

	if (statement->sql == NULL)
	{
		statement->sql = MemoryContextStrdup(
			TopMemoryContext,
			psprintf("INSERT INTO outbox.parked (relay, id, event_id,"
					 "  emitted_at, topic, expires_at, state, blocking, class,"
					 "  attempts, first_failed_at, last_failed_at,"
					 "  key, payload, headers, type, source, content_type,"
					 "  error, announced_at, whole)"
					 " SELECT r.name, id, event_id, emitted_at, topic,"
					 "  expires_at, 'dead', false, 'invalid', 0, now(), now(),"
					 "  %s FROM outbox.relay r, outbox.%s WHERE id = $2 AND %s"
					 " ON CONFLICT DO NOTHING RETURNING " NAMES,
					 columns[extent],
					 delayed ? OUTBOX_DELAYED_TABLE : OUTBOX_EVENT_TABLE,
					 delayed ? "outbox.topic_matches("
							   "topic, r.topics, r.excluding)"
							 : "r.name = $1"));
		statement->nargs = 4;
		statement->types[0] = TEXTOID;
		statement->types[1] = INT8OID;
		statement->types[2] = TEXTOID;
		statement->types[3] = BOOLOID;
	}
	return statement;
}

typedef struct Copy
{
	OutboxStatement *statement;
	Datum *values;
	char *error;
} Copy;

static void
copy(void *arg)
{
	Copy *this = arg;
	uint64 rows = outbox_store_execute(this->statement, this->values, NULL);

	/* of a delayed one, other relays may have one, too */
	tell(Min(rows, 1), this->error);
}

/* Copies a row, if it can be read so far; false if not. Other errors are
 * raised. */
static bool
copy_or_undo(bool delayed, Extent extent, Datum *values, const char *text,
			 OutboxErrorOfRow is_of_row)
{
	Copy this = {.statement = copy_statement(delayed, extent),
				 .values = values,
				 .error = unconstify(char *, text)};
	ErrorData *error = outbox_store_subtransaction(copy, &this);

	if (error != NULL && !is_of_row(error->sqlerrcode))
		ReThrowError(error);
	return error == NULL;
}

/*
 * Makes a dead letter of an event of outbox.event; or of outbox.delayed, from
 * where it is removed: one of each relay that would publish it. One that is
 * parked already stays as it is. no_copy: none
 * must be published to outbox.dead_letter_topic. is_of_row tells the errors
 * after which less of the row is read.
 */
OutboxStoreStatus
outbox_dead_letters_from_event(const char *relay, const char *table, uint64 id,
							   const char *error, bool no_copy,
							   OutboxErrorOfRow is_of_row)
{
	static OutboxStatement remove = {
		.sql = "DELETE FROM outbox.delayed WHERE id = $1",
		.nargs = 1,
		.types = {INT8OID}};
	bool delayed = (strcmp(table, OUTBOX_DELAYED_TABLE) == 0);
	Datum values[] = {outbox_store_text(relay), Int64GetDatum((int64) id),
					  outbox_store_text(error), BoolGetDatum(no_copy)};
	OutboxStoreStatus status =
		outbox_store_begin("outbox: making a dead letter of an event");
	int extent = EXTENT_WHOLE;

	if (status != OUTBOX_STORE_OK)
		return status;
	status = delayed ? outbox_store_lock(table, RowExclusiveLock)
					 : outbox_store_lock_ring(table, OUTBOX_SEGMENT_PREFIX);
	if (status == OUTBOX_STORE_OK)
	{
		while (extent < EXTENT_NAME &&
			   !copy_or_undo(delayed, extent, values, error, is_of_row))
			extent++;
		if (extent == EXTENT_NAME)
			tell(outbox_store_execute(copy_statement(delayed, extent), values,
									  NULL),
				 unconstify(char *, error));
		if (delayed)
			outbox_store_execute(&remove, &values[1], NULL);
	}
	outbox_store_end();
	return status;
}

/* The same for one that is parked; its row stays as it is. */
OutboxStoreStatus
outbox_dead_letters_from_parked(const char *relay, uint64 id,
								const char *error, bool no_copy)
{
	static OutboxStatement statement = {
		.sql = MAKE_DEAD
		", class = 'invalid', error = $3, attempts = attempts + 1,"
		" announced_at = " NO_COPY_IF OUTBOX_WHERE_FREE
		"id = $2" OUTBOX_SKIP_LOCKED " RETURNING " NAMES,
		.nargs = 4,
		.types = {TEXTOID, INT8OID, TEXTOID, BOOLOID}};
	Datum values[] = {outbox_store_text(relay), Int64GetDatum((int64) id),
					  outbox_store_text(error), BoolGetDatum(no_copy)};

	return outbox_store_query("outbox: making a dead letter of an event",
							  &statement, values, tell,
							  unconstify(char *, error));
}

static void
take_count(uint64 rows, void *arg)
{
	*(uint64 *) arg = rows;
}

/* Makes dead letters of all that is parked of a topic. made becomes how many.
 */
OutboxStoreStatus
outbox_dead_letters_from_topic(const char *relay, const char *topic,
							   const char *error, uint64 *made)
{
	static OutboxStatement statement = {
		.sql = MAKE_DEAD
		", class = 'topic', error = $3, attempts ="
		" attempts + (state = 'retrying')::integer" OUTBOX_WHERE_FREE
		"topic = $2 AND state <> 'dead'"
		" AND id <> ALL ($4)" OUTBOX_SKIP_LOCKED,
		.nargs = 4,
		.types = {TEXTOID, TEXTOID, TEXTOID, INT8ARRAYOID}};
	Datum values[] = {outbox_store_text(relay), outbox_store_text(topic),
					  outbox_store_text(error),
					  outbox_held_ids(OUTBOX_HELD_DELIVERED)};

	*made = 0;
	return outbox_store_query("outbox: parking events", &statement, values,
							  take_count, made);
}

/*
 * Makes dead letters of parked events whose time has passed. made becomes how
 * many, next when the first of the others expires; 0 = none does.
 */
OutboxStoreStatus
outbox_dead_letters_from_expired(const char *relay, TimestampTz upto,
								 uint64 *made, TimestampTz *next)
{
	static OutboxStatement make = {
		.sql = "WITH made AS (" MAKE_DEAD ", class = '" OUTBOX_EXPIRED_CLASS
			   "', error = '" OUTBOX_EXPIRED_ERROR
			   "', blocking = false" OUTBOX_WHERE_FREE
			   "state <> 'dead' AND expires_at IS NOT NULL"
			   " AND expires_at <= $2"
			   " AND id <> ALL ($3)" OUTBOX_SKIP_LOCKED " RETURNING " NAMES
			   ") SELECT " NAMES ", count(*) OVER () FROM made LIMIT 10",
		.nargs = 3,
		.types = {TEXTOID, TIMESTAMPTZOID, INT8ARRAYOID}};
	static OutboxStatement look = {
		.sql = "SELECT min(expires_at) FROM outbox.parked WHERE relay = $1"
			   " AND state <> 'dead' AND expires_at IS NOT NULL",
		.nargs = 1,
		.types = {TEXTOID}};
	Datum values[] = {outbox_store_text(relay), TimestampTzGetDatum(upto),
					  outbox_held_ids(OUTBOX_HELD_DELIVERED)};
	OutboxStoreStatus status =
		outbox_store_begin("outbox: looking for expired events");
	uint64 rows;

	if (status != OUTBOX_STORE_OK)
		return status;
	rows = outbox_store_execute(&make, values, NULL);
	*made = rows > 0 ? (uint64) outbox_store_result(0, 4) : 0;
	tell(rows, (char[]){OUTBOX_EXPIRED_ERROR});
	outbox_store_execute(&look, values, NULL);
	*next = outbox_store_result(0, 1);
	outbox_store_end();
	return OUTBOX_STORE_OK;
}

/* Gives copies of dead letters for a topic of their own to the consumer. */
OutboxStoreStatus
outbox_dead_letters_to_copy(const char *relay, const char *topic, int limit,
							OutboxEventConsumer consumer, void *arg,
							uint64 *rows)
{
	static OutboxStatement statement = {
		.sql =
			"SELECT id, event_id, emitted_at, $2, key, payload,"
			"  COALESCE(headers, '{}') || jsonb_build_object("
			"  'dead_letter_topic', topic, 'dead_letter_error', error,"
			"  'dead_letter_class', class, 'dead_letter_attempts', attempts),"
			"  NULL::timestamptz, type, source, content_type,"
			"  attempts, blocking, false, ctid"
			" FROM outbox.parked WHERE relay = $1 AND state = 'dead'"
			"  AND announced_at IS NULL AND id <> ALL ($4)"
			" ORDER BY id LIMIT $3",
		.read_only = true,
		.nargs = 4,
		.types = {TEXTOID, TEXTOID, INT8OID, INT8ARRAYOID}};
	Datum values[] = {outbox_store_text(relay), outbox_store_text(topic),
					  Int64GetDatum(limit),
					  outbox_held_ids(OUTBOX_HELD_ANNOUNCED)};

	return outbox_store_read("outbox: reading dead letters", &statement,
							 values, consumer, arg, rows);
}

static void
tell_skipped(uint64 rows, void *error)
{
	if (rows > 0)
		outbox_event_log_named(
			outbox_event_log_name_of((uint64) outbox_store_result(0, 1),
									 outbox_store_string(0, 2),
									 outbox_store_string(0, 3)),
			"is a dead letter of which no copy is published", error);
}

/* The first of them gets no copy, because of that error. */
OutboxStoreStatus
outbox_dead_letters_skip_copy(const char *relay, const char *error)
{
	static OutboxStatement statement = {
		.sql =
			"UPDATE outbox.parked"
			" SET announced_at = 'infinity'" OUTBOX_WHERE_FREE
			"id = (SELECT min(id) FROM outbox.parked WHERE relay = $1"
			"  AND state = 'dead' AND announced_at IS NULL)" OUTBOX_SKIP_LOCKED
			" RETURNING " NAMES,
		.nargs = 1,
		.types = {TEXTOID}};
	Datum values[] = {outbox_store_text(relay)};

	return outbox_store_query("outbox: passing over a dead letter", &statement,
							  values, tell_skipped, unconstify(char *, error));
}

/* Removes dead letters that have been kept long enough. */
OutboxStoreStatus
outbox_dead_letters_remove_old(const char *relay, int retention_s)
{
	static OutboxStatement statement = {
		.sql = "WITH gone AS"
			   " (DELETE FROM outbox.parked" OUTBOX_WHERE_FREE
			   "state = 'dead' AND"
			   " last_failed_at < now() - $2 * interval '1 second'"
			   " LIMIT 100000" OUTBOX_SKIP_LOCKED " RETURNING relay, id)"
			   " INSERT INTO outbox.discarded (relay, id)"
			   " SELECT relay, id FROM gone ON CONFLICT DO NOTHING",
		.table = OUTBOX_DISCARDED_TABLE,
		.table_lock = RowExclusiveLock,
		.nargs = 2,
		.types = {TEXTOID, FLOAT8OID}};
	Datum values[] = {outbox_store_text(relay), Float8GetDatum(retention_s)};

	return outbox_store_call("outbox: removing old dead letters", &statement,
							 values, NULL);
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
outbox_dead_letters_forget_discarded(const char *relay)
{
	static OutboxStatement statement = {
		.sql = "DELETE FROM outbox.discarded WHERE relay = $1 AND id = ANY"
			   " (ARRAY(SELECT id FROM outbox.discarded WHERE relay = $1"
			   "  AND id < $2 LIMIT 100000 FOR UPDATE SKIP LOCKED))",
		.nargs = 2,
		.types = {TEXTOID, INT8OID}};
	Datum values[2] = {outbox_store_text(relay)};
	OutboxStoreStatus status =
		outbox_store_begin("outbox: forgetting discarded events");
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
		values[1] = Int64GetDatum((int64) first_id);
		outbox_store_execute(&statement, values, NULL);
	}
	outbox_store_end();
	return status;
}
