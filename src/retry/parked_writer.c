/*-------------------------------------------------------------------------
 *
 * parked_writer.c
 *	  Rows of outbox.parked for events of the stream: those that have failed,
 *	  those of a blocked topic or key, which queue, and those that have
 *	  expired, which are dead letters.
 *
 * They are written while their page is read, in its transaction: there may be
 * many, for as long as something is blocked, and an event that is in hand
 * need not be looked for again. The rows go straight to the table, so none of
 * them may be there already; see outbox_parked_beyond().
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "retry/blocked_keys.h"
#include "retry/dead_letter_copies.h"
#include "retry/expiry.h"
#include "retry/failure.h"
#include "retry/parked_writer.h"
#include "retry/topic.h"
#include "shared/event_log.h"
#include "shared/figures.h"
#include "shared/my_relay.h"
#include "store/dead_letters.h"

/* what one transaction writes, so that the sink does not wait for it long */
#define PAGE_BYTES (8 * 1024 * 1024)

/* columns of outbox.parked, in their order in the table */
typedef enum ParkedColumn
{
	PARKED_RELAY = 0,
	PARKED_ID,
	PARKED_EVENT_ID,
	PARKED_EMITTED_AT,
	PARKED_TOPIC,
	PARKED_KEY,
	PARKED_PAYLOAD,
	PARKED_HEADERS,
	PARKED_TYPE,
	PARKED_SOURCE,
	PARKED_CONTENT_TYPE,
	PARKED_STATE,
	PARKED_BLOCKING,
	PARKED_CLASS,
	PARKED_ERROR,
	PARKED_ATTEMPTS,
	PARKED_FIRST_FAILED_AT,
	PARKED_LAST_FAILED_AT,
	PARKED_NEXT_ATTEMPT_AT,
	PARKED_ANNOUNCED_AT,
	PARKED_EXPIRES_AT,
	PARKED_WHOLE,
	PARKED_COLUMNS
} ParkedColumn;

/* What the table must look like */
static TupleDesc
parked_tupdesc(void)
{
	static const Oid types[PARKED_COLUMNS] = {
		TEXTOID,        INT8OID,        UUIDOID,        TIMESTAMPTZOID,
		TEXTOID,        TEXTOID,        BYTEAOID,       JSONBOID,
		TEXTOID,        TEXTOID,        TEXTOID,        TEXTOID,
		BOOLOID,        TEXTOID,        TEXTOID,        INT4OID,
		TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID,
		TIMESTAMPTZOID, BOOLOID};
	static TupleDesc tupdesc = NULL;

	if (tupdesc == NULL)
	{
		MemoryContext old_context = MemoryContextSwitchTo(TopMemoryContext);
		TupleDesc desc = CreateTemplateTupleDesc(PARKED_COLUMNS);

		for (int i = 0; i < PARKED_COLUMNS; i++)
			TupleDescInitEntry(desc, (AttrNumber) (i + 1), NULL, types[i], -1,
							   0);
		tupdesc = desc;
		MemoryContextSwitchTo(old_context);
	}
	return tupdesc;
}

/* Gives a row to the table, which is locked like all of ours. */
static void
add_row(OutboxParkedWriter *parked, HeapTuple tuple)
{
	/* the event's memory does not live as long as the writer */
	MemoryContext old_context = MemoryContextSwitchTo(TopTransactionContext);

	if (parked->writer == NULL)
		parked->writer = outbox_table_writer_begin(
			get_relname_relid(OUTBOX_PARKED_TABLE,
							  get_namespace_oid(OUTBOX_SCHEMA, false)),
			parked_tupdesc());
	outbox_table_writer_add(parked->writer, tuple);
	parked->bytes += tuple->t_len;
	MemoryContextSwitchTo(old_context);
}

/* Writes an event with what all have; state tells the rest. */
static void
add_event(OutboxParkedWriter *parked, const OutboxEvent *event,
		  const char *state, Datum *values, bool *nulls)
{
	values[PARKED_RELAY] = CStringGetTextDatum(outbox_my_relay.name);
	values[PARKED_ID] = Int64GetDatum((int64) event->id);
	values[PARKED_EVENT_ID] = UUIDPGetDatum(event->event_id);
	values[PARKED_EMITTED_AT] = TimestampTzGetDatum(event->emitted_at);
	values[PARKED_TOPIC] = PointerGetDatum(event->topic);
	values[PARKED_KEY] = PointerGetDatum(event->key);
	nulls[PARKED_KEY] = (event->key == NULL);
	values[PARKED_PAYLOAD] = PointerGetDatum(event->payload);
	nulls[PARKED_PAYLOAD] = (event->payload == NULL);
	values[PARKED_HEADERS] = PointerGetDatum(event->headers);
	nulls[PARKED_HEADERS] = (event->headers == NULL);
	values[PARKED_TYPE] = PointerGetDatum(event->type);
	nulls[PARKED_TYPE] = (event->type == NULL);
	values[PARKED_SOURCE] = PointerGetDatum(event->source);
	nulls[PARKED_SOURCE] = (event->source == NULL);
	values[PARKED_CONTENT_TYPE] = PointerGetDatum(event->content_type);
	nulls[PARKED_CONTENT_TYPE] = (event->content_type == NULL);
	values[PARKED_STATE] = CStringGetTextDatum(state);
	values[PARKED_EXPIRES_AT] = TimestampTzGetDatum(event->expires_at);
	nulls[PARKED_EXPIRES_AT] = (event->expires_at == DT_NOEND);
	values[PARKED_WHOLE] = BoolGetDatum(true);
	nulls[PARKED_ANNOUNCED_AT] = true;
	add_row(parked, heap_form_tuple(parked_tupdesc(), values, nulls));
}

/* Parks an event behind one of its topic or key that is retrying. */
void
outbox_parked_writer_queue(OutboxParkedWriter *parked,
						   const OutboxEvent *event)
{
	Datum values[PARKED_COLUMNS] = {0};
	bool nulls[PARKED_COLUMNS] = {0};

	values[PARKED_BLOCKING] = BoolGetDatum(true);
	nulls[PARKED_CLASS] = nulls[PARKED_ERROR] = true;
	nulls[PARKED_FIRST_FAILED_AT] = nulls[PARKED_LAST_FAILED_AT] = true;
	values[PARKED_ATTEMPTS] = Int32GetDatum(0);
	nulls[PARKED_NEXT_ATTEMPT_AT] = true;
	add_event(parked, event, "waiting", values, nulls);
	outbox_expiry_note(event->expires_at);
	parked->waiting++;
}

/*
 * Parks an event of a topic that goes another way for now (topic.c), and makes
 * it a block, so that others of its key follow it. False if it does not.
 */
bool
outbox_parked_writer_suspect(OutboxParkedWriter *parked,
							 const OutboxEvent *event)
{
	char topic[OUTBOX_TOPIC_MAX + 1];

	if (!outbox_topic_any_suspect())
		return false;
	text_to_cstring_buffer(event->topic, topic, sizeof(topic));
	if (!outbox_topic_is_suspect(topic))
		return false;
	outbox_blocked_keys_note(
		event->key != NULL ? OUTBOX_BLOCK_KEY : OUTBOX_BLOCK_EVENT, event, 0);
	outbox_parked_writer_queue(parked, event);
	return true;
}

/* Counts an event that has failed, or whose time is over. */
static void
count(const OutboxEvent *event, const OutboxParkReason *reason)
{
	char topic[OUTBOX_TOPIC_MAX + 1];

	text_to_cstring_buffer(event->topic, topic, sizeof(topic));
	if (reason != NULL)
		outbox_figures_failed(topic, reason->failure);
	if (reason == NULL || reason->dead)
		outbox_figures_dead(topic, 1, reason == NULL);
}

/* Parks an event that the sink has not published. */
void
outbox_parked_writer_failed(OutboxParkedWriter *parked,
							const OutboxEvent *event,
							const OutboxParkReason *reason)
{
	Datum values[PARKED_COLUMNS] = {0};
	bool nulls[PARKED_COLUMNS] = {0};

	values[PARKED_BLOCKING] = BoolGetDatum(reason->blocking);
	values[PARKED_CLASS] =
		CStringGetTextDatum(outbox_parked_class(reason->failure));
	values[PARKED_ERROR] = CStringGetTextDatum(reason->error);
	values[PARKED_ATTEMPTS] = Int32GetDatum(reason->attempts);
	values[PARKED_FIRST_FAILED_AT] = values[PARKED_LAST_FAILED_AT] =
		TimestampTzGetDatum(GetCurrentTimestamp());
	values[PARKED_NEXT_ATTEMPT_AT] = TimestampTzGetDatum(reason->next_attempt);
	nulls[PARKED_NEXT_ATTEMPT_AT] = reason->dead;
	add_event(parked, event, reason->dead ? "dead" : "retrying", values,
			  nulls);
	count(event, reason);
	if (reason->dead)
	{
		parked->dead++;
		return;
	}
	outbox_blocked_keys_note(outbox_failure_scope(reason, event->key != NULL),
							 event, reason->next_attempt);
	outbox_expiry_note(event->expires_at);
	parked->waiting++;
}

/* Makes a dead letter of an event whose time is over. */
void
outbox_parked_writer_expired(OutboxParkedWriter *parked,
							 const OutboxEvent *event)
{
	Datum values[PARKED_COLUMNS] = {0};
	bool nulls[PARKED_COLUMNS] = {0};

	values[PARKED_BLOCKING] = BoolGetDatum(false);
	values[PARKED_CLASS] = CStringGetTextDatum(OUTBOX_EXPIRED_CLASS);
	values[PARKED_ERROR] = CStringGetTextDatum(OUTBOX_EXPIRED_ERROR);
	values[PARKED_FIRST_FAILED_AT] = values[PARKED_LAST_FAILED_AT] =
		TimestampTzGetDatum(GetCurrentTimestamp());
	values[PARKED_ATTEMPTS] = Int32GetDatum(0);
	nulls[PARKED_NEXT_ATTEMPT_AT] = true;
	add_event(parked, event, "dead", values, nulls);
	count(event, NULL);
	outbox_event_log(event, OUTBOX_EVENT_LOG_DEAD, OUTBOX_EXPIRED_ERROR);
	parked->dead++;
}

/* Is it enough for one transaction? */
bool
outbox_parked_writer_is_full(const OutboxParkedWriter *parked)
{
	return parked->bytes >= PAGE_BYTES;
}

/* Writes what is left. */
static void
write_rest(OutboxParkedWriter *parked)
{
	if (parked->writer != NULL)
		outbox_table_writer_end(parked->writer);
	parked->writer = NULL;
}

/* The transaction has been committed. */
static void
report(const OutboxParkedWriter *parked)
{
	if (parked->waiting > 0)
		outbox_blocked_keys_count(parked->waiting);
	if (parked->dead > 0)
		outbox_dead_letter_copies_added();
}

/*
 * Reads events, as outbox_segment_read() does, in a transaction that also
 * writes what the reader parks of them. The caller takes note of it before
 * it checks for interrupts.
 */
OutboxStoreStatus
outbox_parked_writer_read(OutboxParkedWriter *parked, uint64 position,
						  uint64 horizon, int limit,
						  const OutboxPageReader *reader, uint64 *rows)
{
	OutboxStoreStatus status = outbox_store_begin("outbox: reading events");

	if (status != OUTBOX_STORE_OK)
		return status;
	status = outbox_segment_read(position, horizon, limit, reader, rows);
	/* as for the page itself: a request to end waits for what belongs to it */
	HOLD_INTERRUPTS();
	if (status == OUTBOX_STORE_OK)
		write_rest(parked);
	outbox_store_end();
	RESUME_INTERRUPTS();
	if (status == OUTBOX_STORE_OK)
		report(parked);
	return status;
}
