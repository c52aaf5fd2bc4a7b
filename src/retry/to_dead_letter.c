/*-------------------------------------------------------------------------
 *
 * to_dead_letter.c
 *	  Makes dead letters of events that raise errors when they are handled
 *	  (guard.c says which), whatever is wrong with their rows. Each function is
 *	  a transaction of its own.
 *
 * What can be read of a row is kept. If that is not all, the dead letter is
 * not whole, and is not published again by outbox.requeue(): an event without
 * its payload would be another event.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "poison/guard.h"
#include "retry/to_dead_letter.h"
#include "retry/dead_letter_copies.h"
#include "sink/client_log.h"

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
		[EXTENT_WHOLE] =
			"key, payload, headers, $3,"
			" CASE WHEN $4 THEN 'infinity'::timestamptz END, true",
		[EXTENT_KEY] = "key, NULL, NULL, $3 || ' (payload and headers cannot "
					   "be read)', 'infinity', false",
		[EXTENT_NAME] = "NULL, NULL, NULL, $3 || ' (key, payload and headers "
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
					 "  key, payload, headers, error, announced_at, whole)"
					 " SELECT $1, id, event_id, emitted_at, topic, expires_at,"
					 "  'dead', false, 'invalid', 0, now(), now(), %s"
					 " FROM outbox.%s WHERE id = $2 ON CONFLICT DO NOTHING",
					 columns[extent],
					 delayed ? OUTBOX_DELAYED_TABLE : OUTBOX_EVENT_TABLE));
		statement->nargs = 4;
		statement->types[0] = TEXTOID;
		statement->types[1] = INT8OID;
		statement->types[2] = TEXTOID;
		statement->types[3] = BOOLOID;
	}
	return statement;
}

/* Runs a statement in a subtransaction; false if it fails because of the row.
 * Other errors are raised. */
static bool
execute_or_undo(OutboxStatement *statement, Datum *values)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		outbox_store_execute(statement, values, NULL);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	if (error != NULL && !outbox_guard_may_be_event(error->sqlerrcode))
		ReThrowError(error);
	return error == NULL;
}

/*
 * Makes a dead letter of an event of outbox.event, or of outbox.delayed, from
 * where it is removed. One that is parked already stays as it is. no_copy: none
 * must be published to outbox.dead_letter_topic.
 */
OutboxStoreStatus
outbox_to_dead_letter(const char *relay, const char *table, uint64 id,
					  const char *error, bool no_copy)
{
	static OutboxStatement remove = {
		.sql = "DELETE FROM outbox.delayed WHERE id = $1",
		.nargs = 1,
		.types = {INT8OID}};
	bool delayed = (strcmp(table, OUTBOX_DELAYED_TABLE) == 0);
	OutboxStoreStatus status =
		outbox_store_begin("outbox: burying an event that raises errors");
	Datum values[4];
	int extent = EXTENT_WHOLE;

	if (status != OUTBOX_STORE_OK)
		return status;
	status = delayed ? outbox_store_lock(table, RowExclusiveLock)
					 : outbox_store_lock_ring(table, OUTBOX_SEGMENT_PREFIX);
	if (status != OUTBOX_STORE_OK)
	{
		outbox_store_end();
		return status;
	}
	values[0] = CStringGetTextDatum(relay);
	values[1] = Int64GetDatum((int64) id);
	values[2] = CStringGetTextDatum(error);
	values[3] = BoolGetDatum(no_copy);
	while (extent < EXTENT_NAME &&
		   !execute_or_undo(copy_statement(delayed, extent), values))
		extent++;
	if (extent == EXTENT_NAME)
		outbox_store_execute(copy_statement(delayed, extent), values, NULL);
	if (delayed)
		outbox_store_execute(&remove, &values[1], NULL);
	outbox_store_end();
	outbox_dead_letter_copies_added();
	outbox_client_log_event(id, true, error);
	return OUTBOX_STORE_OK;
}

/* The same for one that is parked; its row stays as it is. */
OutboxStoreStatus
outbox_to_dead_letter_parked(const char *relay, uint64 id, const char *error,
							 bool no_copy)
{
	static OutboxStatement statement = {
		.sql = "UPDATE outbox.parked SET state = 'dead', class = 'invalid',"
			   "  error = $3, next_attempt_at = NULL,"
			   "  attempts = attempts + 1, announced_at ="
			   "   CASE WHEN $4 THEN 'infinity'::timestamptz END,"
			   "  first_failed_at = COALESCE(first_failed_at, now()),"
			   "  last_failed_at = now()"
			   " WHERE relay = $1 AND id = ANY"
			   " (ARRAY(SELECT id FROM outbox.parked WHERE relay = $1"
			   "  AND id = $2 FOR UPDATE SKIP LOCKED))",
		.nargs = 4,
		.types = {TEXTOID, INT8OID, TEXTOID, BOOLOID}};
	OutboxStoreStatus status =
		outbox_store_begin("outbox: burying an event that raises errors");
	Datum values[4];

	if (status != OUTBOX_STORE_OK)
		return status;
	values[0] = CStringGetTextDatum(relay);
	values[1] = Int64GetDatum((int64) id);
	values[2] = CStringGetTextDatum(error);
	values[3] = BoolGetDatum(no_copy);
	outbox_store_execute(&statement, values, NULL);
	outbox_store_end();
	outbox_dead_letter_copies_added();
	outbox_client_log_event(id, true, error);
	return OUTBOX_STORE_OK;
}

/*
 * The first dead letter of which a copy is to be published raises errors: it
 * gets none.
 */
OutboxStoreStatus
outbox_to_dead_letter_copy(const char *relay, const char *error)
{
	static OutboxStatement statement = {
		.sql = "UPDATE outbox.parked SET announced_at = 'infinity'"
			   " WHERE relay = $1 AND id = ANY"
			   " (ARRAY(SELECT id FROM outbox.parked WHERE relay = $1"
			   "  AND id = (SELECT min(id) FROM outbox.parked"
			   "   WHERE relay = $1 AND state = 'dead'"
			   "   AND announced_at IS NULL) FOR UPDATE SKIP LOCKED))"
			   " RETURNING id",
		.nargs = 1,
		.types = {TEXTOID}};
	OutboxStoreStatus status =
		outbox_store_begin("outbox: passing over a dead letter");
	Datum values[1];
	int64 id = 0;

	if (status != OUTBOX_STORE_OK)
		return status;
	values[0] = CStringGetTextDatum(relay);
	if (outbox_store_execute(&statement, values, NULL) > 0)
		id = outbox_store_result(1);
	outbox_store_end();
	if (id != 0)
		ereport(LOG,
				(errmsg("outbox: no copy of dead letter %lld is published: %s",
						(long long) id, error)));
	return OUTBOX_STORE_OK;
}
