/*-------------------------------------------------------------------------
 *
 * replay_jobs.c
 *	  The SQL on outbox.replay_job, requests to publish events once more. All
 *	  is done in the current transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "catalog/pg_type.h"
#include "utils/timestamp.h"

#include "store/event_receiver.h"
#include "store/replay_jobs.h"

/*
 * The lowest id that a replay still needs; UINT64_MAX if there is none.
 */
OutboxStoreStatus
outbox_replay_jobs_first_id(uint64 *first_id)
{
	static OutboxStatement statement = {
		.sql = "SELECT min(next_id), count(*) FROM outbox.replay_job"
			   " WHERE state = 'running'",
		.read_only = true};
	OutboxStoreStatus status =
		outbox_store_lock(OUTBOX_REPLAY_TABLE, AccessShareLock);

	if (status != OUTBOX_STORE_OK)
		return status;
	outbox_store_execute(&statement, NULL, NULL);
	*first_id = outbox_store_result(0, 2) == 0
					? PG_UINT64_MAX
					: (uint64) outbox_store_result(0, 1);
	return OUTBOX_STORE_OK;
}

/* The jobs of relay $1: those whose copies it alone publishes, and if $2, with
 * the chores, those whose copies all do */
#define RUNNING_JOBS                                  \
	" FROM outbox.replay_job WHERE state = 'running'" \
	" AND (relay = $1 OR relay IS NULL AND $2)"

/*
 * Reads the job whose turn it is, and locks it; false if there is none.
 * Somebody may have locked those that are running, to cancel them, and change
 * his mind. A turn beyond latest is due, too: the clock has been set back.
 */
bool
outbox_replay_jobs_due(const char *relay, bool chores, TimestampTz now,
					   TimestampTz latest, OutboxReplayJob *job)
{
	static OutboxStatement statement = {
		.sql = "SELECT id, next_id, last_id, rate::bigint,"
			   "  (relay IS NOT NULL)::int::bigint" RUNNING_JOBS
			   "  AND (next_at <= $3 OR next_at > $4)"
			   " ORDER BY next_at, id LIMIT 1 FOR UPDATE SKIP LOCKED",
		.nargs = 4,
		.types = {TEXTOID, BOOLOID, TIMESTAMPTZOID, TIMESTAMPTZOID}};
	Datum values[] = {outbox_store_text(relay), BoolGetDatum(chores),
					  TimestampTzGetDatum(now), TimestampTzGetDatum(latest)};

	if (outbox_store_execute(&statement, values, NULL) == 0)
		return false;
	job->id = outbox_store_result(0, 1);
	job->next_id = outbox_store_result(0, 2);
	job->last_id = outbox_store_result(0, 3);
	job->rate = outbox_store_result(0, 4);
	job->addressed = (outbox_store_result(0, 5) != 0);
	return true;
}

/* Is any job running? next becomes when the first of them has its turn. */
bool
outbox_replay_jobs_next(const char *relay, bool chores, TimestampTz *next)
{
	static OutboxStatement statement = {
		.sql = "SELECT min(next_at), count(*)" RUNNING_JOBS,
		.nargs = 2,
		.types = {TEXTOID, BOOLOID}};
	Datum values[] = {outbox_store_text(relay), BoolGetDatum(chores)};

	outbox_store_execute(&statement, values, NULL);
	*next = outbox_store_result(0, 1);
	return outbox_store_result(0, 2) > 0;
}

/*
 * Gives the events that a job asks for, as they are to be published, up to an
 * id and at most limit of them, to the consumer. The segments must be locked.
 */
uint64
outbox_replay_jobs_events(const OutboxReplayJob *job, int64 upto, int64 limit,
						  OutboxEventConsumer consumer, void *arg)
{
	static OutboxStatement statement = {
		.sql = "SELECT e.id, e.event_id,"
			   "  CASE WHEN j.new_timestamp THEN clock_timestamp()"
			   "   ELSE e.emitted_at END,"
			   "  COALESCE(j.to_topic, e.topic), e.key, e.payload,"
			   "  COALESCE(e.headers, '{}') ||"
			   "  jsonb_build_object('outbox_replay', j.id::text) ||"
			   "  CASE WHEN j.relay IS NULL THEN '{}' ELSE"
			   "   jsonb_build_object('" OUTBOX_HEADER_RELAY "', j.relay)"
			   "   END,"
			   "  NULL::timestamptz, e.type, e.source, e.content_type"
			   " FROM outbox.event e, outbox.replay_job j"
			   "  LEFT JOIN outbox.relay r ON r.name = j.relay"
			   " WHERE j.id = $1 AND e.id >= $2 AND e.id <= $3"
			   "  AND (j.since IS NULL OR e.emitted_at >= j.since)"
			   "  AND (j.until IS NULL OR e.emitted_at < j.until)"
			   "  AND (j.topic IS NULL OR e.topic = j.topic)"
			   "  AND (j.key IS NULL OR e.key = j.key)"
			   "  AND (e.headers IS NULL OR NOT e.headers ? 'outbox_replay')"
			   "  AND NOT EXISTS (SELECT FROM outbox.parked p"
			   "   WHERE p.id = e.id"
			   "    AND (j.relay IS NULL OR p.relay = j.relay))"
			   "  AND NOT EXISTS (SELECT FROM outbox.discarded d"
			   "   WHERE d.id = e.id"
			   "    AND (j.relay IS NULL OR d.relay = j.relay))"
			   "  AND (j.relay IS NULL OR outbox.topic_matches("
			   "   COALESCE(j.to_topic, e.topic), r.topics, r.excluding))"
			   " ORDER BY e.id LIMIT $4",
		.nargs = 4,
		.types = {INT8OID, INT8OID, INT8OID, INT8OID}};
	Datum values[] = {Int64GetDatum(job->id), Int64GetDatum(job->next_id),
					  Int64GetDatum(upto), Int64GetDatum(limit)};

	return outbox_store_stream(&statement, values, NULL, consumer, arg);
}

/* Writes how far the job is, and until when it rests. */
void
outbox_replay_jobs_progress(const OutboxReplayJob *job, int64 next_id,
							uint64 count, TimestampTz rest_until)
{
	static OutboxStatement statement = {
		.sql = "UPDATE outbox.replay_job SET next_id = $2,"
			   "  replayed = replayed + $3, next_at = $4,"
			   "  state = CASE WHEN $2 > last_id THEN 'done'"
			   "   ELSE 'running' END,"
			   "  finished_at = CASE WHEN $2 > last_id"
			   "   THEN clock_timestamp() END"
			   " WHERE id = $1",
		.nargs = 4,
		.types = {INT8OID, INT8OID, INT8OID, TIMESTAMPTZOID}};
	Datum values[] = {Int64GetDatum(job->id), Int64GetDatum(next_id),
					  Int64GetDatum((int64) count),
					  TimestampTzGetDatum(rest_until)};

	outbox_store_execute(&statement, values, NULL);
}
