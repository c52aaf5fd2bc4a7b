/*-------------------------------------------------------------------------
 *
 * span.c
 *	  What one transaction does with the first messages of the queue: moves the
 *	  offsets of their partitions, and handles each, or what else is to become
 *	  of it.
 *
 * The offsets are moved first of all, in the order of topics and partitions,
 * and only from where we know them to be: so another process that has the same
 * messages waits there until we have committed, and then knows that it is too
 * late; two of them do not wait for each other in a circle. And each message
 * of a partition must follow the one before it.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "store/subscription_offsets.h"
#include "subscribe/careful.h"
#include "subscribe/failures.h"
#include "subscribe/identity.h"
#include "subscribe/queue.h"
#include "subscribe/span.h"

static int
compare_moves(const void *a, const void *b)
{
	const OutboxPartition *x = ((const OutboxMove *) a)->partition;
	const OutboxPartition *y = ((const OutboxMove *) b)->partition;
	int order = strcmp(x->topic, y->topic);

	return order != 0 ? order
					  : (x->number > y->number) - (x->number < y->number);
}

static OutboxMove *
move_of(OutboxSpan *span, OutboxPartition *partition)
{
	/* a run of messages has one partition */
	for (int i = span->move_count - 1; i >= 0; i--)
	{
		if (span->moves[i].partition == partition)
			return &span->moves[i];
	}
	return NULL;
}

/* Works out which partitions are moved, and to where. */
static void
plan_moves(OutboxSpan *span)
{
	span->moves = palloc(sizeof(OutboxMove) * span->length);
	for (int i = 0; i < span->length; i++)
	{
		const OutboxQueued *queued = outbox_queue_at(i);
		const OutboxMessage *message = &queued->message;
		OutboxMove *move;

		if (queued->dropped)
			continue;
		move = move_of(span, message->partition);
		if (move == NULL)
		{
			move = &span->moves[span->move_count++];
			*move = (OutboxMove){.partition = message->partition,
								 .after = queued->after};
		}
		else if (queued->after != move->next)
			span->outdated = message->partition;
		move->next = message->offset + 1;
		move->published_at = message->published_at;
	}
	qsort(span->moves, span->move_count, sizeof(OutboxMove), compare_moves);
}

/* Moves the partitions. False if one of them is not where we know it, or its
 * messages do not follow each other. */
static bool
move_offsets(OutboxSpan *span)
{
	OutboxIdentity before;

	if (span->outdated != NULL)
		return false;
	outbox_identity_elevate(&before);
	for (int i = 0; i < span->move_count; i++)
	{
		OutboxMove *move = &span->moves[i];

		if (move->after != move->partition->next_offset ||
			!outbox_offsets_move(outbox_subscriber.subscription->name,
								 move->partition, move->next,
								 move->published_at))
		{
			span->outdated = move->partition;
			return false;
		}
	}
	outbox_identity_restore(&before);
	return true;
}

/* Counts what has become of a message. */
static void
count(OutboxSpan *span, OutboxOutcome outcome)
{
	switch (outcome)
	{
		case OUTBOX_HANDLED:
		case OUTBOX_DISCARDED:
			span->handled++;
			break;
		case OUTBOX_REPEATED:
			span->repeated++;
			break;
		case OUTBOX_FAILED:
			span->failed++;
			break;
	}
}

/* Handles a message that fails by itself, if it does. */
static void
handle_apart(OutboxSpan *span, const OutboxMessage *message)
{
	ErrorData *error;
	OutboxOutcome outcome =
		outbox_work_attempt(message, span->patient, &error);

	count(span, outcome);
	if (outcome == OUTBOX_FAILED)
		outbox_failures_park(message, error);
}

/* Does with a message what is to be done. False if the transaction must be
 * undone because of it. */
static bool
handle(OutboxSpan *span, OutboxQueued *queued)
{
	const OutboxMessage *message = outbox_queue_message(queued);

	/* what is too large is not here, so it cannot be kept until its turn */
	if (queued->too_large == 0 && outbox_failures_waits(message))
	{
		outbox_failures_queue(message);
		return true;
	}
	if (span->manner == OUTBOX_TOGETHER)
	{
		OutboxOutcome outcome;

		if (queued->too_large > 0)
			return false;
		outcome = outbox_work_handle(message);
		count(span, outcome);
		return outcome == OUTBOX_HANDLED || outcome == OUTBOX_REPEATED;
	}
	if (queued->too_large > 0)
		outbox_failures_too_large(message, queued->too_large);
	else if (span->reason != NULL)
	{
		count(span, OUTBOX_FAILED);
		outbox_failures_park(message, span->reason);
	}
	else if (!outbox_careful_note(message))
	{
		span->condemned = true;
		outbox_failures_condemn(message);
	}
	else
		handle_apart(span, message);
	return true;
}

/* The body of a transaction */
static bool
handle_all(void *arg)
{
	OutboxSpan *span = arg;

	if (!move_offsets(span))
		return false;
	for (int i = 0; i < span->length; i++)
	{
		OutboxQueued *queued = outbox_queue_at(i);

		if (!queued->dropped && !handle(span, queued))
			return false;
	}
	return true;
}

/* Runs the transaction. error: as outbox_work_run() */
OutboxWorkResult
outbox_span_run(OutboxSpan *span, ErrorData **error)
{
	const char *topic = outbox_queue_at(0)->message.topic;

	plan_moves(span);
	return outbox_work_run(
		psprintf("outbox: handling messages of topic %s", topic), handle_all,
		span, error);
}
