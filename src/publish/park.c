/*-------------------------------------------------------------------------
 *
 * park.c
 *	  Parks events of the window that the sink has given back: they are read
 *	  again, written into outbox.parked in the transaction that reads them, and
 *	  are done then.
 *
 * That goes in the order of their ids, and all events of a topic that has
 * failed go together: the first one is tried again later, the others queue
 * behind it, whether they have been handed to the sink or not.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "poison/guard.h"
#include "publish/park.h"
#include "retry/blocked_keys.h"
#include "retry/to_dead_letter.h"
#include "shared/event_log.h"
#include "shared/my_relay.h"
#include "shared/relay_state.h"

/* how many are parked before the relay does something else */
#define PARK_EVENTS 500

/* rows are read on, past others, up to the next one that is so near */
#define NEAR_IDS    32

/* An event to be parked */
typedef struct Candidate
{
	uint64 tag;
	uint64 id;
	OutboxTopic *topic;       /* that it queues behind, if it has no fault */
	const OutboxFault *fault; /* of its own */
} Candidate;

/* A run of them, in rows that are near each other */
typedef struct Run
{
	OutboxStream *stream;
	OutboxParkedWriter parked;
	const Candidate *candidates;
	int count;
	int next;
} Run;

/* counts the runs, as a mark of what has been done in one */
static uint32 runs = 0;

/* Finds what is to be parked, in order; more becomes whether it is not all. */
static int
find_candidates(OutboxStream *stream, bool faults, Candidate *candidates,
				bool *more)
{
	const OutboxWindow *window = stream->window;
	int count = 0;

	*more = false;
	for (uint64 tag = outbox_window_first_tag(window);
		 tag < outbox_window_next_tag(window); tag++)
	{
		OutboxTopic *topic = outbox_window_topic(window, tag);
		Candidate candidate = {.tag = tag};

		if (topic == NULL)
			continue;
		if (outbox_topic_is_back(topic) ||
			(topic->error != NULL && stream->state == OUTBOX_STREAM_PARKING))
			candidate.topic = topic;
		else if (faults)
			candidate.fault = outbox_window_fault(window, tag);
		if (candidate.topic == NULL && candidate.fault == NULL)
			continue;
		if (count == PARK_EVENTS)
		{
			*more = true;
			break;
		}
		candidate.id = outbox_window_id(window, tag);
		candidates[count++] = candidate;
	}
	return count;
}

/* What becomes of an event that is parked, for the log */
static const char *
what_becomes(const OutboxEvent *event, const OutboxParkReason *reason)
{
	if (reason->dead)
		return OUTBOX_EVENT_LOG_DEAD;
	switch (outbox_failure_scope(reason, event->key != NULL))
	{
		case OUTBOX_BLOCK_TOPIC:
			return "is parked, and blocks its topic";
		case OUTBOX_BLOCK_KEY:
			return "is parked, and blocks its key";
		case OUTBOX_BLOCK_EVENT:
			break;
	}
	return "is parked";
}

/* Parks one that is at fault, or the first one of a topic that is, in the
 * transaction that reads it. */
void
outbox_park_failed(OutboxParkedWriter *parked, const OutboxEvent *event,
				   const OutboxFailedAttempt *attempt)
{
	OutboxParkReason reason;

	outbox_failure_reason(attempt, &reason);
	outbox_parked_writer_failed(parked, event, &reason);
	outbox_relay_state_error(reason.error);
	outbox_event_log(event, what_becomes(event, &reason), reason.error);
}

static void
park(Run *run, const Candidate *candidate, const OutboxEvent *event)
{
	OutboxTopic *topic = candidate->topic;
	OutboxFailedAttempt attempt = {0};

	if (topic != NULL && (topic->blocked || topic->parked_in == runs))
	{
		outbox_parked_writer_queue(&run->parked, event);
		return;
	}
	if (topic != NULL)
	{
		attempt.failure = OUTBOX_FAILURE_TOPIC;
		attempt.error = topic->error;
		attempt.uncounted = topic->uncounted;
		topic->parked_in = runs;
	}
	else
	{
		attempt.failure = candidate->fault->failure;
		attempt.error = candidate->fault->error;
	}
	outbox_park_failed(&run->parked, event, &attempt);
}

/* Passes over other events, unread. */
static bool
is_other(uint64 id, void *arg)
{
	Run *run = arg;

	while (run->next < run->count && run->candidates[run->next].id < id)
		run->next++;
	return run->next == run->count || run->candidates[run->next].id != id;
}

static bool
take(const OutboxEvent *event, void *arg)
{
	Run *run = arg;

	if (outbox_parked_writer_is_full(&run->parked))
		return false;
	park(run, &run->candidates[run->next++], event);
	return true;
}

/* What has been parked is done; one whose row is gone, too. */
static void
note_done(OutboxStream *stream, const Candidate *candidates, int count)
{
	OutboxWindow *window = stream->window;

	for (int i = 0; i < count; i++)
	{
		OutboxTopic *topic = candidates[i].topic;

		if (topic == NULL)
			outbox_topic_refused(
				outbox_window_topic(window, candidates[i].tag));
		else if (topic->parked_in == runs)
			topic->blocked = true;
		outbox_window_done(window, candidates[i].tag);
		if (topic != NULL && topic->in_window == 0)
			outbox_topic_parked(topic);
	}
}

/* Its row may be one that cannot be copied (guard.c). */
static OutboxStoreStatus
make_dead_letter(OutboxStream *stream, const Candidate *candidate)
{
	const char *error =
		candidate->topic ? candidate->topic->error : candidate->fault->error;
	OutboxStoreStatus status = outbox_to_dead_letter(
		outbox_my_relay.name, OUTBOX_EVENT_TABLE, candidate->id, error, false);

	if (status != OUTBOX_STORE_OK)
		return status;
	outbox_guard_acquit();
	note_done(stream, candidate, 1);
	return OUTBOX_STORE_OK;
}

/* How many candidates make a run */
static int
run_length(const Candidate *candidates, int count, uint64 condemned)
{
	int length = 1;

	while (length < count && candidates[length].id != condemned &&
		   candidates[length].id - candidates[length - 1].id <= NEAR_IDS)
		length++;
	return length;
}

/* Parks the first candidates, as many as fit into one transaction; done
 * becomes how many. */
static OutboxStoreStatus
park_run(OutboxStream *stream, const Candidate *candidates, int count,
		 int *done)
{
	static bool undone = false;
	const char *raised;
	uint64 condemned = outbox_guard_condemned(&raised);
	Run run = {.stream = stream, .candidates = candidates};
	OutboxPageReader reader = {.pass = is_other, .take = take, .arg = &run};
	OutboxStoreStatus status;
	uint64 rows;

	*done = 1;
	if (candidates[0].id == condemned)
		return make_dead_letter(stream, candidates);
	/* an error has left blocks in memory that are not in the table */
	if (undone)
		outbox_blocked_keys_reload();
	undone = true;
	runs++;
	run.count = run_length(candidates, count, condemned);
	status = outbox_parked_writer_read(&run.parked, candidates[0].id - 1,
									   candidates[run.count - 1].id + 1,
									   INT_MAX, &reader, &rows);
	if (status == OUTBOX_STORE_OK)
	{
		*done = Max(run.next, 1);
		note_done(stream, candidates, *done);
	}
	undone = false;
	return status;
}

/*
 * Parks the events of topics that have failed, once all of a topic are back,
 * and with faults those that are at fault themselves. more becomes whether
 * there is more of it to be done.
 */
OutboxStoreStatus
outbox_park(OutboxStream *stream, bool faults, bool *more)
{
	Candidate candidates[PARK_EVENTS];
	OutboxStoreStatus status = OUTBOX_STORE_OK;
	int count = find_candidates(stream, faults, candidates, more);
	int done;

	for (int i = 0; status == OUTBOX_STORE_OK && i < count; i += done)
		status = park_run(stream, &candidates[i], count - i, &done);
	return status;
}
