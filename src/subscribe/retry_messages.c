/*-------------------------------------------------------------------------
 *
 * retry_messages.c
 *	  Messages that are parked are tried again when they are due. If the first
 *	  one of a block is done, those behind it follow at once, in their order,
 *	  until one fails or none is left; then what comes is not parked any more.
 *
 * Some follow each other in one transaction, each in a part of it that is
 * undone if it fails, as in a batch (batch.c); what is tried without regard to
 * others, likewise. If what they have left for the end of the transaction
 * fails, as many are tried alone.
 *
 * Rows that others have locked (an operator, who requeues or discards them) are
 * not waited for: they, and what is behind them, are tried a moment later.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "shared/subscriber_figures.h"
#include "shared/times.h"
#include "store/transaction.h"
#include "subscribe/careful.h"
#include "subscribe/failures.h"
#include "subscribe/message_blocks.h"
#include "subscribe/partitions.h"
#include "subscribe/work.h"

/* messages in a transaction, with subtransactions: as batch.c */
#define CHUNK_MAX 50

/* when a transaction, and when a turn, does not begin with another one */
#define CHUNK_MS  100
#define TURN_MS   50

/* how often the same is tried again at once, when others have the precedence */
#define AGAIN_MAX 3

/* One transaction: what is to be done, and what has come of it */
typedef struct Chunk
{
	OutboxMessageBlock *entry;
	int limit;
	bool patient;
	const ErrorData *reason; /* why the first one has failed; not tried */
	TimestampTz began_at;

	int tried;
	bool condemned; /* one is a dead letter, since it has crashed the server */
	int64 handled;
	int64 repeated;
	int64 failed;
	int64 from;       /* of the entry, afterwards */
	TimestampTz next; /* when the block is due; 0 = at once */
	bool empty;       /* nothing is left of it */
} Chunk;

static TimestampTz not_before = 0; /* others have locked the tables */

/* what is made anew for each transaction, and for each message */
static MemoryContext chunk_context = NULL;
static MemoryContext message_context = NULL;

static TimestampTz
in_a_moment(void)
{
	return TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
									   OUTBOX_PARKED_ROWS_RETRY_MS);
}

static bool
is_free(const Chunk *chunk)
{
	return chunk->entry->block.scope == OUTBOX_INBOX_SCOPE_NONE;
}

/* The message needs no further attempt. */
static void
remove_row(const OutboxMessage *message)
{
	OutboxInboxOwner owner = outbox_message_owner();
	OutboxParkedAccess access;

	outbox_parked_enter(&access);
	outbox_inbox_parked_remove(&owner, message);
	outbox_parked_leave(&access);
}

/* Tries a message whose row is locked. Returns when it is tried again; 0 = it
 * is not. */
static TimestampTz
try_message(Chunk *chunk, const OutboxMessage *message)
{
	ErrorData *error = NULL;
	OutboxOutcome outcome = OUTBOX_FAILED;

	chunk->tried++;
	if (chunk->reason != NULL)
		error = unconstify(ErrorData *, chunk->reason);
	else if (!outbox_careful_note(message))
	{
		outbox_failures_condemn_parked(message);
		chunk->condemned = true;
		return 0;
	}
	else
		outcome = outbox_work_attempt(message, chunk->patient, &error);
	switch (outcome)
	{
		case OUTBOX_FAILED:
			chunk->failed++;
			return outbox_failures_again(message, error);
		case OUTBOX_REPEATED:
			chunk->repeated++;
			break;
		case OUTBOX_HANDLED:
		case OUTBOX_DISCARDED:
			chunk->handled++;
			break;
	}
	remove_row(message);
	return 0;
}

static OutboxInboxLock
lock(const OutboxInboxPlace *place, OutboxMessage *message)
{
	OutboxInboxOwner owner = outbox_message_owner();
	OutboxParkedAccess access;
	OutboxInboxLock result;

	outbox_parked_enter(&access);
	result = outbox_inbox_parked_lock(&owner, place, message);
	outbox_parked_leave(&access);
	return result;
}

/* Tries what is at a place. Returns when it, and so what is behind it, is tried
 * again; 0 = it is done. */
static TimestampTz
try_place(Chunk *chunk, const OutboxInboxPlace *place)
{
	MemoryContext old_context = MemoryContextSwitchTo(message_context);
	TimestampTz next = 0;
	OutboxMessage message;

	MemoryContextReset(message_context);
	switch (lock(place, &message))
	{
		case OUTBOX_INBOX_HELD:
			next = in_a_moment();
			break;
		case OUTBOX_INBOX_GONE:
			break;
		case OUTBOX_INBOX_LOCKED:
			next = try_message(chunk, &message);
			break;
	}
	MemoryContextSwitchTo(old_context);
	return next;
}

static int
find(Chunk *chunk, OutboxInboxPlace *places)
{
	OutboxInboxOwner owner = outbox_message_owner();
	OutboxInboxRange range = {.keyed = outbox_message_is_keyed(),
							  .from = chunk->from,
							  .upto = chunk->began_at,
							  .limit = chunk->limit};
	OutboxParkedAccess access;
	int count;

	outbox_parked_enter(&access);
	count = outbox_inbox_parked_places(&owner, &chunk->entry->block, &range,
									   places);
	outbox_parked_leave(&access);
	return count;
}

/* All that is due has been tried, of what is tried without regard to others:
 * when the next one is due. */
static void
look_ahead(Chunk *chunk)
{
	OutboxInboxOwner owner = outbox_message_owner();
	OutboxParkedAccess access;

	outbox_parked_enter(&access);
	chunk->next = outbox_inbox_parked_first(&owner, outbox_message_is_keyed());
	outbox_parked_leave(&access);
	chunk->empty = (chunk->next == 0);
	chunk->from = 0;
	/* what others have locked has been passed over */
	if (chunk->next <= chunk->began_at)
		chunk->next = in_a_moment();
}

/* The body of a transaction: the first messages of a block */
static bool
try_chunk(void *arg)
{
	Chunk *chunk = arg;
	OutboxInboxPlace places[CHUNK_MAX];
	int count = find(chunk, places);
	int done = 0;

	while (done < count)
	{
		const OutboxInboxPlace *place = &places[done];
		TimestampTz next = place->next_attempt;

		if (next <= chunk->began_at)
			next = try_place(chunk, place);
		if (is_free(chunk))
			chunk->from = place->next_attempt;
		else if (next != 0)
		{
			chunk->next = next;
			return true;
		}
		else if (chunk->entry->block.scope != OUTBOX_INBOX_SCOPE_ALL)
			chunk->from = place->offset + 1;
		done++;
		if (TimestampDifferenceExceeds(chunk->began_at, GetCurrentTimestamp(),
									   CHUNK_MS))
			break;
	}
	if (done == chunk->limit || done < count)
		return true;
	if (is_free(chunk))
		look_ahead(chunk);
	else
		chunk->empty = true;
	return true;
}

/* The transaction is committed. */
static void
take_done(const Chunk *chunk)
{
	OutboxMessageBlock *entry = chunk->entry;

	outbox_subscriber_count_handled(chunk->handled);
	outbox_subscriber_count_repeated(chunk->repeated);
	outbox_subscriber_count_failed(chunk->failed);
	if (chunk->condemned)
		outbox_careful_acquit();
	if (chunk->empty)
	{
		outbox_message_blocks_remove(entry);
		outbox_message_blocks_tell();
		return;
	}
	entry->from = chunk->from;
	entry->alone = Max(entry->alone - chunk->tried, 0);
	outbox_message_blocks_set(entry, chunk->next);
}

static Chunk
chunk_of(OutboxMessageBlock *entry)
{
	return (Chunk){
		.entry = entry,
		.limit = entry->alone > 0 || outbox_careful_is_on() ? 1 : CHUNK_MAX,
		.from = entry->from,
		.began_at = GetCurrentTimestamp(),
	};
}

/* Tries the first messages of a block, by one transaction; another one if that
 * has failed, which notes the failure. */
static void
run_chunk(OutboxMessageBlock *entry)
{
	Chunk chunk;
	OutboxWorkResult result;
	ErrorData *error = NULL;

	for (int again = 0;; again++)
	{
		chunk = chunk_of(entry);
		chunk.patient = (again < AGAIN_MAX);
		result = outbox_work_run("outbox: trying messages again", try_chunk,
								 &chunk, &error);
		if (result != OUTBOX_WORK_AGAIN || !chunk.patient)
			break;
	}
	/* it is not known whose failure it is, unless there was one only */
	if (error != NULL && chunk.tried > 1)
	{
		entry->alone = chunk.tried;
		outbox_message_blocks_set(entry, 0);
		return;
	}
	if (error != NULL)
	{
		chunk = chunk_of(entry);
		chunk.limit = 1;
		chunk.reason = error;
		result = outbox_work_run("outbox: noting a failed attempt", try_chunk,
								 &chunk, &error);
		if (error != NULL)
			ReThrowError(error);
	}
	if (result == OUTBOX_WORK_DONE)
		take_done(&chunk);
	else
	{
		not_before = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
												 OUTBOX_TABLES_RETRY_MS);
		outbox_message_blocks_set(entry, 0);
	}
}

/* Finds out what is parked, unless it is known. False if others have locked the
 * tables. */
static bool
load(void)
{
	if (outbox_message_blocks_are_loaded())
		return true;
	if (outbox_store_begin("outbox: reading what is parked") !=
		OUTBOX_STORE_OK)
		return false;
	if (outbox_store_lock(OUTBOX_INBOX_PARKED, RowExclusiveLock) !=
		OUTBOX_STORE_OK)
	{
		outbox_store_end();
		return false;
	}
	outbox_failures_load();
	outbox_store_end();
	return true;
}

/* Tries for a while what is due. Returns whether there was something. */
bool
outbox_failures_run(void)
{
	TimestampTz began_at = GetCurrentTimestamp();
	MemoryContext old_context;
	OutboxMessageBlock *entry;
	bool worked = false;

	if (began_at < not_before)
		return false;
	not_before = 0;
	if (!load())
	{
		not_before =
			TimestampTzPlusMilliseconds(began_at, OUTBOX_TABLES_RETRY_MS);
		return false;
	}
	outbox_message_blocks_tell();
	if (chunk_context == NULL)
	{
		chunk_context = AllocSetContextCreate(
			TopMemoryContext, "outbox parked", ALLOCSET_DEFAULT_SIZES);
		message_context = AllocSetContextCreate(
			TopMemoryContext, "outbox parked message", ALLOCSET_DEFAULT_SIZES);
	}
	old_context = MemoryContextSwitchTo(chunk_context);
	while (not_before == 0 &&
		   !TimestampDifferenceExceeds(began_at, GetCurrentTimestamp(),
									   TURN_MS) &&
		   (entry = outbox_message_blocks_due(GetCurrentTimestamp())) != NULL)
	{
		MemoryContextReset(chunk_context);
		run_chunk(entry);
		worked = true;
	}
	MemoryContextSwitchTo(old_context);
	return worked;
}

/* How long there is nothing to do; -1 = until something fails */
long
outbox_failures_timeout_ms(void)
{
	TimestampTz next = Max(outbox_message_blocks_next(), not_before);

	return next == DT_NOEND
			   ? -1
			   : TimestampDifferenceMilliseconds(GetCurrentTimestamp(), next);
}
