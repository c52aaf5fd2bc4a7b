/*-------------------------------------------------------------------------
 *
 * attempt.c
 *	  Writes down what became of attempts to publish parked events.
 *
 * What happens to an event that fails:
 *
 *	  cluster, login	tried again after the base delay; no attempt is counted
 *	  topic				the topic is blocked, and its first event tried again
 *	  event				its key is blocked, and it is tried again
 *	  size, invalid		a dead letter, which frees its key
 *
 * with growing delays, up to outbox.retry_max_attempts; then it is a dead
 * letter, or, if the topic is at fault, all that is parked of the topic.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "attempt.h"
#include "backoff.h"
#include "deadletter.h"
#include "guc.h"
#include "parked_held.h"
#include "status.h"

/* Writes down that an event has failed; see the table in the file's head. */
static OutboxStoreStatus
note_failure(OutboxDatabase *db, const char *relay, OutboxAttempt *attempt)
{
	OutboxParkReason reason = {.failure = attempt->failure,
							   .error = attempt->error,
							   .attempts = attempt->attempts + 1};
	uint64 buried;

	reason.blocking = (outbox_on_failure != OUTBOX_ON_FAILURE_SKIP);
	outbox_status_error(db, attempt->error);
	switch (attempt->failure)
	{
		case OUTBOX_FAILURE_CLUSTER:
		case OUTBOX_FAILURE_LOGIN:
			return OUTBOX_STORE_OK;
		case OUTBOX_FAILURE_SIZE:
		case OUTBOX_FAILURE_INVALID:
			reason.dead = (outbox_on_failure != OUTBOX_ON_FAILURE_HALT);
			break;
		case OUTBOX_FAILURE_TOPIC:
			if (!outbox_backoff_is_last(reason.attempts))
				break;
			outbox_deadletter_added();
			return outbox_parked_bury_topic(relay, attempt->topic,
											attempt->error, &buried);
		case OUTBOX_FAILURE_EVENT:
			reason.dead = outbox_backoff_is_last(reason.attempts);
			break;
	}
	if (reason.dead)
		outbox_deadletter_added();
	reason.next_attempt = outbox_backoff_next(reason.attempts);
	return outbox_parked_failed(relay, attempt->id, &reason);
}

static bool
is_own_fault(const OutboxAttempt *attempt)
{
	return attempt->state == OUTBOX_ATTEMPT_FAILED &&
		   (attempt->failure == OUTBOX_FAILURE_EVENT ||
			attempt->failure == OUTBOX_FAILURE_SIZE ||
			attempt->failure == OUTBOX_FAILURE_INVALID);
}

/*
 * A batch is refused as a whole: if several events have failed, nobody knows
 * the culprit. Nothing is counted, and each is tried again, alone.
 */
void
outbox_attempt_suspect(OutboxAttempt *attempts, int count)
{
	int refused = 0;

	for (int i = 0; i < count; i++)
		refused += is_own_fault(&attempts[i]);
	if (refused < 2)
		return;
	for (int i = 0; i < count; i++)
	{
		OutboxBlockEntry *entry = attempts[i].entry;

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
outbox_attempt_note_failures(OutboxDatabase *db, const char *relay,
							 OutboxAttempt *attempts, int count)
{
	for (int i = 0; i < count; i++)
	{
		OutboxAttempt *attempt = &attempts[i];
		OutboxBlockEntry *entry = attempt->entry;
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
				status = note_failure(db, relay, attempt);
				if (status == OUTBOX_STORE_OK)
					pass_over_topic(attempts, count, attempt->topic);
				break;
			case OUTBOX_FAILURE_EVENT:
				if (first || entry->block.scope == OUTBOX_BLOCK_EVENT)
					status = note_failure(db, relay, attempt);
				break;
			case OUTBOX_FAILURE_SIZE:
			case OUTBOX_FAILURE_INVALID:
				status = note_failure(db, relay, attempt);
				break;
		}
		if (status != OUTBOX_STORE_OK)
			return status;
		if (attempt->failure != OUTBOX_FAILURE_CLUSTER &&
			attempt->failure != OUTBOX_FAILURE_LOGIN)
			outbox_blocks_reload();
		entry->failed = true;
		attempt->state = OUTBOX_ATTEMPT_RETURNED;
	}
	return OUTBOX_STORE_OK;
}

/* Removes what has been delivered from outbox.parked. */
OutboxStoreStatus
outbox_attempt_note_deliveries(OutboxDatabase *db, const char *relay,
							   OutboxAttempt *attempts, int count,
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
		status = outbox_parked_heal_topic(relay, attempts[i].topic);
		if (status != OUTBOX_STORE_OK)
			return status;
		outbox_blocks_reload();
	}
	if (delivered == 0)
		return OUTBOX_STORE_OK;
	status = outbox_held_note(OUTBOX_HELD_DELIVERED, relay, ids, delivered,
							  position);
	if (status != OUTBOX_STORE_OK)
		return status;

	for (int i = 0; i < count; i++)
	{
		OutboxBlockEntry *entry = attempts[i].entry;

		if (attempts[i].state != OUTBOX_ATTEMPT_DELIVERED)
			continue;
		if (entry->block.scope == OUTBOX_BLOCK_KEY)
		{
			entry->open = true;
			if (attempts[i].id >= entry->alone_upto)
				entry->alone_upto = 0;
		}
		attempts[i].state = OUTBOX_ATTEMPT_RETURNED;
	}
	pg_atomic_fetch_add_u64(&db->published, delivered);
	outbox_blocks_count(-delivered);
	return OUTBOX_STORE_OK;
}
