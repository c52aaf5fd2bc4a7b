/*-------------------------------------------------------------------------
 *
 * delayed.c
 *	  Events that are not due yet. They wait in outbox.delayed, and cost
 *	  nothing there; when they are due, the relay emits them in a transaction
 *	  of its own: it takes them out of the table and puts them into the order
 *	  like those of any other transaction, in one commit. The time when they
 *	  were due becomes that of the event and of its record: a topic that keeps
 *	  records for less than the delay would drop it at once, or refuse it.
 *
 * Shared memory knows when the next one is due. Whoever commits delayed
 * events lowers that time, after they are visible; the relay takes the time
 * away, before it looks. So each is seen by a look that begins at its time or
 * earlier, and a look need not pass over what earlier ones have removed,
 * which would take long while somebody holds a snapshot.
 *
 * Of events that are due at the same time, perhaps a million, a look begins at
 * the first that the last one has left. That holds only if the time in shared
 * memory is still the one that the last look has put there. So others put
 * there one that is less than theirs, and a relay that has taken the chores
 * over from another one (chores.c) begins anew.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "utils/timestamp.h"

#include "emit/event_args.h"
#include "emit/xact.h"
#include "poison/guard.h"
#include "retry/to_dead_letter.h"
#include "schedule/delayed.h"
#include "shared/due.h"
#include "shared/my_relay.h"
#include "shared/times.h"
#include "store/delayed_rows.h"
#include "store/pending.h"

/* what one transaction moves at most; bytes only as far as they are alike */
#define MOVE_ROWS  1000
#define MOVE_BYTES (1024 * 1024)

static OutboxDelayedPlace first_left = {
	.due = OUTBOX_NEVER_DUE}; /* by the last look */
static int64 move_rows = 1;   /* this time */
static TimestampTz retry_at = 0;

/* Finds the first event there or later, and remembers where it is. */
static void
find_first_left(OutboxDelayedPlace from)
{
	if (!outbox_delayed_rows_first(from, &first_left))
		first_left = (OutboxDelayedPlace){.due = OUTBOX_NEVER_DUE};
}

/* Those that are moved in one transaction */
typedef struct Batch
{
	int64 bytes;    /* of their payloads */
	uint64 last_id; /* taken */
} Batch;

static bool
emit_event(const OutboxEvent *event, void *arg)
{
	Batch *batch = arg;

	if (event->payload != NULL)
		batch->bytes += VARSIZE_ANY(event->payload);
	outbox_event_emit_again(event);
	batch->last_id = event->id;
	return true;
}

/* Moves events from that place on that are due now. */
static uint64
move_events(OutboxDelayedPlace from, TimestampTz now)
{
	uint64 suspect = outbox_guard_suspect();
	int64 limit = (suspect != 0) ? 1 : move_rows;
	Batch batch = {0};
	uint64 moved;

	outbox_xact_join(true);
	moved = outbox_delayed_rows_take(from, now, limit, emit_event, &batch);
	if (moved == 0 || batch.last_id == suspect)
		outbox_guard_acquit();
	if (batch.bytes > MOVE_BYTES)
		move_rows = Max(move_rows / 2, 1);
	else if (batch.bytes < MOVE_BYTES / 2)
		move_rows = Min(move_rows * 2, MOVE_ROWS);
	return moved;
}

/* The next one looks at all events: at first, and when the last one was
 * another relay's, which may not have been able to say what it has left. */
static void
take_over(void)
{
	first_left.due = OUTBOX_NEVER_DUE;
	pg_atomic_write_u64(&outbox_my_relay.db->next_due, (uint64) DT_NOBEGIN);
}

static void
undo(const OutboxRound *round)
{
	(void) round;
	take_over();
}

/* Makes a dead letter of an event that has raised errors again and again. */
static OutboxStoreStatus
condemned_to_dead_letter(void)
{
	const char *error;
	uint64 id = outbox_guard_condemned(&error);
	OutboxStoreStatus status;

	if (id == 0)
		return OUTBOX_STORE_OK;
	status = outbox_to_dead_letter(outbox_my_relay.name, OUTBOX_DELAYED_TABLE,
								   id, error, false);
	if (status == OUTBOX_STORE_OK)
		outbox_guard_acquit();
	return status;
}

/* Emits events that are due. */
static OutboxTaskResult
run(const OutboxRound *round)
{
	TimestampTz now = GetCurrentTimestamp();
	OutboxDelayedPlace from = {.due = (TimestampTz) pg_atomic_read_u64(
								   &outbox_my_relay.db->next_due)};
	OutboxStoreStatus status;
	uint64 moved;

	(void) round;
	if (from.due >= now || retry_at > now)
		return OUTBOX_TASK_IDLE;
	status = condemned_to_dead_letter();
	if (status == OUTBOX_STORE_OK)
		status = outbox_store_begin_emit("outbox: moving events that are due",
										 OUTBOX_DELAYED_TABLE);
	if (status != OUTBOX_STORE_OK)
		return outbox_store_task_result(status, false);
	from.due = (TimestampTz) pg_atomic_exchange_u64(
		&outbox_my_relay.db->next_due, (uint64) OUTBOX_NEVER_DUE);
	if (from.due == first_left.due)
		from.id = first_left.id;
	/* what was committed before that must be in sight */
	outbox_store_new_snapshot();
	moved = move_events(from, now);
	find_first_left(from);
	outbox_store_end();
	outbox_due_lower(outbox_my_relay.db, first_left.due);

	if (moved > 0)
	{
		outbox_pending_changed(outbox_my_relay.db);
		return OUTBOX_TASK_WORKED;
	}
	if (first_left.due <= now)
		retry_at = TimestampTzPlusMilliseconds(now, OUTBOX_DUE_ROWS_RETRY_MS);
	return OUTBOX_TASK_IDLE;
}

static long
timeout_ms(const OutboxRound *round)
{
	TimestampTz due =
		(TimestampTz) pg_atomic_read_u64(&outbox_my_relay.db->next_due);

	(void) round;
	if (due == OUTBOX_NEVER_DUE)
		return -1;
	return TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
										   Max(due + 1, retry_at));
}

OutboxTask outbox_delayed_task = {
	.name = "moving delayed events",
	.chore = true,
	.run = run,
	.timeout_ms = timeout_ms,
	.undo = undo,
	.take_over = take_over,
};
