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
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "shared/segment.h"
#include "store/position.h"
#include "store/statement.h"

/* what was written last by this process, and where to */
static uint64 written = 0;
static int written_segment = -1;

/* Locks outbox.position for reading, if all of it is free at once. */
OutboxStoreStatus
outbox_position_lock(void)
{
	return outbox_store_lock_ring(OUTBOX_POSITION_TABLE,
								  OUTBOX_POSITION_PREFIX);
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
	Datum values[] = {outbox_store_text(relay)};
	OutboxStoreStatus status =
		outbox_store_begin("outbox: reading the position");

	if (status != OUTBOX_STORE_OK)
		return status;
	status = outbox_position_lock();
	if (status == OUTBOX_STORE_OK)
	{
		if (outbox_store_execute(&statement, values, NULL) != 1)
			report_missing(relay);
		*position = (uint64) outbox_store_result(0, 1);
		*last_id = (uint64) outbox_store_result(0, 2);
		*used = (outbox_store_result(0, 3) != 0);
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
			psprintf("INSERT INTO outbox.position_%d (relay, position, beyond)"
					 " SELECT name, $2, $3 FROM outbox.relay WHERE name = $1",
					 segment));
		statement->nargs = 3;
		statement->types[0] = TEXTOID;
		statement->types[1] = INT8OID;
		statement->types[2] = INT8ARRAYOID;
	}
	return statement;
}

/* Appends a row, in the current transaction. */
static OutboxStoreStatus
append(const char *relay, uint64 position, int segment, const uint64 *beyond,
	   int count)
{
	Datum values[] = {outbox_store_text(relay),
					  Int64GetDatum((int64) position),
					  count > 0 ? outbox_store_ids(beyond, count) : 0};
	OutboxStoreStatus status = outbox_store_lock_segment(
		OUTBOX_POSITION_PREFIX, segment, RowExclusiveLock);

	if (status != OUTBOX_STORE_OK)
		return status;
	if (outbox_store_execute(append_statement(segment), values,
							 count > 0 ? NULL : "  n") != 1)
		report_missing(relay);
	written = position;
	written_segment = segment;
	return OUTBOX_STORE_OK;
}

/*
 * Writes the position in the current transaction, unless it is there already:
 * in the table that belongs to the current segment, too.
 */
OutboxStoreStatus
outbox_position_set(const char *relay, uint64 position)
{
	int segment = outbox_segment_current(outbox_shmem_my_database());

	if (position == written && segment == written_segment)
		return OUTBOX_STORE_OK;
	return append(relay, position, segment, NULL, 0);
}

/*
 * Keeps the positions of all relays, also of those that do not run: a relay
 * that has none in the table of the current segment gets its last one there,
 * in the current transaction. The tables must be locked.
 */
OutboxStoreStatus
outbox_position_keep_all(void)
{
	static OutboxStatement statements[OUTBOX_SEGMENTS];
	int segment = outbox_segment_current(outbox_shmem_my_database());
	OutboxStatement *statement = &statements[segment];
	OutboxStoreStatus status = outbox_store_lock_segment(
		OUTBOX_POSITION_PREFIX, segment, RowExclusiveLock);

	if (status != OUTBOX_STORE_OK)
		return status;
	if (statement->sql == NULL)
		statement->sql = MemoryContextStrdup(
			TopMemoryContext,
			psprintf("INSERT INTO outbox.position_%d (relay, position, beyond)"
					 " SELECT r.name, w.position,"
					 "  (SELECT p.beyond FROM outbox.position p"
					 "   WHERE p.relay = r.name AND p.position = w.position"
					 "    AND p.beyond IS NOT NULL LIMIT 1)"
					 " FROM outbox.relay r,"
					 "  LATERAL (SELECT max(p.position) AS position"
					 "   FROM outbox.position p WHERE p.relay = r.name) w"
					 " WHERE w.position IS NOT NULL AND NOT EXISTS"
					 "  (SELECT FROM outbox.position_%d n"
					 "   WHERE n.relay = r.name)",
					 segment, segment));
	outbox_store_execute(statement, NULL, NULL);
	return OUTBOX_STORE_OK;
}

/*
 * Writes how far a relay is, and which events beyond that are done, too, if
 * they are to be known after its end. The commit is asynchronous.
 */
OutboxStoreStatus
outbox_position_write(const char *relay, uint64 position, const uint64 *beyond,
					  int count)
{
	OutboxStoreStatus status =
		outbox_store_begin("outbox: writing the position");

	if (status != OUTBOX_STORE_OK)
		return status;
	if (count > 0)
		status = append(relay, position,
						outbox_segment_current(outbox_shmem_my_database()),
						beyond, count);
	else
		status = outbox_position_set(relay, position);
	outbox_store_end();
	return status;
}

/* A transaction that may have written the position has been undone. */
void
outbox_position_forget(void)
{
	written_segment = -1;
}

/*
 * Have the positions of all relays passed an id, as written to other tables
 * than that one? Then published_at, unless it is NULL, becomes the time when
 * the last of them did; 0 if it is not known any more. The tables must be
 * locked.
 */
bool
outbox_position_has_passed(uint64 id, Oid but, TimestampTz *published_at)
{
	static OutboxStatement statement = {
		.sql = "SELECT count(*), count(*) FILTER (WHERE r.first_position >= $1"
			   "  OR w.written_at IS NOT NULL), max(w.written_at)"
			   " FROM outbox.relay r LEFT JOIN LATERAL"
			   "  (SELECT p.written_at FROM outbox.position p"
			   "   WHERE p.relay = r.name AND p.position >= $1"
			   "   AND p.tableoid <> $2"
			   "   ORDER BY p.position LIMIT 1) w ON true",
		.read_only = true,
		.nargs = 2,
		.types = {INT8OID, OIDOID}};
	Datum values[] = {Int64GetDatum((int64) id), ObjectIdGetDatum(but)};
	int64 relays;

	outbox_store_execute(&statement, values, NULL);
	relays = outbox_store_result(0, 1);
	if (published_at != NULL)
		*published_at = outbox_store_result(0, 3);
	return relays > 0 && relays == outbox_store_result(0, 2);
}

/* The relay that is the furthest behind, in NAMEDATALEN bytes; "" = there is
 * none. The tables must be locked. */
void
outbox_position_slowest(char *relay)
{
	static OutboxStatement statement = {
		.sql = "SELECT r.name FROM outbox.relay r ORDER BY GREATEST("
			   "  r.first_position, (SELECT max(p.position)"
			   "   FROM outbox.position p WHERE p.relay = r.name)),"
			   " r.number LIMIT 1",
		.read_only = true};

	relay[0] = '\0';
	if (outbox_store_execute(&statement, NULL, NULL) > 0)
		strlcpy(relay, outbox_store_string(0, 1), NAMEDATALEN);
}

/*
 * When the relay first wrote its position to one of the tables, which must be
 * locked; now, if it has not yet. In the current transaction.
 */
TimestampTz
outbox_position_first_at(Oid table, const char *relay)
{
	char *name = get_rel_name(table);

	if (name == NULL)
		return GetCurrentTimestamp();
	outbox_store_run(psprintf("SELECT written_at FROM outbox.%s"
							  " WHERE relay = %s ORDER BY position LIMIT 1",
							  name, quote_literal_cstr(relay)));
	return SPI_processed == 0 ? GetCurrentTimestamp()
							  : outbox_store_result(0, 1);
}
