/*-------------------------------------------------------------------------
 *
 * retry.c
 *	  Tries parked events again, beside the stream, in rounds (retry_batch.c).
 *
 *	  alone		a few blocks that are due, of each the first event, which is
 *				alone in its batch: so a refusal names its culprit
 *	  together	the events of all blocks that are open, because an event of
 *				them has just gone through, in full batches
 *
 * Both kinds take turns if there is work for both. If a batch of several
 * events is refused, those events go alone, in order; then the others of their
 * blocks follow together again.
 *
 * In a round the events of a block are sent in order, and what is not
 * delivered is read again in the next one, before anything behind it: a round
 * begins at the first event of each block. An event of the stream whose topic
 * or key is blocked joins the queue (publish.c). When the queue of a block is
 * found empty, the block is gone.
 *
 * What becomes of an event that fails: retry_outcome.c.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "utils/timestamp.h"

#include "poison/condemned.h"
#include "retry/blocked_keys.h"
#include "retry/due_blocks.h"
#include "retry/expiry.h"
#include "retry/retry.h"
#include "retry/retry_batch.h"
#include "retry/to_dead_letter.h"
#include "shared/my_relay.h"
#include "shared/wait.h"
#include "store/parked_held.h"

/* queries that an alone round makes at most */
#define ROUND_BLOCKS     200

/* after a refusal the sink is a new one; not too many of them */
#define AFTER_REFUSAL_MS 100

/* how soon rows are looked at again that others had locked: of a topic or key
 * twice as late each time; events that block no other look together */
#define HELD_MIN_MS      100
#define HELD_MAX_MS      10000
#define HELD_EVENTS_MS   1000

static OutboxRetryBatchKind last_kind = OUTBOX_RETRY_BATCH_TOGETHER;
/* What became of the rows that have been read */
static int sent = 0;
static bool beyond = false; /* the block's next event needs no solitude */
static bool held = false;   /* others have locked some ... */
static OutboxBlockedKey *held_events = NULL; /* ... that block no other */
static TimestampTz not_before = 0;

static void
init(const OutboxSinkApi *sink_api)
{
	outbox_blocked_keys_init();
	outbox_retry_batch_init(sink_api);
}

/*
 * Must this event wait? If somebody has locked its row, perhaps to discard it,
 * all behind it must, too, but for those that block no other. The same if it
 * has expired and was locked when it should have become a dead letter.
 */
static bool
must_wait(const OutboxEvent *event, OutboxBlockedKey *entry)
{
	TimestampTz now = GetCurrentTimestamp();

	if (event->expires_at > now && !outbox_held_by_others(event))
	{
		entry->held = 0;
		return false;
	}
	held = true;
	if (entry->block.scope == OUTBOX_BLOCK_EVENT)
		held_events = entry;
	else
		entry->not_before = TimestampTzPlusMilliseconds(
			now,
			Min((int64) HELD_MIN_MS << Min(entry->held++, 16), HELD_MAX_MS));
	return true;
}

static void
begin_reading(void)
{
	sent = 0;
	beyond = held = false;
	held_events = NULL;
}

/* Nothing of what has been read can be sent, because others have locked it. */
static bool
is_all_held(void)
{
	if (sent > 0 || !held)
		return false;
	if (held_events != NULL)
	{
		held_events->held = 1;
		held_events->not_before =
			TimestampTzPlusMilliseconds(GetCurrentTimestamp(), HELD_EVENTS_MS);
	}
	return true;
}

/* Takes an event of a block that is tried alone. */
static bool
send_alone(const OutboxEvent *event, void *arg)
{
	OutboxBlockedKey *entry = arg;

	if (entry->open && entry->block.scope == OUTBOX_BLOCK_KEY &&
		!outbox_due_blocks_goes_alone(entry) && event->id > entry->alone_upto)
	{
		entry->alone_upto = 0;
		beyond = true;
		return false;
	}
	if (must_wait(event, entry))
		return entry->block.scope == OUTBOX_BLOCK_EVENT;
	sent++;
	return outbox_retry_batch_send(event, entry) &&
		   outbox_retry_batch_room() > 0;
}

static OutboxStoreStatus
begin_alone(OutboxBlockedKey **due, int count)
{
	for (int i = 0; i < count && outbox_retry_batch_room() > 0; i++)
	{
		OutboxBlockedKey *entry = due[i];
		int limit = 1;
		OutboxStoreStatus status;
		uint64 rows;

		begin_reading();
		/* of those that block no other, locked ones hide none behind them; of
		 * the others, never two of a key: see retry_batch.c */
		if (entry->block.scope == OUTBOX_BLOCK_EVENT)
			limit = PG_INT32_MAX;
		status = outbox_parked_read(outbox_my_relay.name, &entry->block,
									entry->alone_upto, limit, send_alone,
									entry, &rows);
		if (status != OUTBOX_STORE_OK)
			return status;
		if (!is_all_held() && rows == 0 && !beyond &&
			outbox_retry_batch_room() > 0)
		{
			entry->alone_upto = 0;
			outbox_blocked_keys_reload();
		}
	}
	return OUTBOX_STORE_OK;
}

/* Takes an event, if its block is open. */
static bool
send_together(const OutboxEvent *event, void *arg)
{
	OutboxBlockedKey *entry = outbox_blocked_keys_find(event);
	TimestampTz *now = arg;

	if (entry == NULL || !outbox_due_blocks_together(entry, *now))
		return true;
	if (entry->block.scope == OUTBOX_BLOCK_EVENT &&
		(event->retrying || event->id <= entry->alone_upto))
		return true;
	if (must_wait(event, entry))
		return true;
	sent++;
	return outbox_retry_batch_send(event, entry) &&
		   outbox_retry_batch_room() > 0;
}

static OutboxStoreStatus
begin_together(void)
{
	TimestampTz now = GetCurrentTimestamp();
	OutboxStoreStatus status;

	begin_reading();
	status = outbox_parked_read_all(outbox_my_relay.name, send_together, &now);
	/* nothing is left of what was open */
	if (status == OUTBOX_STORE_OK && !is_all_held() &&
		outbox_retry_batch_is_empty())
		outbox_blocked_keys_reload();
	return status;
}

/* Begins a round with what is due. Returns BUSY if the tables are locked. */
static OutboxStoreStatus
begin_round(const OutboxSinkConfig *config)
{
	OutboxBlockedKey *due[ROUND_BLOCKS];
	bool together;
	int count = outbox_due_blocks_find(due, ROUND_BLOCKS, &together);
	OutboxStoreStatus status;

	outbox_due_blocks_changed();
	if (count == 0 && !together)
		return OUTBOX_STORE_OK;
	if (count == 0 || (together && last_kind == OUTBOX_RETRY_BATCH_ALONE))
		last_kind = OUTBOX_RETRY_BATCH_TOGETHER;
	else
		last_kind = OUTBOX_RETRY_BATCH_ALONE;
	outbox_retry_batch_begin(last_kind, config);
	status = last_kind == OUTBOX_RETRY_BATCH_ALONE ? begin_alone(due, count)
												   : begin_together();
	outbox_retry_batch_sent();
	return status;
}

/* Makes a dead letter of an event that has raised errors again and again. */
static OutboxStoreStatus
condemned_to_dead_letter(void)
{
	OutboxCondemned event;
	OutboxStoreStatus status;

	if (!outbox_condemned_find(OUTBOX_LANE_PARKED, &event))
		return OUTBOX_STORE_OK;
	status = outbox_to_dead_letter_parked(outbox_my_relay.name, event.id,
										  event.error, event.by_signal);
	if (status != OUTBOX_STORE_OK)
		return status;
	outbox_condemned_done(&event);
	outbox_blocked_keys_reload();
	return OUTBOX_STORE_OK;
}

/* The round under way: waits for its answers, or writes them down. */
static OutboxTaskResult
end_round(uint64 position)
{
	OutboxStoreStatus status;
	bool sink_ended;

	if (outbox_retry_batch_is_waiting())
		return OUTBOX_TASK_IDLE;
	status = outbox_retry_batch_end(position, &sink_ended);
	if (status == OUTBOX_STORE_OK)
	{
		outbox_due_blocks_changed();
		if (sink_ended)
			not_before = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
													 AFTER_REFUSAL_MS);
	}
	return outbox_store_task_result(status, true);
}

/* How long there is nothing to do but to take in answers; -1 = forever */
static long
idle_ms(void)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz next;

	if (outbox_retry_batch_is_under_way())
		return outbox_retry_batch_timeout_ms();
	/* until it is known what is blocked, the stream waits, too */
	if (!outbox_blocked_keys_is_loaded())
		next = not_before;
	else
	{
		next = outbox_held_next(OUTBOX_HELD_DELIVERED);
		/* no round begins that may have more to remember than there is room */
		if (outbox_blocked_keys_any() &&
			outbox_held_room(OUTBOX_HELD_DELIVERED) > 0)
		{
			next =
				Min(next, Min(outbox_due_blocks_next(), outbox_expiry_next()));
		}
		if (next == DT_NOEND)
			return -1;
		next = Max(next, not_before);
	}
	return (next <= now) ? 0 : TimestampDifferenceMilliseconds(now, next);
}

/* No round is under way: does what is next. */
static OutboxTaskResult
go_on(const OutboxRound *round)
{
	OutboxStoreStatus status = condemned_to_dead_letter();

	if (status != OUTBOX_STORE_OK)
		return outbox_store_task_result(status, false);
	if (!outbox_blocked_keys_is_loaded())
	{
		outbox_due_blocks_changed();
		outbox_expiry_check();
		return outbox_store_task_result(outbox_blocked_keys_load(), true);
	}
	if (outbox_held_next(OUTBOX_HELD_DELIVERED) <= GetCurrentTimestamp())
		return outbox_store_task_result(
			outbox_held_note_again(OUTBOX_HELD_DELIVERED, outbox_my_relay.name,
								   round->position),
			false);
	if (!outbox_blocked_keys_any() || idle_ms() != 0)
		return OUTBOX_TASK_IDLE;
	if (outbox_expiry_next() <= GetCurrentTimestamp())
		status = outbox_expiry_to_dead_letters(outbox_my_relay.name);
	else
		status = begin_round(round->config);
	return outbox_store_task_result(status, true);
}

static OutboxTaskResult
run(const OutboxRound *round)
{
	OutboxTaskResult result =
		outbox_retry_batch_poll() ? OUTBOX_TASK_WORKED : OUTBOX_TASK_IDLE;
	OutboxTaskResult ended = OUTBOX_TASK_WORKED;

	if (GetCurrentTimestamp() < not_before)
		return result;
	if (outbox_retry_batch_is_under_way())
	{
		ended = end_round(round->position);
		result = outbox_task_both(result, ended);
	}
	if (ended == OUTBOX_TASK_WORKED)
		result = outbox_task_both(result, go_on(round));
	return result;
}

static long
timeout_ms(const OutboxRound *round)
{
	(void) round;
	return idle_ms();
}

/*
 * Waits until the round under way has its answers, but not longer than that,
 * and writes them down, so that nothing is repeated.
 */
static void
drain(const OutboxRound *round, long grace_ms)
{
	TimestampTz deadline =
		TimestampTzPlusMilliseconds(GetCurrentTimestamp(), grace_ms);

	while (outbox_retry_batch_is_under_way())
	{
		bool sink_ended;

		outbox_retry_batch_poll();
		/* tables may be locked for a moment */
		if (outbox_retry_batch_is_answered() &&
			outbox_retry_batch_end(round->position, &sink_ended) !=
				OUTBOX_STORE_BUSY)
			break;
		if (!outbox_wait_answers(deadline, grace_ms))
			return;
	}
	(void) outbox_held_note_again(OUTBOX_HELD_DELIVERED, outbox_my_relay.name,
								  round->position);
}

OutboxTask outbox_retry_task = {
	.name = "retrying parked events",
	.needs = OUTBOX_TASK_NEEDS_TO_PUBLISH,
	.care = OUTBOX_TASK_BESIDE_NO_STREAM,
	.init = init,
	.run = run,
	.timeout_ms = timeout_ms,
	.drain = drain,
	.close = outbox_retry_batch_close,
};
