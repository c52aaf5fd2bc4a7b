/*-------------------------------------------------------------------------
 *
 * inbox_turn.c
 *	  Which of outbox.inbox_0 and outbox.inbox_1 is written to (inbox.c), and
 *	  the chore that empties the other one and makes it the current one.
 *
 * outbox.inbox_turn has it on disk, shared memory for all sessions: they read
 * it there once nobody knows it any more, after a start of the server. No row
 * means that the inbox has not been used, or not long enough that a relay has
 * noticed.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "catalog/pg_type.h"
#include "utils/timestamp.h"

#include "guc.h"
#include "shared/chores.h"
#include "shared/my_relay.h"
#include "shared/relays.h"
#include "shared/segment.h"
#include "store/inbox_turn.h"
#include "store/statement.h"
#include "store/table_reader.h"

/* what somebody uses or has locked is tried again after so long */
#define IN_USE_RETRY_MS 1000

/* Takes the first column of the one row. */
static bool
take_current(TupleTableSlot *row, void *arg)
{
	*(int *) arg = DatumGetInt16(row->tts_values[0]);
	return false;
}

/* The table that is written to */
int
outbox_inbox_current(OutboxDatabase *db)
{
	static const Oid types[] = {INT2OID, TIMESTAMPTZOID};
	static const OutboxTableShape shape = {
		.types = types, .columns = lengthof(types), .has_more = true};
	uint32 word = pg_atomic_read_u32(&db->inbox_current);
	int current = 0;

	if (word == 0)
	{
		outbox_table_read(outbox_store_relation(OUTBOX_INBOX_TURN), &shape,
						  take_current, &current);
		/* if the relay has not told meanwhile */
		if (pg_atomic_compare_exchange_u32(&db->inbox_current, &word,
										   (uint32) current + 1))
		{
			word = (uint32) current + 1;
			/* it may sleep, for good, where nobody emits */
			outbox_chores_wanted(db);
			outbox_relays_wake(db);
		}
	}
	return (int) word - 1;
}

static TimestampTz look_at = 0; /* DT_NOEND = once the inbox is used */

/* What is on disk; false if there is nothing, or somebody has locked it, as
 * another relay does. */
static bool
read_turn(int *current, TimestampTz *since)
{
	static OutboxStatement statement = {
		.sql = "SELECT current::int8, since FROM outbox.inbox_turn"
			   " FOR UPDATE SKIP LOCKED"};

	if (outbox_store_execute(&statement, NULL, NULL) == 0)
		return false;
	*current = (int) outbox_store_result(0, 1);
	*since = outbox_store_result(0, 2);
	return true;
}

static void
write_turn(int current)
{
	static OutboxStatement statement = {
		.sql = "INSERT INTO outbox.inbox_turn (current, since)"
			   " VALUES ($1, clock_timestamp())"
			   " ON CONFLICT (one) DO UPDATE"
			   " SET current = $1, since = clock_timestamp()",
		.nargs = 1,
		.types = {INT4OID}};
	Datum value = Int32GetDatum(current);

	(void) outbox_store_execute(&statement, &value, NULL);
}

/* The same, if there is nothing yet, and nobody is about to write it: a restore
 * may be under way. */
static void
write_first_turn(int current)
{
	(void) outbox_store_try(
		psprintf("INSERT INTO outbox.inbox_turn (current, since)"
				 " VALUES (%d, clock_timestamp()) ON CONFLICT DO NOTHING",
				 current));
}

/* Empties the table, and makes it the current one. False if somebody uses it:
 * nothing has been changed. */
static bool
switch_to(int table)
{
	Oid oid = outbox_segment_relation(OUTBOX_INBOX_PREFIX, table);

	if (!OidIsValid(oid) || !outbox_store_lock_whole(oid) ||
		!outbox_store_try(
			psprintf("TRUNCATE ONLY outbox.%s%d", OUTBOX_INBOX_PREFIX, table)))
		return false;
	write_turn(table);
	return true;
}

/* In the current transaction: does what is due, and sets when to look again.
 * Returns which table is the current one now, or -1 if nobody uses the inbox.
 */
static int
take_turn(TimestampTz now, int known)
{
	int current;
	TimestampTz since;
	TimestampTz due;

	if (!read_turn(&current, &since))
	{
		look_at = DT_NOEND;
		if (known >= 0)
		{
			write_first_turn(known);
			look_at = TimestampTzPlusMilliseconds(now, IN_USE_RETRY_MS);
		}
		return known;
	}
	/* after a restore; nothing is emptied then */
	if (known >= 0 && known != current)
	{
		write_turn(known);
		return known;
	}
	/* the clock was ahead then: it counts from now on */
	if (since > now)
	{
		write_turn(current);
		look_at = 0;
		return current;
	}
	due = TimestampTzPlusMilliseconds(since,
									  (int64) outbox_inbox_retention_s * 1000);
	look_at = due;
	if (due > now)
		return current;
	if (!switch_to(1 - current))
	{
		look_at = TimestampTzPlusMilliseconds(now, IN_USE_RETRY_MS);
		return current;
	}
	look_at = 0;
	return 1 - current;
}

static int
known_turn(void)
{
	return (int) pg_atomic_read_u32(&outbox_my_relay.db->inbox_current) - 1;
}

/* Looks after the inbox, if it is time. */
static OutboxTaskResult
run(const OutboxRound *round)
{
	TimestampTz now = GetCurrentTimestamp();
	OutboxStoreStatus status;
	int current;

	(void) round;
	if (look_at == DT_NOEND && known_turn() < 0)
		return OUTBOX_TASK_IDLE;
	/* the clock may have been set back */
	if (look_at != DT_NOEND && look_at > now &&
		look_at - now <= (int64) outbox_inbox_retention_s * USECS_PER_SEC)
		return OUTBOX_TASK_IDLE;
	status = outbox_store_begin("outbox: looking after the inbox");
	if (status != OUTBOX_STORE_OK)
		return outbox_store_task_result(status, false);
	status = outbox_store_lock(OUTBOX_INBOX_TURN, RowExclusiveLock);
	current = known_turn();
	if (status == OUTBOX_STORE_OK)
		current = take_turn(now, current);
	outbox_store_end();
	/* not before others can see it on disk */
	if (status == OUTBOX_STORE_OK && current >= 0)
		pg_atomic_write_u32(&outbox_my_relay.db->inbox_current,
							(uint32) current + 1);
	return outbox_store_task_result(status, false);
}

static long
timeout_ms(const OutboxRound *round)
{
	(void) round;
	if (look_at == DT_NOEND)
		return known_turn() < 0 ? -1 : 0;
	return TimestampDifferenceMilliseconds(GetCurrentTimestamp(), look_at);
}

/* Looks at once: what is remembered may be old. */
static void
reload(void)
{
	look_at = 0;
}

static void
undo(const OutboxRound *round)
{
	(void) round;
	reload();
}

OutboxTask outbox_inbox_task = {
	.name = "emptying the inbox",
	.chore = true,
	.run = run,
	.timeout_ms = timeout_ms,
	.undo = undo,
	.reload = reload,
	.take_over = reload,
};
