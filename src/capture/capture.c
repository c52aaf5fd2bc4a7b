/*-------------------------------------------------------------------------
 *
 * capture.c
 *	  outbox.capture(): the trigger of tables that are published. Each change
 *	  of a row becomes an event in the transaction's buffer.
 *
 * Who reads the events of a key, one after another, ends with what the table
 * has for it. A new row is its content; one that is deleted, a tombstone. When
 * a row gets another key, the old one gets a tombstone.
 *
 * AFTER triggers are called at the end of a statement, so a change that another
 * trigger made meanwhile to the same row may have been told already. Then this
 * one is left out: see is_superseded(). To make that rare, ours are the first
 * of the table, by their name.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "access/xact.h"
#include "commands/trigger.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "capture/plan.h"
#include "capture/settings.h"
#include "emit/event_args.h"
#include "emit/uuid7.h"
#include "emit/xact.h"
#include "emit/xact_buffer.h"

PG_FUNCTION_INFO_V1(outbox_capture);
PG_FUNCTION_INFO_V1(outbox_capture_check);

/* Adds an event to the current transaction; payload NULL: a tombstone. */
static void
emit(const OutboxCapturePlan *plan, text *key, bytea *payload)
{
	Datum values[OUTBOX_EVENT_COLUMNS] = {0};
	bool nulls[OUTBOX_EVENT_COLUMNS];
	pg_uuid_t event_id;
	HeapTuple tuple;

	outbox_event_check(key, payload, NULL, 0);
	memset(nulls, true, sizeof(nulls));
	/* the id is filled in at commit */
	nulls[OUTBOX_EVENT_ID] = false;
	nulls[OUTBOX_EVENT_EMITTED_AT] = false;
	nulls[OUTBOX_EVENT_EVENT_ID] = false;
	nulls[OUTBOX_EVENT_TOPIC] = false;
	nulls[OUTBOX_EVENT_KEY] = (key == NULL);
	nulls[OUTBOX_EVENT_PAYLOAD] = (payload == NULL);
	values[OUTBOX_EVENT_EMITTED_AT] =
		TimestampTzGetDatum(outbox_uuid7_generate(&event_id));
	values[OUTBOX_EVENT_EVENT_ID] = UUIDPGetDatum(&event_id);
	values[OUTBOX_EVENT_TOPIC] = PointerGetDatum(plan->topic);
	values[OUTBOX_EVENT_KEY] = PointerGetDatum(key);
	values[OUTBOX_EVENT_PAYLOAD] = PointerGetDatum(payload);

	tuple = heap_form_tuple(outbox_event_tupdesc(OUTBOX_EVENT_COLUMNS), values,
							nulls);
	outbox_xact_check_pending(tuple->t_len);
	outbox_xact_buffer_append(tuple);
	heap_freetuple(tuple);
}

/* Begins a value of variable length. */
static void
begin_text(StringInfo out)
{
	initStringInfo(out);
	appendStringInfoSpaces(out, VARHDRSZ);
}

static text *
end_text(StringInfo out)
{
	SET_VARSIZE(out->data, out->len);
	return (text *) out->data;
}

static void
refuse_null(const OutboxCapturePlan *plan, const OutboxCaptureColumn *column)
{
	ereport(ERROR,
			(errcode(ERRCODE_NOT_NULL_VIOLATION),
			 errmsg("column \"%s\" of \"%s\" is null, but a key of events",
					column->name, plan->table),
			 errdetail("The table is published to topic \"%s\".",
					   text_to_cstring(plan->topic)),
			 errhint("Make the column NOT NULL, or name others in "
					 "outbox.publish_table(..., key => '{...}').")));
}

/* The key of a row: of one column its text, of several a JSON array */
static text *
key_of(const OutboxCapturePlan *plan, TupleTableSlot *row)
{
	int level = plan->key_settings ? outbox_capture_pin_settings() : 0;
	StringInfoData out;

	if (plan->key_columns == 0)
		return NULL;
	begin_text(&out);
	for (int i = 0; i < plan->key_columns; i++)
	{
		OutboxCaptureColumn *column = &plan->key_column[i];
		bool is_null;
		Datum value = slot_getattr(row, column->number, &is_null);

		if (is_null)
			refuse_null(plan, column);
		if (plan->key_columns == 1)
			outbox_json_key(&out, value, &column->type);
		else
		{
			appendStringInfoCharMacro(&out, i == 0 ? '[' : ',');
			outbox_json_value(&out, value, &column->type);
		}
	}
	if (plan->key_columns > 1)
		appendStringInfoCharMacro(&out, ']');
	if (level != 0)
		outbox_capture_unpin_settings(level);
	return end_text(&out);
}

/* Writes a row as a JSON object. */
static void
write_row(StringInfo out, const OutboxCapturePlan *plan, TupleTableSlot *row)
{
	int level = plan->settings ? outbox_capture_pin_settings() : 0;

	appendStringInfoCharMacro(out, '{');
	for (int i = 0; i < plan->columns; i++)
	{
		OutboxCaptureColumn *column = &plan->column[i];
		bool is_null;
		Datum value = slot_getattr(row, column->number, &is_null);

		if (i > 0)
			appendStringInfoCharMacro(out, ',');
		appendBinaryStringInfo(out, column->prefix, column->prefix_bytes);
		if (is_null)
			appendBinaryStringInfo(out, "null", 4);
		else
			outbox_json_value(out, value, &column->type);
	}
	appendStringInfoCharMacro(out, '}');
	if (level != 0)
		outbox_capture_unpin_settings(level);
}

/* The row is there. */
static void
put(const OutboxCapturePlan *plan, TupleTableSlot *row)
{
	StringInfoData out;

	begin_text(&out);
	write_row(&out, plan, row);
	emit(plan, key_of(plan, row),
		 outbox_event_payload(PointerGetDatum(end_text(&out)), TEXTOID));
}

/* The row with that key is there no more. */
static void
remove_key(const OutboxCapturePlan *plan, TupleTableSlot *row)
{
	if (plan->key_columns > 0)
		emit(plan, key_of(plan, row), NULL);
}

/* Have some columns the same values, as far as can be seen without reading
 * what lies in a TOAST table? */
static bool
are_equal(const OutboxCaptureColumn *columns, int count, TupleTableSlot *one,
		  TupleTableSlot *other)
{
	for (int i = 0; i < count; i++)
	{
		const OutboxCaptureColumn *column = &columns[i];
		bool one_null;
		bool other_null;
		Datum one_value = slot_getattr(one, column->number, &one_null);
		Datum other_value = slot_getattr(other, column->number, &other_null);

		if (one_null != other_null)
			return false;
		if (!one_null && !datumIsEqual(one_value, other_value,
									   column->by_value, column->length))
			return false;
	}
	return true;
}

/*
 * Has the current transaction changed or deleted this version of a row again?
 * Whoever did, in a trigger or a function that the statement has called, has
 * ended before we are called, and so has told what came of it.
 */
static bool
is_superseded(TupleTableSlot *row)
{
	HeapTupleHeader header;

	if (!TTS_IS_BUFFERTUPLE(row))
		return false;
	header = ((BufferHeapTupleTableSlot *) row)->base.tuple->t_data;
	if ((header->t_infomask & HEAP_XMAX_INVALID) != 0 ||
		HEAP_XMAX_IS_LOCKED_ONLY(header->t_infomask))
		return false;
	return TransactionIdIsCurrentTransactionId(
		HeapTupleHeaderGetUpdateXid(header));
}

static void
updated(const OutboxCapturePlan *plan, TupleTableSlot *old,
		TupleTableSlot *new)
{
	bool same_key = are_equal(plan->key_column, plan->key_columns, old, new);

	if (same_key && are_equal(plan->column, plan->columns, old, new))
		return;
	if (!same_key)
		remove_key(plan, old);
	if (!is_superseded(new))
		put(plan, new);
}

/*
 * outbox.capture(id): the id is that of a row of outbox.capture, which says
 * where to, and how. Whoever may change the table need not have any right of
 * ours: who has published it had.
 */
Datum
outbox_capture(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;
	const OutboxCapturePlan *plan;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(data->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(data->tg_event) ||
		data->tg_trigger->tgnargs != 1)
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("outbox.capture() must be called as a trigger "
							   "of outbox.publish_table()")));
	outbox_xact_join(false);
	plan = outbox_capture_plan(pg_strtoint32(data->tg_trigger->tgargs[0]),
							   data->tg_relation);
	if (TRIGGER_FIRED_BY_INSERT(data->tg_event))
	{
		if (!is_superseded(data->tg_trigslot))
			put(plan, data->tg_trigslot);
	}
	else if (TRIGGER_FIRED_BY_DELETE(data->tg_event))
		remove_key(plan, data->tg_trigslot);
	else
		updated(plan, data->tg_trigslot, data->tg_newslot);
	return PointerGetDatum(NULL);
}

/* outbox.check_capture(id integer, relation regclass): raises an error unless
 * rows of the table can become events by that row of outbox.capture. */
Datum
outbox_capture_check(PG_FUNCTION_ARGS)
{
	Relation rel = relation_open(PG_GETARG_OID(1), AccessShareLock);

	(void) outbox_capture_plan(PG_GETARG_INT32(0), rel);
	relation_close(rel, AccessShareLock);
	PG_RETURN_VOID();
}
