/*-------------------------------------------------------------------------
 *
 * batch.c
 *	  Messages have their effects: in transactions that move the offsets of
 *	  their partitions, too, so both happen, or neither.
 *
 *	together	as many as can be, one after the other. If one of them fails, or
 *				is not to have an effect, all of that is undone, and they go
 *	apart		each in a part of the transaction, which is undone if it fails;
 *				the message is parked then, and its neighbours go on. If what
 *				they have left for the end of the transaction fails, it cannot
 *				be told whose that was, and they go
 *	alone		each in a transaction of its own. If that fails at its end,
 *				another one parks the message. So do they if nothing behind a
 *				message that fails is to be handled (on_failure), and if the
 *				last process was ended by a signal (careful.c)
 *
 * A transaction is no longer than a moment, if messages are not: it takes as
 * many as it has had time for before. Locks that their handlers have taken are
 * not held longer for the sake of others.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "shared/subscriber_figures.h"
#include "shared/times.h"
#include "subscribe/batch.h"
#include "subscribe/careful.h"
#include "subscribe/message_blocks.h"
#include "subscribe/partitions.h"
#include "subscribe/queue.h"
#include "subscribe/span.h"

/* messages in a transaction at first, and with subtransactions: the server
 * keeps 64 of these in shared memory */
#define FIRST_MESSAGES 16
#define APART_MAX      50

/* what a transaction may take: below, it takes more messages the next time,
 * above, less */
#define SHORT_MS       50
#define LONG_MS        200

/* how often the same is tried again at once, when others have the precedence */
#define AGAIN_MAX      3

/* after one failure after another: how many transactions are not tried together
 * any more before the next one is */
#define DISTRUST_MAX   32

static int limit = FIRST_MESSAGES;
static int apart_left = 0; /* transactions */
static int alone_left = 0; /* messages */
static int distrust = 0;
static int again = 0; /* how often the same has been tried */
static TimestampTz not_before = 0;

/* what is made anew for each transaction */
static MemoryContext span_context = NULL;

/* Drops all messages: they are read again. */
void
outbox_batch_forget(void)
{
	outbox_queue_clear();
	apart_left = alone_left = 0;
	again = 0;
	not_before = 0;
}

/* How long there is nothing to do, -1 = until messages come */
long
outbox_batch_timeout_ms(void)
{
	if (outbox_queue_length() == 0)
		return -1;
	return not_before == 0 ? 0
						   : TimestampDifferenceMilliseconds(
								 GetCurrentTimestamp(), not_before);
}

/* May nothing be handled with a message that has failed before it? */
static bool
is_halting(void)
{
	int policy = outbox_subscriber.subscription->on_failure;

	return policy == OUTBOX_ON_FAILURE_HALT ||
		   policy == OUTBOX_ON_FAILURE_BLOCK_PARTITION;
}

/* These messages are handled again, in another manner. */
static void
change_manner(const OutboxSpan *span)
{
	again = 0;
	if (span->manner == OUTBOX_APART || is_halting())
		alone_left = span->length;
	else
	{
		distrust = Min(Max(2 * distrust, 1), DISTRUST_MAX);
		apart_left = Max(distrust, (span->length + APART_MAX - 1) / APART_MAX);
	}
}

/* It is committed: the partitions are where they are to be. */
static void
take_moves(const OutboxSpan *span)
{
	for (int i = 0; i < span->move_count; i++)
	{
		OutboxPartition *partition = span->moves[i].partition;

		partition->next_offset = span->moves[i].next;
		if (span->moves[i].published_at != 0)
			partition->published_at = span->moves[i].published_at;
	}
	outbox_queue_remove(span->length);
	/* a message that has failed just now is in the way of those behind it */
	if (span->failed > 0)
		outbox_message_blocks_tell();
}

/* The transaction has taken so long. */
static void
learn(const OutboxSpan *span, TimestampTz began_at)
{
	TimestampTz now = GetCurrentTimestamp();

	if (TimestampDifferenceExceeds(began_at, now, LONG_MS))
		limit = Max(Min(limit, span->length) / 2, 1);
	else if (!TimestampDifferenceExceeds(began_at, now, SHORT_MS) &&
			 span->length >= limit)
		limit = Min(2 * limit, outbox_subscriber.subscription->batch_size);
}

static void
take_done(const OutboxSpan *span)
{
	take_moves(span);
	outbox_subscriber_count_handled(span->handled);
	outbox_subscriber_count_repeated(span->repeated);
	outbox_subscriber_count_failed(span->failed);
	again = 0;
	switch (span->manner)
	{
		case OUTBOX_TOGETHER:
			distrust = 0;
			break;
		case OUTBOX_APART:
			apart_left--;
			break;
		case OUTBOX_ALONE:
			alone_left = Max(alone_left - 1, 0);
			break;
	}
	if (span->condemned)
		outbox_careful_acquit();
}

/* Nothing of it has happened, as a partition is not where it was, or the
 * messages cannot be handled together. */
static void
take_undone(const OutboxSpan *span)
{
	if (span->outdated != NULL)
	{
		outbox_queue_drop(span->outdated);
		outbox_partition_outdated(span->outdated);
	}
	else
		change_manner(span);
}

static bool run_span(OutboxSpan *span);

/* The error is of these messages, or one of them. Returns whether it has been
 * noted. */
static bool
take_failed(const OutboxSpan *span, ErrorData *error)
{
	if (span->manner != OUTBOX_ALONE)
		change_manner(span);
	else if (span->reason != NULL)
		ReThrowError(error);
	else
	{
		OutboxSpan parking = {
			.manner = OUTBOX_ALONE, .length = 1, .reason = error};

		return run_span(&parking);
	}
	return false;
}

/* Runs a transaction, and sees to what follows from its end. Returns whether
 * one has been committed. */
static bool
run_span(OutboxSpan *span)
{
	TimestampTz began_at = GetCurrentTimestamp();
	ErrorData *error;
	OutboxWorkResult result;

	span->patient = (again < AGAIN_MAX);
	result = outbox_span_run(span, &error);
	switch (result)
	{
		case OUTBOX_WORK_DONE:
			take_done(span);
			learn(span, began_at);
			return true;
		case OUTBOX_WORK_UNDONE:
			take_undone(span);
			break;
		case OUTBOX_WORK_BUSY:
			not_before =
				TimestampTzPlusMilliseconds(began_at, OUTBOX_TABLES_RETRY_MS);
			break;
		case OUTBOX_WORK_AGAIN:
			if (again++ >= AGAIN_MAX)
				return take_failed(span, error);
			break;
		case OUTBOX_WORK_FAILED:
			return take_failed(span, error);
	}
	return false;
}

/* How the first messages are handled, and how many of them */
static OutboxSpan
choose(void)
{
	OutboxSpan span = {.manner = OUTBOX_TOGETHER,
					   .length = outbox_queue_length()};

	if (alone_left > 0 || outbox_careful_is_on())
	{
		span.manner = OUTBOX_ALONE;
		span.length = 1;
	}
	else if (apart_left > 0)
	{
		span.manner = OUTBOX_APART;
		span.length = Min(span.length, Min(limit, APART_MAX));
	}
	else
		span.length = Min(span.length, limit);
	return span;
}

/* Goes on with the messages that there are, by one transaction. Returns whether
 * there was something to do; *done: and has been committed. */
bool
outbox_batch_run(bool *done)
{
	MemoryContext old_context;
	OutboxSpan span;

	*done = false;
	while (outbox_queue_length() > 0 && outbox_queue_at(0)->dropped)
		outbox_queue_remove(1);
	if (outbox_queue_length() == 0 || outbox_batch_timeout_ms() > 0)
		return false;
	not_before = 0;
	if (span_context == NULL)
		span_context = AllocSetContextCreate(
			TopMemoryContext, "outbox transaction", ALLOCSET_DEFAULT_SIZES);
	MemoryContextReset(span_context);
	old_context = MemoryContextSwitchTo(span_context);
	span = choose();
	*done = run_span(&span);
	MemoryContextSwitchTo(old_context);
	return true;
}
