/*-------------------------------------------------------------------------
 *
 * replay_jobs.h
 *	  The SQL on outbox.replay_job.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_REPLAY_JOBS_H
#define OUTBOX_REPLAY_JOBS_H

#include "datatype/timestamp.h"

#include "store/statement.h"

/* One row of outbox.replay_job, as far as the relay needs it */
typedef struct OutboxReplayJob
{
	int64 id;
	int64 next_id;
	int64 last_id;
	int64 rate;     /* events a second */
	bool addressed; /* one relay alone publishes the copies */
} OutboxReplayJob;

extern OutboxStoreStatus outbox_replay_jobs_first_id(uint64 *first_id);
extern bool outbox_replay_jobs_due(const char *relay, bool chores,
								   TimestampTz now, TimestampTz latest,
								   OutboxReplayJob *job);
extern bool outbox_replay_jobs_next(const char *relay, bool chores,
									TimestampTz *next);
extern uint64 outbox_replay_jobs_events(const OutboxReplayJob *job, int64 upto,
										int64 limit,
										OutboxEventConsumer consumer,
										void *arg);
extern void outbox_replay_jobs_progress(const OutboxReplayJob *job,
										int64 next_id, uint64 count,
										TimestampTz rest_until);

#endif /* OUTBOX_REPLAY_JOBS_H */
