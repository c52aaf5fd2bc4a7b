/*-------------------------------------------------------------------------
 *
 * subscription_offsets.c
 *	  The SQL on outbox.subscription_offset, how far subscriptions are.
 *
 * Who moves next_offset expects it as it was, so what is done in the same
 * transaction is done once, whoever else tries. A row that is not as we know
 * it is stale: nothing has been done then, and the partition is marked so.
 *
 * Each move leaves a dead version behind, which nobody may remove while a
 * snapshot is held; the index would lead through all of them. So the last
 * version is found by its place, which is remembered.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "store/statement.h"
#include "store/subscription_offsets.h"

/* The row of a partition, as it is expected */
#define AS_EXPECTED                           \
	" WHERE subscription = $1 AND topic = $2" \
	" AND partition = $3 AND next_offset = $4"

/* The arguments for it, in the current memory context */
static void
set_expected(Datum *values, const char *subscription,
			 const OutboxPartition *partition)
{
	values[0] = CStringGetTextDatum(subscription);
	values[1] = CStringGetTextDatum(partition->topic);
	values[2] = Int32GetDatum(partition->number);
	values[3] = Int64GetDatum(partition->next_offset);
}

/* Remembers which version of its row a partition has now; false if there is
 * none that is as expected. */
static bool
take_version(OutboxPartition *partition, uint64 rows)
{
	bool is_null;

	if (rows != 1)
		return false;
	partition->version = *(ItemPointer) DatumGetPointer(SPI_getbinval(
		SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null));
	return true;
}

#define MOVE                                                  \
	"UPDATE outbox.subscription_offset SET next_offset = $5," \
	" published_at = COALESCE($6, published_at),"             \
	" end_offset = $7, updated_at = now()" AS_EXPECTED        \
	" AND seek IS NULL AND gap IS NULL"

/*
 * Moves a partition to another offset in the current transaction, as the
 * superuser; published_at: of the last message before it, 0 = nothing new.
 * Waits for who else may have the row. False if it is not as expected any
 * more: somebody else has moved it, or it is to go on elsewhere; the
 * transaction must be undone then. next_offset stays, as that may happen
 * anyway.
 */
bool
outbox_offsets_move(const char *subscription, OutboxPartition *partition,
					int64 next, TimestampTz published_at)
{
	static OutboxStatement by_place = {
		.sql = MOVE " AND ctid = $8 RETURNING ctid",
		.nargs = 8,
		.types = {TEXTOID, TEXTOID, INT4OID, INT8OID, INT8OID, TIMESTAMPTZOID,
				  INT8OID, TIDOID}};
	static OutboxStatement by_key = {.sql = MOVE " RETURNING ctid",
									 .nargs = 7,
									 .types = {TEXTOID, TEXTOID, INT4OID,
											   INT8OID, INT8OID,
											   TIMESTAMPTZOID, INT8OID}};
	Datum values[8];
	char nulls[] = "        ";
	int64 end = Max(partition->end_offset, next);

	set_expected(values, subscription, partition);
	values[4] = Int64GetDatum(next);
	values[5] = TimestampTzGetDatum(published_at);
	nulls[5] = (published_at == 0) ? 'n' : ' ';
	values[6] = Int64GetDatum(end);
	values[7] = PointerGetDatum(&partition->version);
	if (!(ItemPointerIsValid(&partition->version) &&
		  take_version(partition,
					   outbox_store_execute(&by_place, values, nulls))) &&
		!take_version(partition, outbox_store_execute(&by_key, values, nulls)))
		return false;
	partition->end_written = end;
	return true;
}

/* Begins a transaction that reads or writes the table. */
static OutboxStoreStatus
store_begin_with(const char *activity, LOCKMODE mode)
{
	OutboxStoreStatus status = outbox_store_begin(activity);

	if (status != OUTBOX_STORE_OK)
		return status;
	status = outbox_store_lock(OUTBOX_OFFSETS_TABLE, mode);
	if (status != OUTBOX_STORE_OK)
		outbox_store_end();
	return status;
}

/* columns of the statement below */
enum
{
	PARTITION = 1,
	NEXT_OFFSET,
	REPEAT_UPTO,
	END_OFFSET,
	PUBLISHED_AT,
	TOPIC,
	GAP,
	SEEK,
	VERSION,
};

/* Gives all rows of a subscription to the consumer. */
OutboxStoreStatus
outbox_offsets_read(const char *subscription, OutboxOffsetConsumer consumer,
					void *arg)
{
	static OutboxStatement statement = {
		.sql = "SELECT partition::bigint, next_offset, repeat_upto,"
			   "  COALESCE(end_offset, -1), published_at, topic, gap, seek,"
			   "  ctid"
			   " FROM outbox.subscription_offset WHERE subscription = $1"
			   " ORDER BY topic, partition",
		.read_only = true,
		.nargs = 1,
		.types = {TEXTOID}};
	Datum values[] = {outbox_store_text(subscription)};
	OutboxStoreStatus status =
		store_begin_with("outbox: reading how far it is", AccessShareLock);
	uint64 rows;

	if (status != OUTBOX_STORE_OK)
		return status;
	rows = outbox_store_execute(&statement, values, NULL);
	for (uint64 i = 0; i < rows; i++)
	{
		bool is_null;
		OutboxOffsetRow row = {
			.topic = outbox_store_string(i, TOPIC),
			.partition = (int32) outbox_store_result(i, PARTITION),
			.next_offset = outbox_store_result(i, NEXT_OFFSET),
			.repeat_upto = outbox_store_result(i, REPEAT_UPTO),
			.end_offset = outbox_store_result(i, END_OFFSET),
			.published_at = outbox_store_result(i, PUBLISHED_AT),
			.gap = outbox_store_string(i, GAP),
			.seek = outbox_store_string(i, SEEK),
			.version = *(ItemPointer) DatumGetPointer(
				SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc,
							  VERSION, &is_null)),
		};

		consumer(&row, arg);
	}
	outbox_store_end();
	return OUTBOX_STORE_OK;
}

/*
 * Makes rows for the partitions of a topic, those that there are not yet: at
 * these offsets, if there is no row of that topic at all, else at 0. Others
 * may do the same just now: the row of the subscription is locked for that,
 * and the answer is BUSY if it is not free at once, or has gone.
 */
OutboxStoreStatus
outbox_offsets_begin_topic(const char *subscription, const char *topic,
						   const int64 *offsets, int count)
{
	static OutboxStatement lock = {
		.sql = "SELECT FROM outbox.subscription WHERE name = $1"
			   " FOR UPDATE SKIP LOCKED",
		.nargs = 1,
		.types = {TEXTOID}};
	static OutboxStatement insert = {
		.sql = "INSERT INTO outbox.subscription_offset"
			   "  (subscription, topic, partition, next_offset, updated_at)"
			   " SELECT $1, $2, o.number - 1,"
			   "  CASE WHEN EXISTS (SELECT FROM outbox.subscription_offset s"
			   "   WHERE s.subscription = $1 AND s.topic = $2)"
			   "  THEN 0 ELSE o.place END, now()"
			   " FROM unnest($3) WITH ORDINALITY AS o (place, number)"
			   " ON CONFLICT DO NOTHING",
		.nargs = 3,
		.types = {TEXTOID, TEXTOID, INT8ARRAYOID}};
	Datum values[] = {outbox_store_text(subscription),
					  outbox_store_text(topic),
					  outbox_store_ids((const uint64 *) offsets, count)};
	OutboxStoreStatus status = store_begin_with(
		"outbox: beginning to read a topic", RowExclusiveLock);

	if (status != OUTBOX_STORE_OK)
		return status;
	status = outbox_store_lock(OUTBOX_SUBSCRIPTIONS, RowShareLock);
	if (status == OUTBOX_STORE_OK &&
		outbox_store_execute(&lock, values, NULL) == 0)
		status = OUTBOX_STORE_BUSY;
	/* sees what has been committed before it had the lock */
	if (status == OUTBOX_STORE_OK)
		outbox_store_execute(&insert, values, NULL);
	outbox_store_end();
	return status;
}

/* Runs a statement for one partition, whose row is stale if it is not as
 * expected. */
static OutboxStoreStatus
change(const char *activity, OutboxStatement *statement, Datum *values,
	   const char *nulls, OutboxPartition *partition)
{
	OutboxStoreStatus status = store_begin_with(activity, RowExclusiveLock);

	if (status != OUTBOX_STORE_OK)
		return status;
	if (outbox_store_execute(statement, values, nulls) != 1)
		partition->stale = true;
	outbox_store_end();
	return OUTBOX_STORE_OK;
}

/* Goes on at another offset, as outbox.seek() has asked for, or behind a gap;
 * the row must be read again. */
OutboxStoreStatus
outbox_offsets_go_on(const char *subscription, OutboxPartition *partition,
					 int64 next)
{
	static OutboxStatement statement = {
		.sql = "UPDATE outbox.subscription_offset SET next_offset = $5,"
			   "  gap = NULL, gap_since = NULL, seek = NULL,"
			   "  updated_at = now()" AS_EXPECTED
			   "  AND seek IS NOT DISTINCT FROM $6",
		.nargs = 6,
		.types = {TEXTOID, TEXTOID, INT4OID, INT8OID, INT8OID, TEXTOID}};
	MemoryContext old_context =
		MemoryContextSwitchTo(outbox_store_argument_context());
	Datum values[6];

	set_expected(values, subscription, partition);
	values[4] = Int64GetDatum(next);
	values[5] = CStringGetTextDatum(partition->seek ? partition->seek : "");
	MemoryContextSwitchTo(old_context);
	partition->stale = true;
	return change("outbox: going on at another offset", &statement, values,
				  partition->seek ? NULL : "     n", partition);
}

/* Notes what is missing from next_offset on; the row must be read again. */
OutboxStoreStatus
outbox_offsets_note_gap(const char *subscription, OutboxPartition *partition,
						const char *gap)
{
	static OutboxStatement statement = {
		.sql = "UPDATE outbox.subscription_offset SET gap = $5,"
			   "  gap_since = now(), updated_at = now()" AS_EXPECTED
			   "  AND seek IS NULL AND gap IS NULL",
		.nargs = 5,
		.types = {TEXTOID, TEXTOID, INT4OID, INT8OID, TEXTOID}};
	MemoryContext old_context =
		MemoryContextSwitchTo(outbox_store_argument_context());
	Datum values[5];

	set_expected(values, subscription, partition);
	values[4] = CStringGetTextDatum(gap);
	MemoryContextSwitchTo(old_context);
	partition->stale = true;
	return change("outbox: noting a gap", &statement, values, NULL, partition);
}

/*
 * Writes down where the end of these partitions is, and moves those that have
 * reached it to it: no message is before that.
 */
OutboxStoreStatus
outbox_offsets_catch_up(const char *subscription, List *partitions)
{
	OutboxStoreStatus status =
		store_begin_with("outbox: writing where the end is", RowExclusiveLock);
	ListCell *lc;

	if (status != OUTBOX_STORE_OK)
		return status;
	foreach (lc, partitions)
	{
		OutboxPartition *partition = lfirst(lc);
		int64 next = Max(partition->next_offset, partition->end_reached);

		if (!outbox_offsets_move(subscription, partition, next, 0))
			partition->stale = true;
	}
	outbox_store_end();
	foreach (lc, partitions)
	{
		OutboxPartition *partition = lfirst(lc);

		if (!partition->stale)
			partition->next_offset = partition->taken =
				Max(partition->next_offset, partition->end_reached);
	}
	return OUTBOX_STORE_OK;
}
