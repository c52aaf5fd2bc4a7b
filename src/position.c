/*-------------------------------------------------------------------------
 *
 * position.c
 *	  How far each relay is, on disk: rows that are appended to
 *	  outbox.position about once a second, with asynchronous commit. A row
 *	  that is updated instead would leave a dead version each time, which
 *	  nobody may remove while somebody holds a snapshot. The tables are
 *	  emptied together with the segments of the same number; meanwhile they
 *	  tell when an event was published.
 *
 * The highest position is the present one.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "catalog/pg_type.h"
#include "position.h"
#include "segment.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* what was written last by this process, and where to */
static uint64 written = 0;
static int written_segment = -1;

/* Locks outbox.position for reading, if all of it is free at once. */
OutboxStoreStatus
outbox_position_lock(void)
{
	OutboxStoreStatus status =
		outbox_store_lock(OUTBOX_POSITION_TABLE, AccessShareLock);

	for (int i = 0; status == OUTBOX_STORE_OK && i < OUTBOX_SEGMENTS; i++)
		status = outbox_store_lock_segment(OUTBOX_POSITION_PREFIX, i,
										   AccessShareLock);
	return status;
}

static void
report_missing(const char *relay)
{
	ereport(ERROR,
			(errcode(ERRCODE_NO_DATA_FOUND),
			 errmsg("there is no relay \"%s\" in outbox.relay", relay),
			 errhint("Insert its row again, with the first_position from "
					 "which it is to go on.")));
}

/*
 * Attaches to the outbox: the position from which a relay goes on, and the
 * last id that has been handed out; used: has it written a position? Raises
 * an error if there is no such relay.
 */
OutboxStoreStatus
outbox_position_open(const char *relay, uint64 *position, uint64 *last_id,
					 bool *used)
{
	static OutboxStatement statement = {
		.sql = "SELECT GREATEST(r.first_position, w.position),"
			   "  s.last_value - (NOT s.is_called)::int,"
			   "  (w.position IS NOT NULL)::int::bigint"
			   " FROM outbox.relay r, outbox.event_id_seq s,"
			   "  (SELECT max(p.position) AS position"
			   "   FROM outbox.position p WHERE p.relay = $1) w"
			   " WHERE r.name = $1",
		.read_only = true,
		.nargs = 1,
		.types = {TEXTOID}};
	Datum values[1];
	OutboxStoreStatus status =
		outbox_store_begin("outbox: reading the position");

	if (status != OUTBOX_STORE_OK)
		return status;
	status = outbox_position_lock();
	if (status == OUTBOX_STORE_OK)
	{
		values[0] = CStringGetTextDatum(relay);
		if (outbox_store_execute(&statement, values, NULL) != 1)
			report_missing(relay);
		*position = (uint64) outbox_store_result(1);
		*last_id = (uint64) outbox_store_result(2);
		*used = (outbox_store_result(3) != 0);
		written = *position;
	}
	outbox_store_end();
	return status;
}

/* The statement that appends to one of the tables */
static OutboxStatement *
append_statement(int segment)
{
	static OutboxStatement statements[OUTBOX_SEGMENTS];
	OutboxStatement *statement = &statements[segment];

	if (statement->sql == NULL)
	{
		statement->sql = MemoryContextStrdup(
			TopMemoryContext,
			psprintf("INSERT INTO outbox.position_%d (relay, position)"
					 " SELECT name, $2 FROM outbox.relay WHERE name = $1",
					 segment));
		statement->nargs = 2;
		statement->types[0] = TEXTOID;
		statement->types[1] = INT8OID;
	}
	return statement;
}

/*
 * Writes the position in the current transaction, unless it is there already:
 * in the table that belongs to the current segment, too.
 */
OutboxStoreStatus
outbox_position_set(const char *relay, uint64 position)
{
	int segment = outbox_segment_current(outbox_shmem_my_database());
	Datum values[] = {CStringGetTextDatum(relay),
					  Int64GetDatum((int64) position)};
	OutboxStoreStatus status;

	if (position == written && segment == written_segment)
		return OUTBOX_STORE_OK;
	status = outbox_store_lock_segment(OUTBOX_POSITION_PREFIX, segment,
									   RowExclusiveLock);
	if (status != OUTBOX_STORE_OK)
		return status;
	if (outbox_store_execute(append_statement(segment), values, NULL) != 1)
		report_missing(relay);
	written = position;
	written_segment = segment;
	return OUTBOX_STORE_OK;
}

/* Writes how far a relay is. The commit is asynchronous. */
OutboxStoreStatus
outbox_position_write(const char *relay, uint64 position)
{
	OutboxStoreStatus status =
		outbox_store_begin("outbox: writing the position");

	if (status != OUTBOX_STORE_OK)
		return status;
	status = outbox_position_set(relay, position);
	outbox_store_end();
	return status;
}

/*
 * The position of the relay that is least far, as written to other tables
 * than that one. They must be locked.
 */
uint64
outbox_position_least(Oid but)
{
	static OutboxStatement statement = {
		.sql = "SELECT min(GREATEST(r.first_position,"
			   "  (SELECT max(p.position) FROM outbox.position p"
			   "   WHERE p.relay = r.name AND p.tableoid <> $1)))"
			   " FROM outbox.relay r",
		.read_only = true,
		.nargs = 1,
		.types = {OIDOID}};
	Datum values[] = {ObjectIdGetDatum(but)};

	outbox_store_execute(&statement, values, NULL);
	return (uint64) outbox_store_result(1);
}

/* When a row of the relay was written to one of the tables, which must be
 * locked */
static TimestampTz
time_of_row(Oid table, const char *relay, const char *order)
{
	char *name = get_rel_name(table);
	TimestampTz result = 0;
	bool is_null;

	if (name == NULL)
		return 0;
	outbox_store_run(psprintf("SELECT written_at FROM outbox.%s"
							  " WHERE relay = %s ORDER BY position %s LIMIT 1",
							  name, quote_literal_cstr(relay), order));
	if (SPI_processed == 1)
		result = DatumGetTimestampTz(SPI_getbinval(
			SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null));
	return result;
}

/* When the relay first wrote its position to that table; now, if never. In
 * the current transaction, like the next. */
TimestampTz
outbox_position_first_at(Oid table, const char *relay)
{
	TimestampTz first = time_of_row(table, relay, "");

	return first == 0 ? GetCurrentTimestamp() : first;
}

/* When it did so last; 0 if never */
TimestampTz
outbox_position_last_at(Oid table, const char *relay)
{
	return time_of_row(table, relay, "DESC");
}
