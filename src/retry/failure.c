/*-------------------------------------------------------------------------
 *
 * failure.c
 *	  What becomes of an event that has failed: the rules for those of the
 *	  stream and those that are parked already.
 *
 *	  failure			becomes						blocks		   an attempt?
 *	  cluster, login	as if it had not been tried				   no
 *	  topic				retrying; when attempts are	its topic	   yes, but for
 *						used up, dead, with all that			   what may last
 *						is parked of the topic
 *	  event				retrying, or dead when		its key, or no	yes
 *						attempts are used up		other event
 *	  size, invalid		dead									   yes
 *
 * With outbox.on_failure = halt there are no dead letters, and with skip only a
 * topic blocks other events. The first failure of a topic, in the stream, makes
 * none of its events dead, however few attempts there are.
 *
 * Delays grow with the attempts: backoff.c. A topic with many refusals goes
 * another way: topic.c.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "retry/backoff.h"
#include "retry/failure.h"
#include "shared/policy.h"

/* How many attempts count, with this one */
static int
count_attempts(const OutboxFailedAttempt *attempt)
{
	int count = attempt->attempts + 1;

	if (!attempt->uncounted)
		return count;
	if (!attempt->parked)
		return 0;
	/* its delays grow, but neither this failure nor the next one makes it a
	 * dead letter */
	return outbox_backoff_is_last(count + 2) ? attempt->attempts : count;
}

OutboxFate
outbox_failure_fate(const OutboxFailedAttempt *attempt)
{
	bool is_last = outbox_backoff_is_last(count_attempts(attempt));

	switch (attempt->failure)
	{
		case OUTBOX_FAILURE_CLUSTER:
		case OUTBOX_FAILURE_LOGIN:
			return OUTBOX_FATE_AGAIN;
		case OUTBOX_FAILURE_TOPIC:
			return is_last && attempt->parked && !attempt->uncounted
					   ? OUTBOX_FATE_TOPIC_DEAD
					   : OUTBOX_FATE_RETRY;
		case OUTBOX_FAILURE_EVENT:
			return is_last ? OUTBOX_FATE_DEAD : OUTBOX_FATE_RETRY;
		case OUTBOX_FAILURE_SIZE:
		case OUTBOX_FAILURE_INVALID:
			break;
	}
	return outbox_policy.on_failure == OUTBOX_ON_FAILURE_HALT
			   ? OUTBOX_FATE_RETRY
			   : OUTBOX_FATE_DEAD;
}

/* The same; reason becomes what is to be written of it if it is RETRY or
 * DEAD. */
OutboxFate
outbox_failure_reason(const OutboxFailedAttempt *attempt,
					  OutboxParkReason *reason)
{
	OutboxFate fate = outbox_failure_fate(attempt);

	reason->failure = attempt->failure;
	reason->error = attempt->error;
	reason->dead = (fate == OUTBOX_FATE_DEAD);
	reason->blocking = (outbox_policy.on_failure != OUTBOX_ON_FAILURE_SKIP);
	reason->attempts = count_attempts(attempt);
	reason->next_attempt = outbox_backoff_next(reason->attempts);
	return fate;
}

/* What an event that is tried again blocks */
OutboxBlockScope
outbox_failure_scope(const OutboxParkReason *reason, bool has_key)
{
	if (reason->failure == OUTBOX_FAILURE_TOPIC)
		return OUTBOX_BLOCK_TOPIC;
	return reason->blocking && has_key ? OUTBOX_BLOCK_KEY : OUTBOX_BLOCK_EVENT;
}
