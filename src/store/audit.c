/*-------------------------------------------------------------------------
 *
 * audit.c
 *	  Removes entries of outbox.audit that are older than
 *	  outbox.audit_retention, some at a time. They are written by the functions
 *	  that they tell of, in SQL.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "catalog/pg_type.h"
#include "utils/timestamp.h"

#include "guc.h"
#include "store/audit.h"
#include "store/statement.h"

#define LOOK_EVERY_MS 60000

/* in one transaction */
#define SLICE_ROWS    1000

static TimestampTz looked_at = 0;

static void
take_count(uint64 rows, void *arg)
{
	*(uint64 *) arg = rows;
}

/* Removes what is too old, if it is time. */
static OutboxTaskResult
run(const OutboxRound *round)
{
	static OutboxStatement statement = {
		.sql = "DELETE FROM outbox.audit_entry WHERE id = ANY"
			   " (ARRAY(SELECT id FROM outbox.audit_entry"
			   "  WHERE at < now() - $1 * interval '1 second'"
			   "  LIMIT $2 FOR UPDATE SKIP LOCKED))",
		.table = OUTBOX_AUDIT_TABLE,
		.table_lock = RowExclusiveLock,
		.nargs = 2,
		.types = {FLOAT8OID, INT8OID}};
	Datum values[] = {Float8GetDatum(outbox_audit_retention_s),
					  Int64GetDatum(SLICE_ROWS)};
	TimestampTz now = GetCurrentTimestamp();
	OutboxStoreStatus status;
	uint64 removed = 0;

	(void) round;
	/* the clock may have been set back */
	looked_at = Min(looked_at, now);
	if (outbox_audit_retention_s == 0 ||
		!TimestampDifferenceExceeds(looked_at, now, LOOK_EVERY_MS))
		return OUTBOX_TASK_IDLE;
	status = outbox_store_query("outbox: removing old entries of outbox.audit",
								&statement, values, take_count, &removed);
	if (status == OUTBOX_STORE_OK && removed < SLICE_ROWS)
		looked_at = now;
	return outbox_store_task_result(status, removed == SLICE_ROWS);
}

static void
reload(void)
{
	looked_at = 0;
}

OutboxTask outbox_audit_task = {
	.name = "removing old entries of outbox.audit",
	.chore = true,
	.run = run,
	.reload = reload,
	.take_over = reload,
};
