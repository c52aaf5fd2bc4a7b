/*-------------------------------------------------------------------------
 *
 * emit.c
 *	  outbox_emit(): checks an event and puts it into the buffer of the
 *	  transaction; outbox.emitted() shows that buffer. outbox_emit_now()
 *	  checks it likewise, and gives it to a transaction of its own.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "emit/emit_now.h"
#include "emit/event_args.h"
#include "emit/rights.h"
#include "emit/trace.h"
#include "emit/uuid7.h"
#include "emit/xact.h"
#include "emit/xact_buffer.h"
#include "guc.h"

PG_FUNCTION_INFO_V1(outbox_emit);
PG_FUNCTION_INFO_V1(outbox_emit_now);
PG_FUNCTION_INFO_V1(outbox_emitted);

#define ARG_DELIVER_AT    4
#define ARG_DELIVER_AFTER 5
#define ARG_EXPIRES_AT    6
#define ARG_EVENT_ID      7
#define ARG_TYPE          8
#define ARG_SOURCE        9
#define ARG_CONTENT_TYPE  10

/* The type of an argument that may be of any */
static Oid
argument_type(FunctionCallInfo fcinfo, int argument)
{
	Oid type = get_fn_expr_argtype(fcinfo->flinfo, argument);

	if (!OidIsValid(type))
		ereport(ERROR,
				(errcode(ERRCODE_INDETERMINATE_DATATYPE),
				 errmsg("could not determine the type of argument %d of "
						"outbox_emit()",
						argument + 1)));
	return type;
}

static bool
has_argument(FunctionCallInfo fcinfo, int argument)
{
	return PG_NARGS() > argument && !PG_ARGISNULL(argument);
}

/* Fills in when the event expires and is due; true if it is delayed. */
static bool
set_times(FunctionCallInfo fcinfo, Datum *values, bool *nulls)
{
	bool by_time = has_argument(fcinfo, ARG_DELIVER_AT);
	TimestampTz due;

	nulls[OUTBOX_EVENT_EXPIRES_AT] = !has_argument(fcinfo, ARG_EXPIRES_AT);
	if (!nulls[OUTBOX_EVENT_EXPIRES_AT])
		values[OUTBOX_EVENT_EXPIRES_AT] = PG_GETARG_DATUM(ARG_EXPIRES_AT);
	if (!has_argument(fcinfo, ARG_DELIVER_AFTER))
	{
		if (!by_time)
			return false;
		due = PG_GETARG_TIMESTAMPTZ(ARG_DELIVER_AT);
	}
	else if (by_time)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("deliver_at and deliver_after exclude each "
							   "other"),
						errhint("Use one of them.")));
	else
		due = DatumGetTimestampTz(DirectFunctionCall2(
			timestamptz_pl_interval, values[OUTBOX_EVENT_EMITTED_AT],
			PG_GETARG_DATUM(ARG_DELIVER_AFTER)));
	return outbox_event_set_due(due, values, nulls);
}

/* Fills in the texts for the envelope. */
static void
set_attributes(FunctionCallInfo fcinfo, Datum *values, bool *nulls)
{
	static const struct
	{
		const char *name;
		int argument;
		OutboxEventColumn column;
	} attributes[] = {
		{"type", ARG_TYPE, OUTBOX_EVENT_TYPE},
		{"source", ARG_SOURCE, OUTBOX_EVENT_SOURCE},
		{"content_type", ARG_CONTENT_TYPE, OUTBOX_EVENT_CONTENT_TYPE},
	};
	for (int i = 0; i < (int) lengthof(attributes); i++)
	{
		text *value = NULL;

		if (has_argument(fcinfo, attributes[i].argument))
			value = outbox_event_attribute(
				attributes[i].name, PG_GETARG_TEXT_PP(attributes[i].argument));
		values[attributes[i].column] = PointerGetDatum(value);
		nulls[attributes[i].column] = (value == NULL);
	}
}

/* Fills in the event's name, which the caller may have given, and when it was
 * emitted. */
static void
set_event_id(FunctionCallInfo fcinfo, Datum *values)
{
	pg_uuid_t *event_id = palloc(sizeof(pg_uuid_t));

	values[OUTBOX_EVENT_EMITTED_AT] =
		TimestampTzGetDatum(outbox_uuid7_generate(event_id));
	if (has_argument(fcinfo, ARG_EVENT_ID))
	{
		*event_id = *PG_GETARG_UUID_P(ARG_EVENT_ID);
		outbox_event_check_id(event_id);
	}
	values[OUTBOX_EVENT_EVENT_ID] = UUIDPGetDatum(event_id);
}

/*
 * Makes an event of the arguments, checked, and makes the transaction one that
 * emits. Returns whether the event is delayed. nulls are false.
 */
static bool
make_event(FunctionCallInfo fcinfo, Datum *values, bool *nulls)
{
	text *topic;
	text *key = NULL;
	bytea *payload = NULL;
	Jsonb *headers = NULL;

	outbox_xact_join(false);
	topic = outbox_event_topic(PG_ARGISNULL(0) ? NULL : PG_GETARG_TEXT_PP(0));
	outbox_rights_check(OUTBOX_RIGHT_EMIT, topic, fcinfo->flinfo->fn_oid);
	values[OUTBOX_EVENT_TOPIC] = PointerGetDatum(topic);

	if (!PG_ARGISNULL(1))
		key = outbox_event_key(PG_GETARG_DATUM(1), argument_type(fcinfo, 1));
	if (!PG_ARGISNULL(2))
		payload =
			outbox_event_payload(PG_GETARG_DATUM(2), argument_type(fcinfo, 2));
	if (!PG_ARGISNULL(3))
		headers = PG_GETARG_JSONB_P(3);
	headers = outbox_trace_headers(headers);
	values[OUTBOX_EVENT_KEY] = PointerGetDatum(key);
	values[OUTBOX_EVENT_PAYLOAD] = PointerGetDatum(payload);
	values[OUTBOX_EVENT_HEADERS] = PointerGetDatum(headers);
	nulls[OUTBOX_EVENT_KEY] = (key == NULL);
	nulls[OUTBOX_EVENT_PAYLOAD] = (payload == NULL);
	nulls[OUTBOX_EVENT_HEADERS] = (headers == NULL);
	set_attributes(fcinfo, values, nulls);
	outbox_event_check(values, nulls);

	set_event_id(fcinfo, values);
	return set_times(fcinfo, values, nulls);
}

/*
 * outbox_emit(topic text, key, payload, headers jsonb, deliver_at
 * timestamptz, deliver_after interval, expires_at timestamptz, event_id uuid,
 * type text, source text, content_type text) RETURNS uuid
 *
 * One function for every type of key and payload; that of an older version
 * may have fewer arguments. What is written is all that brokers get, but for
 * event_id.
 */
Datum
outbox_emit(PG_FUNCTION_ARGS)
{
	Datum values[OUTBOX_DELAYED_COLUMNS];
	bool nulls[OUTBOX_DELAYED_COLUMNS] = {0};
	bool delayed = make_event(fcinfo, values, nulls);

	if (delayed)
		outbox_xact_note_due(
			DatumGetTimestampTz(values[OUTBOX_DELAYED_DELIVER_AT]));
	outbox_xact_add(values, nulls, delayed);
	PG_RETURN_DATUM(values[OUTBOX_EVENT_EVENT_ID]);
}

/* outbox_emit_now(): the same arguments; published although the transaction
 * may be rolled back */
Datum
outbox_emit_now(PG_FUNCTION_ARGS)
{
	Datum values[OUTBOX_DELAYED_COLUMNS];
	bool nulls[OUTBOX_DELAYED_COLUMNS] = {0};
	bool delayed = make_event(fcinfo, values, nulls);

	outbox_emit_now_commit(values, nulls, delayed);
	PG_RETURN_DATUM(values[OUTBOX_EVENT_EVENT_ID]);
}

/*
 * outbox.emitted(): the events of the current transaction, in the order of
 * the calls. They have no id yet. That of an older version may have fewer
 * columns.
 */
Datum
outbox_emitted(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	OutboxBufferReader reader;
	HeapTuple tuple;
	Datum values[OUTBOX_DELAYED_COLUMNS];
	bool nulls[OUTBOX_DELAYED_COLUMNS];

	InitMaterializedSRF(fcinfo, 0);
	outbox_xact_buffer_rewind(&reader);
	while ((tuple = outbox_xact_buffer_next(&reader)) != NULL)
	{
		int columns = HeapTupleHeaderGetNatts(tuple->t_data);

		CHECK_FOR_INTERRUPTS();
		memset(nulls, true, sizeof(nulls));
		heap_deform_tuple(tuple, outbox_event_tupdesc(columns), values, nulls);
		tuplestore_putvalues(result->setResult, result->setDesc,
							 &values[OUTBOX_EVENT_EVENT_ID],
							 &nulls[OUTBOX_EVENT_EVENT_ID]);
	}
	return (Datum) 0;
}
