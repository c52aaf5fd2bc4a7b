/*-------------------------------------------------------------------------
 *
 * backfill_jobs.c
 *	  The SQL on outbox.backfill_job, requests to publish what tables have
 *	  already. All is done in the current transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "store/backfill_jobs.h"

/* A column of the only row of the last result; *is_null may be NULL. */
static Datum
column(int number, bool *is_null)
{
	return SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, number,
						 is_null);
}

/* An array of texts, copied; NULL for null */
static ArrayType *
texts_in(int number)
{
	bool is_null;
	Datum value = column(number, &is_null);

	return is_null ? NULL : DatumGetArrayTypePCopy(value);
}

static List *
ids_in(int number)
{
	bool is_null;
	Datum value = column(number, &is_null);
	List *ids = NIL;
	Datum *values;
	int count;

	deconstruct_array(DatumGetArrayTypeP(value), INT4OID, sizeof(int32), true,
					  TYPALIGN_INT, &values, NULL, &count);
	for (int i = 0; i < count; i++)
		ids = lappend_int(ids, DatumGetInt32(values[i]));
	return ids;
}

/* Rows of outbox.capture that job j has begun with, and whose triggers are
 * there still, as in outbox.published_table */
#define ITS_CAPTURES                                        \
	" FROM outbox.capture c JOIN pg_trigger t"              \
	"  ON t.tgrelid = c.relation"                           \
	"  AND t.tgname = '" OUTBOX_CAPTURE_TRIGGER "' || c.id" \
	" WHERE c.id = ANY (j.captures)"

/*
 * Reads the job whose turn it is, and locks it; false if there is none.
 * Somebody may have locked those that are running, to cancel them, and change
 * his mind. A turn beyond latest is due, too: the clock has been set back.
 */
bool
outbox_backfill_jobs_due(TimestampTz now, TimestampTz latest,
						 OutboxBackfillJob *job)
{
	static OutboxStatement statement = {
		.sql = "SELECT j.id, COALESCE(j.rate, 0)::bigint, j.part::bigint,"
			   "  COALESCE(j.parts[j.part]::oid::bigint, 0),"
			   "  j.condition, j.next_key, j.last_key,"
			   "  ARRAY(SELECT c.id" ITS_CAPTURES
			   "   AND (c.relation = j.parts[j.part] OR c.relation IN (SELECT"
			   "    a.relid FROM pg_partition_ancestors(j.parts[j.part]) a))"
			   "   ORDER BY c.id),"
			   "  EXISTS (SELECT" ITS_CAPTURES ")::int::bigint"
			   " FROM outbox.backfill_job j WHERE j.state = 'running'"
			   "  AND (j.next_at <= $1 OR j.next_at > $2)"
			   " ORDER BY j.next_at, j.id LIMIT 1 FOR UPDATE OF j SKIP LOCKED",
		.nargs = 2,
		.types = {TIMESTAMPTZOID, TIMESTAMPTZOID}};
	Datum values[] = {TimestampTzGetDatum(now), TimestampTzGetDatum(latest)};

	if (outbox_store_execute(&statement, values, NULL) == 0)
		return false;
	job->id = outbox_store_result(0, 1);
	job->rate = outbox_store_result(0, 2);
	job->part = outbox_store_result(0, 3);
	job->table = (Oid) outbox_store_result(0, 4);
	job->condition = outbox_store_string(0, 5);
	job->next_key = texts_in(6);
	job->last_key = texts_in(7);
	job->captures = ids_in(8);
	job->is_published = (outbox_store_result(0, 9) != 0);
	return true;
}

/* Is any job running? next becomes when the first of them has its turn. */
bool
outbox_backfill_jobs_next(TimestampTz *next)
{
	static OutboxStatement statement = {
		.sql = "SELECT min(next_at), count(*) FROM outbox.backfill_job"
			   " WHERE state = 'running'"};

	outbox_store_execute(&statement, NULL, NULL);
	*next = outbox_store_result(0, 1);
	return outbox_store_result(0, 2) > 0;
}

/* Writes how far the job is: the part and keys that it has now, how much it has
 * done since it was read, and until when it rests. */
void
outbox_backfill_jobs_progress(const OutboxBackfillJob *job, int64 rows,
							  int64 events, TimestampTz rest_until)
{
	static OutboxStatement statement = {
		.sql = "UPDATE outbox.backfill_job j SET part = $2,"
			   "  next_key = $3, last_key = $4, rows_read = rows_read + $5,"
			   "  events = events + $6, next_at = $7,"
			   "  error = NULL, error_since = NULL,"
			   "  state = CASE WHEN $2 > cardinality(parts) THEN 'done'"
			   "   ELSE 'running' END,"
			   "  finished_at = CASE WHEN $2 > cardinality(parts)"
			   "   THEN clock_timestamp() END"
			   " WHERE id = $1",
		.nargs = 7,
		.types = {INT8OID, INT4OID, TEXTARRAYOID, TEXTARRAYOID, INT8OID,
				  INT8OID, TIMESTAMPTZOID}};
	Datum values[] = {Int64GetDatum(job->id),
					  Int32GetDatum((int32) job->part),
					  PointerGetDatum(job->next_key),
					  PointerGetDatum(job->last_key),
					  Int64GetDatum(rows),
					  Int64GetDatum(events),
					  TimestampTzGetDatum(rest_until)};
	char nulls[] = "       ";

	nulls[2] = job->next_key == NULL ? 'n' : ' ';
	nulls[3] = job->last_key == NULL ? 'n' : ' ';
	outbox_store_execute(&statement, values, nulls);
}

/* Writes why the job does not get on, until when it rests, or that it has
 * failed. */
void
outbox_backfill_jobs_stuck(const OutboxBackfillJob *job, const char *error,
						   bool failed, TimestampTz rest_until)
{
	static OutboxStatement statement = {
		.sql = "UPDATE outbox.backfill_job SET error = $2,"
			   "  error_since = COALESCE(error_since, clock_timestamp()),"
			   "  next_at = $4,"
			   "  state = CASE WHEN $3 THEN 'failed' ELSE 'running' END,"
			   "  finished_at = CASE WHEN $3 THEN clock_timestamp() END"
			   " WHERE id = $1",
		.nargs = 4,
		.types = {INT8OID, TEXTOID, BOOLOID, TIMESTAMPTZOID}};
	Datum values[] = {Int64GetDatum(job->id), outbox_store_text(error),
					  BoolGetDatum(failed), TimestampTzGetDatum(rest_until)};

	outbox_store_execute(&statement, values, NULL);
}
