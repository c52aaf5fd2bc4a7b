/*-------------------------------------------------------------------------
 *
 * backfill_jobs.h
 *	  The SQL on outbox.backfill_job.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_BACKFILL_JOBS_H
#define OUTBOX_BACKFILL_JOBS_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "utils/array.h"

#include "store/statement.h"

/* One row of outbox.backfill_job, as far as the relay needs it */
typedef struct OutboxBackfillJob
{
	int64 id;
	int64 rate; /* rows a second; 0 = no limit */
	int64 part; /* the number of its table, or partition, that is read */
	Oid table;  /* that one; InvalidOid: all have been read */
	const char *condition; /* or NULL; likewise below */
	ArrayType *next_key;
	ArrayType *last_key;
	List *captures;    /* ids of those that the table's rows go to still */
	bool is_published; /* there are any that the job has begun with */
} OutboxBackfillJob;

extern bool outbox_backfill_jobs_due(TimestampTz now, TimestampTz latest,
									 OutboxBackfillJob *job);
extern bool outbox_backfill_jobs_next(TimestampTz *next);
extern void outbox_backfill_jobs_progress(const OutboxBackfillJob *job,
										  int64 rows, int64 events,
										  TimestampTz rest_until);
extern void outbox_backfill_jobs_stuck(const OutboxBackfillJob *job,
									   const char *error, bool failed,
									   TimestampTz rest_until);

#endif /* OUTBOX_BACKFILL_JOBS_H */
