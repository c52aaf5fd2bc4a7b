/*-------------------------------------------------------------------------
 *
 * view.c
 *	  Views of outbox.create_view(): each row that is inserted into one is
 *	  an event, for applications whose ORM writes into a table. What such a
 *	  view shows: view_rows.c.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "utils/fmgrprotos.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "emit/deleted_rows.h"
#include "emit/event_args.h"
#include "emit/rights.h"
#include "emit/span_context.h"
#include "emit/trace.h"
#include "emit/uuid7.h"
#include "emit/view_columns.h"
#include "emit/view_rows.h"
#include "emit/view_update.h"
#include "emit/xact.h"
#include "emit/xact_buffer.h"
#include "event.h"

PG_FUNCTION_INFO_V1(outbox_event_view);

static uint32
hash_of_view(const OutboxView *view)
{
	return outbox_view_hash(view->label, (int) strlen(view->label));
}

static void
push_string(JsonbParseState **state, JsonbIteratorToken token,
			const char *string, Size bytes)
{
	JsonbValue value;

	/* jsonb itself checks only what it parses */
	if (bytes > JENTRY_OFFLENMASK)
		outbox_event_check_size(bytes);
	value.type = jbvString;
	value.val.string.val = unconstify(char *, string);
	value.val.string.len = (int) bytes;
	pushJsonbValue(state, token, &value);
}

/* Headers, which may be NULL, with others, which win */
static Jsonb *
merged(Jsonb *headers, Jsonb *others)
{
	if (headers == NULL)
		return others;
	return DatumGetJsonbP(DirectFunctionCall2(
		jsonb_concat, JsonbPGetDatum(headers), JsonbPGetDatum(others)));
}

/* The headers of an event: those in columns of their own, over those in the
 * one for headers, over that of a trace; NULL if there are none. */
static Jsonb *
headers_of(const OutboxView *view, const Datum *row, const bool *nulls)
{
	Jsonb *headers = NULL;
	const text *trace = NULL;
	JsonbParseState *state = NULL;

	for (int i = 0; i < view->columns; i++)
	{
		const OutboxViewColumn *column = &view->column[i];
		text *value;

		if (nulls[i])
			continue;
		if (column->what == OUTBOX_EVENT_HEADERS)
			headers = DatumGetJsonbP(row[i]);
		if (column->what == OUTBOX_VIEW_TRACING)
			trace = DatumGetTextPP(row[i]);
		if (column->what != OUTBOX_VIEW_HEADER)
			continue;
		if (state == NULL)
			pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
		value = DatumGetTextPP(row[i]);
		push_string(&state, WJB_KEY, column->header, strlen(column->header));
		push_string(&state, WJB_VALUE, VARDATA_ANY(value),
					VARSIZE_ANY_EXHDR(value));
	}
	/* one that is no object is for outbox_event_check() to refuse */
	if (headers != NULL && !JB_ROOT_IS_OBJECT(headers))
		return headers;
	if (state != NULL)
		headers = merged(headers, JsonbValueToJsonb(pushJsonbValue(
									  &state, WJB_END_OBJECT, NULL)));
	return trace == NULL ? headers
						 : outbox_span_context_headers(headers, trace);
}

/* Fills in an event, but for its id, time and topic, from the row. */
static void
fill(const OutboxView *view, const Datum *row, const bool *row_nulls,
	 Datum *values, bool *nulls)
{
	Jsonb *headers = outbox_trace_headers(headers_of(view, row, row_nulls));

	values[OUTBOX_EVENT_HEADERS] = PointerGetDatum(headers);
	nulls[OUTBOX_EVENT_HEADERS] = (headers == NULL);
	for (int i = 0; i < view->columns; i++)
	{
		const OutboxViewColumn *column = &view->column[i];
		int what = column->what;
		Datum value = row[i];

		if (row_nulls[i])
			continue;
		switch (what)
		{
			case OUTBOX_EVENT_KEY:
				value = PointerGetDatum(outbox_event_key(value, column->type));
				break;
			case OUTBOX_EVENT_PAYLOAD:
				value =
					PointerGetDatum(outbox_event_payload(value, column->type));
				break;
			case OUTBOX_EVENT_TYPE:
				value = PointerGetDatum(
					outbox_event_attribute("type", DatumGetTextPP(value)));
				break;
			case OUTBOX_EVENT_SOURCE:
				value = PointerGetDatum(
					outbox_event_attribute("source", DatumGetTextPP(value)));
				break;
			case OUTBOX_EVENT_CONTENT_TYPE:
				value = PointerGetDatum(outbox_event_attribute(
					"content_type", DatumGetTextPP(value)));
				break;
			case OUTBOX_EVENT_EXPIRES_AT:
			case OUTBOX_DELAYED_DELIVER_AT:
				break;
			default:
				continue;
		}
		values[what] = value;
		nulls[what] = false;
	}
}

/* Checks an event, and adds it to the transaction. */
static void
emit(const OutboxView *view, Datum *values, bool *nulls)
{
	Size bytes = 0;
	uint32 grown = 0;
	bool delayed = false;

	if (!nulls[OUTBOX_EVENT_PAYLOAD])
		bytes =
			VARSIZE_ANY_EXHDR(DatumGetPointer(values[OUTBOX_EVENT_PAYLOAD]));
	outbox_event_check(values, nulls);
	if (!nulls[OUTBOX_EVENT_PAYLOAD])
		grown =
			VARSIZE_ANY_EXHDR(DatumGetPointer(values[OUTBOX_EVENT_PAYLOAD])) -
			bytes;
	Assert(grown <= OUTBOX_VIEW_GROWN);

	if (!nulls[OUTBOX_DELAYED_DELIVER_AT])
	{
		TimestampTz due =
			DatumGetTimestampTz(values[OUTBOX_DELAYED_DELIVER_AT]);

		delayed = outbox_event_set_due(due, values, nulls);
		nulls[OUTBOX_DELAYED_DELIVER_AT] = !delayed;
		if (delayed)
			outbox_xact_note_due(due);
	}
	outbox_xact_add_from(hash_of_view(view) | grown, values, nulls, delayed);
}

/* The row with what the event has got, for RETURNING. Always another tuple than
 * the one that was given: the executor keeps that one until the end of the
 * statement if it gets it back. */
static HeapTuple
complete_row(const OutboxView *view, const TriggerData *data,
			 const Datum *values, const bool *nulls)
{
	const TupleTableSlot *slot = data->tg_trigslot;
	Datum *row = palloc(view->columns * sizeof(Datum));
	bool *row_nulls = palloc(view->columns * sizeof(bool));

	for (int i = 0; i < view->columns; i++)
	{
		int what = view->column[i].what;
		bool given = what >= OUTBOX_DELAYED_COLUMNS ||
					 what == OUTBOX_EVENT_TOPIC || what == OUTBOX_EVENT_KEY ||
					 what == OUTBOX_EVENT_PAYLOAD;

		row[i] = given ? slot->tts_values[i] : values[what];
		row_nulls[i] = given ? slot->tts_isnull[i] : nulls[what];
	}
	return heap_form_tuple(RelationGetDescr(data->tg_relation), row,
						   row_nulls);
}

/* A row is inserted: it is an event, and becomes what the view shows of it. */
static HeapTuple
inserted(const OutboxView *view, const TriggerData *data, Oid function)
{
	TupleTableSlot *slot = data->tg_trigslot;
	Datum values[OUTBOX_DELAYED_COLUMNS] = {0};
	bool nulls[OUTBOX_DELAYED_COLUMNS];
	text *topic = NULL;
	pg_uuid_t event_id;

	slot_getallattrs(slot);
	if (!slot->tts_isnull[view->topic_column])
		topic = DatumGetTextPP(slot->tts_values[view->topic_column]);
	memset(nulls, true, sizeof(nulls));
	outbox_xact_join(false);
	topic = outbox_view_topic(view, topic);
	outbox_rights_check(OUTBOX_RIGHT_EMIT, topic, function);
	values[OUTBOX_EVENT_TOPIC] = PointerGetDatum(topic);
	values[OUTBOX_EVENT_EMITTED_AT] =
		TimestampTzGetDatum(outbox_uuid7_generate(&event_id));
	if (!slot->tts_isnull[view->id_column])
	{
		event_id = *DatumGetUUIDP(slot->tts_values[view->id_column]);
		outbox_event_check_id(&event_id);
	}
	values[OUTBOX_EVENT_EVENT_ID] = UUIDPGetDatum(&event_id);
	nulls[OUTBOX_EVENT_ID] = false;
	nulls[OUTBOX_EVENT_TOPIC] = false;
	nulls[OUTBOX_EVENT_EMITTED_AT] = false;
	nulls[OUTBOX_EVENT_EVENT_ID] = false;
	fill(view, slot->tts_values, slot->tts_isnull, values, nulls);
	emit(view, values, nulls);
	return complete_row(view, data, values, nulls);
}

/* A row is deleted: the view does not show it any more. Its event stays, as
 * Debezium has published what was inserted and deleted. */
static HeapTuple
deleted(const OutboxView *view, const TriggerData *data)
{
	bool is_null;
	Datum event_id =
		heap_getattr(data->tg_trigtuple, view->id_column + 1,
					 RelationGetDescr(data->tg_relation), &is_null);

	if (!is_null)
		outbox_deleted_rows_add(hash_of_view(view), DatumGetUUIDP(event_id),
								outbox_xact_buffer_bytes());
	return data->tg_trigtuple;
}

/*
 * outbox.event_view(label, prefix, column, ...): the trigger of a view of
 * outbox.create_view(). A column is what of the event it is: a column of
 * outbox.event, "tracing", or "header NAME".
 */
Datum
outbox_event_view(PG_FUNCTION_ARGS)
{
	const TriggerData *data = (TriggerData *) fcinfo->context;
	const OutboxView *view;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_INSTEAD(data->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(data->tg_event))
		outbox_view_refuse_trigger();
	view = outbox_view_of(data, fcinfo->flinfo);
	if (TRIGGER_FIRED_BY_INSERT(data->tg_event))
		return PointerGetDatum(inserted(view, data, fcinfo->flinfo->fn_oid));
	if (TRIGGER_FIRED_BY_UPDATE(data->tg_event))
		return PointerGetDatum(outbox_view_updated(view, data));
	return PointerGetDatum(deleted(view, data));
}
