/*-------------------------------------------------------------------------
 *
 * retry_outcome.c
 *	  Writes down what became of attempts to publish parked events; failure.c
 *	  says what that is for those that have failed.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "utils/memutils.h"

#include "guc.h"
#include "retry/backoff.h"
#include "retry/dead_letter_copies.h"
#include "retry/failure.h"
#include "retry/retry_outcome.h"
#include "retry/topic.h"
#include "shared/event_log.h"
#include "shared/figures.h"
#include "shared/my_relay.h"
#include "shared/relay_state.h"
#include "store/dead_letters.h"
#include "store/parked_held.h"

static bool
is_own_fault(const OutboxAttempt *attempt)
{
	return attempt->state == OUTBOX_ATTEMPT_FAILED &&
		   (attempt->failure == OUTBOX_FAILURE_EVENT ||
			attempt->failure == OUTBOX_FAILURE_SIZE ||
			attempt->failure == OUTBOX_FAILURE_INVALID);
}

/* That an event has failed is written down: counts and tells it. dead: how many
 * dead letters have been made, of the event or of all of its topic */
static void
report_failure(const OutboxAttempt *attempt, OutboxFate fate, uint64 dead)
{
	outbox_figures_failed(attempt->topic, attempt->failure);
	if (fate != OUTBOX_FATE_DEAD && fate != OUTBOX_FATE_TOPIC_DEAD)
		return;
	outbox_figures_dead(attempt->topic, dead, false);
	outbox_dead_letter_copies_added();
	outbox_event_log_named(
		attempt->name,
		fate == OUTBOX_FATE_DEAD
			? OUTBOX_EVENT_LOG_DEAD
			: "is a dead letter, with all that is parked of its topic",
		attempt->error);
}

/* Writes down that an event has failed. If that is not possible now, it is
 * called again. */
static OutboxStoreStatus
note_failure(OutboxAttempt *attempt)
{
	OutboxFailedAttempt failed = {.failure = attempt->failure,
								  .error = attempt->error,
								  .attempts = attempt->attempts,
								  .uncounted = attempt->uncounted,
								  .parked = true};
	OutboxParkReason reason;
	OutboxFate fate = outbox_failure_reason(&failed, &reason);
	OutboxStoreStatus status = OUTBOX_STORE_OK;
	uint64 dead = 1;

	outbox_relay_state_error(attempt->error);
	switch (fate)
	{
		case OUTBOX_FATE_AGAIN:
			break;
		case OUTBOX_FATE_RETRY:
		case OUTBOX_FATE_DEAD:
			status = outbox_parked_failed(outbox_my_relay.name, attempt->id,
										  &reason);
			break;
		case OUTBOX_FATE_TOPIC_DEAD:
			status = outbox_dead_letters_from_topic(
				outbox_my_relay.name, attempt->topic, attempt->error, &dead);
			break;
	}
	if (status == OUTBOX_STORE_OK)
		report_failure(attempt, fate, dead);
	return status;
}

/* What brokers say about the topic of an attempt */
static void
blame(OutboxAttempt *attempt, const OutboxSinkEvent *answer, bool silent)
{
	const char *error = answer->message;

	switch (answer->state)
	{
		case OUTBOX_TOPIC_FAULTY:
			attempt->failure = answer->failure;
			break;
		case OUTBOX_TOPIC_LEADERLESS:
			attempt->failure = OUTBOX_FAILURE_TOPIC;
			attempt->uncounted = true;
			break;
		case OUTBOX_TOPIC_FINE:
			if (!silent)
				return;
			attempt->failure = OUTBOX_FAILURE_CLUSTER;
			if (attempt->entry->block.scope == OUTBOX_BLOCK_TOPIC)
				attempt->failure = OUTBOX_FAILURE_TOPIC;
			attempt->uncounted = true;
			error = "no answer from the brokers";
			break;
		case OUTBOX_TOPIC_SILENT:
			return;
	}
	attempt->error =
		MemoryContextStrdup(GetMemoryChunkContext(attempt->topic), error);
}

/*
 * Takes in what brokers say about a topic whose events have no answer; silent
 * if they have had none for long. If that is why, they are failures as soon as
 * the sink has given them back.
 */
void
outbox_retry_outcome_blame(OutboxAttempt *attempts, int count,
						   const OutboxSinkEvent *answer, bool silent)
{
	for (int i = 0; i < count; i++)
	{
		OutboxAttempt *attempt = &attempts[i];

		if (attempt->state == OUTBOX_ATTEMPT_SENT && attempt->error == NULL &&
			strcmp(attempt->topic, answer->topic) == 0)
			blame(attempt, answer, silent);
	}
}

/* Is there nothing but blame to be waited for? */
bool
outbox_retry_outcome_all_blamed(const OutboxAttempt *attempts, int count)
{
	for (int i = 0; i < count; i++)
	{
		if (attempts[i].state == OUTBOX_ATTEMPT_SENT &&
			attempts[i].error == NULL)
			return false;
	}
	return true;
}

/*
 * Tells which topics' events are refused, and which pass. The rounds are
 * counted; alone says that each event was alone in its batch.
 */
void
outbox_retry_outcome_judge(const OutboxAttempt *attempts, int count,
						   uint32 round, bool alone)
{
	for (int i = 0; i < count; i++)
	{
		if (is_own_fault(&attempts[i]))
			outbox_topic_refused_in(attempts[i].topic, round);
	}
	for (int i = 0; i < count && alone; i++)
	{
		if (attempts[i].state == OUTBOX_ATTEMPT_DELIVERED)
			outbox_topic_passed_in(attempts[i].topic, round);
	}
}

/*
 * A batch is refused as a whole: if several events have failed, nobody knows
 * the culprit. Nothing is counted, and each is tried again, alone.
 */
void
outbox_retry_outcome_suspect(OutboxAttempt *attempts, int count)
{
	int refused = 0;

	for (int i = 0; i < count; i++)
		refused += is_own_fault(&attempts[i]);
	if (refused < 2)
		return;
	for (int i = 0; i < count; i++)
	{
		OutboxBlockedKey *entry = attempts[i].entry;

		if (!is_own_fault(&attempts[i]))
			continue;
		entry->alone_upto = Max(entry->alone_upto, attempts[i].id);
		attempts[i].state = OUTBOX_ATTEMPT_RETURNED;
	}
}

/* One event stands for all of its topic: once it is noted, they queue. */
static void
pass_over_topic(OutboxAttempt *attempts, int count, const char *topic)
{
	for (int i = 0; i < count; i++)
	{
		if (attempts[i].state == OUTBOX_ATTEMPT_FAILED &&
			attempts[i].failure == OUTBOX_FAILURE_TOPIC &&
			strcmp(attempts[i].topic, topic) == 0)
			attempts[i].state = OUTBOX_ATTEMPT_RETURNED;
	}
}

/* Writes down what has failed, and closes the blocks. */
OutboxStoreStatus
outbox_retry_outcome_note_failures(OutboxAttempt *attempts, int count)
{
	for (int i = 0; i < count; i++)
	{
		OutboxAttempt *attempt = &attempts[i];
		OutboxBlockedKey *entry = attempt->entry;
		bool first = !entry->failed;
		OutboxStoreStatus status = OUTBOX_STORE_OK;

		if (attempt->state != OUTBOX_ATTEMPT_FAILED)
			continue;
		switch (attempt->failure)
		{
			case OUTBOX_FAILURE_CLUSTER:
			case OUTBOX_FAILURE_LOGIN:
				entry->not_before = outbox_backoff_next(1);
				break;
			case OUTBOX_FAILURE_TOPIC:
				status = note_failure(attempt);
				if (status == OUTBOX_STORE_OK)
					pass_over_topic(attempts, count, attempt->topic);
				break;
			case OUTBOX_FAILURE_EVENT:
				if (first || entry->block.scope == OUTBOX_BLOCK_EVENT)
					status = note_failure(attempt);
				break;
			case OUTBOX_FAILURE_SIZE:
			case OUTBOX_FAILURE_INVALID:
				status = note_failure(attempt);
				break;
		}
		if (status != OUTBOX_STORE_OK)
			return status;
		if (attempt->failure != OUTBOX_FAILURE_CLUSTER &&
			attempt->failure != OUTBOX_FAILURE_LOGIN)
			outbox_blocked_keys_reload();
		entry->failed = true;
		attempt->state = OUTBOX_ATTEMPT_RETURNED;
	}
	return OUTBOX_STORE_OK;
}

/* Removes what has been delivered from outbox.parked. */
OutboxStoreStatus
outbox_retry_outcome_note_deliveries(OutboxAttempt *attempts, int count,
									 uint64 position)
{
	uint64 *ids = palloc((count + 1) * sizeof(uint64));
	OutboxStoreStatus status;
	int delivered = 0;

	for (int i = 0; i < count; i++)
	{
		if (attempts[i].state != OUTBOX_ATTEMPT_DELIVERED)
			continue;
		ids[delivered++] = attempts[i].id;
		if (attempts[i].entry->block.scope != OUTBOX_BLOCK_TOPIC)
			continue;
		/* the topic can be written to: what is left is blocked by keys */
		status = outbox_parked_unblock_topic(outbox_my_relay.name,
											 attempts[i].topic);
		if (status != OUTBOX_STORE_OK)
			return status;
		outbox_blocked_keys_reload();
	}
	if (delivered == 0)
		return OUTBOX_STORE_OK;
	status = outbox_held_note(OUTBOX_HELD_DELIVERED, outbox_my_relay.name, ids,
							  delivered, position);
	if (status != OUTBOX_STORE_OK)
		return status;

	for (int i = 0; i < count; i++)
	{
		OutboxBlockedKey *entry = attempts[i].entry;

		if (attempts[i].state != OUTBOX_ATTEMPT_DELIVERED)
			continue;
		outbox_figures_retried(attempts[i].topic, attempts[i].size);
		if (outbox_log_events)
			outbox_event_log_acknowledged(
				attempts[i].name, attempts[i].sent_at - attempts[i].emitted_at,
				attempts[i].sent_us);
		if (entry->block.scope == OUTBOX_BLOCK_KEY)
		{
			entry->open = true;
			if (attempts[i].id >= entry->alone_upto)
				entry->alone_upto = 0;
		}
		attempts[i].state = OUTBOX_ATTEMPT_RETURNED;
	}
	pg_atomic_fetch_add_u64(&outbox_my_relay.slot->published, delivered);
	outbox_blocked_keys_count(-delivered);
	return OUTBOX_STORE_OK;
}
