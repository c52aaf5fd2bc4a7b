/*-------------------------------------------------------------------------
 *
 * emit.c
 *	  outbox_emit(): checks an event and puts it into the buffer of the
 *	  transaction; outbox.emitted() shows that buffer.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/htup_details.h"
#include "buffer.h"
#include "commit.h"
#include "event.h"
#include "fmgr.h"
#include "funcapi.h"
#include "guc.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "uuid7.h"

PG_FUNCTION_INFO_V1(outbox_emit);
PG_FUNCTION_INFO_V1(outbox_emitted_1_0);

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

static void
check_size(Size bytes)
{
	if (bytes > (Size) outbox_max_event_size_bytes)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("event of %zu bytes is too large", bytes),
				 errdetail("Key, payload and headers may have %d bytes "
						   "together.",
						   outbox_max_event_size_bytes),
				 errhint("Send less, or raise outbox.max_event_size, and "
						 "max.message.bytes of the topic in Kafka.")));
}

/*
 * outbox_emit(topic text, key, payload, headers jsonb) RETURNS uuid
 *
 * One function for every type of key and payload. Its bytes are counted as
 * Kafka will: key, payload, headers.
 */
Datum
outbox_emit(PG_FUNCTION_ARGS)
{
	Datum values[OUTBOX_EVENT_COLUMNS];
	bool nulls[OUTBOX_EVENT_COLUMNS] = {0};
	pg_uuid_t *event_id = palloc(sizeof(pg_uuid_t));
	HeapTuple tuple;
	Size bytes = 0;

	outbox_commit_join();

	if (PG_ARGISNULL(0))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("topic must not be null"),
						errhint("Name the Kafka topic that the event is to "
								"be published to.")));
	values[OUTBOX_EVENT_TOPIC] =
		PointerGetDatum(outbox_event_topic(PG_GETARG_TEXT_PP(0)));

	nulls[OUTBOX_EVENT_KEY] = PG_ARGISNULL(1);
	if (!PG_ARGISNULL(1))
	{
		text *key =
			outbox_event_key(PG_GETARG_DATUM(1), argument_type(fcinfo, 1));

		bytes += VARSIZE_ANY_EXHDR(key);
		values[OUTBOX_EVENT_KEY] = PointerGetDatum(key);
	}

	nulls[OUTBOX_EVENT_PAYLOAD] = PG_ARGISNULL(2);
	if (!PG_ARGISNULL(2))
	{
		bytea *payload =
			outbox_event_payload(PG_GETARG_DATUM(2), argument_type(fcinfo, 2));

		bytes += VARSIZE_ANY_EXHDR(payload);
		values[OUTBOX_EVENT_PAYLOAD] = PointerGetDatum(payload);
	}

	nulls[OUTBOX_EVENT_HEADERS] = PG_ARGISNULL(3);
	if (!PG_ARGISNULL(3))
	{
		Jsonb *headers = PG_GETARG_JSONB_P(3);

		bytes += outbox_event_check_headers(headers);
		values[OUTBOX_EVENT_HEADERS] = JsonbPGetDatum(headers);
	}
	check_size(bytes);

	/* the id is filled in at commit */
	values[OUTBOX_EVENT_ID] = Int64GetDatum(0);
	values[OUTBOX_EVENT_EMITTED_AT] =
		TimestampTzGetDatum(outbox_uuid7_generate(event_id));
	values[OUTBOX_EVENT_EVENT_ID] = UUIDPGetDatum(event_id);

	tuple = heap_form_tuple(outbox_event_tupdesc(), values, nulls);
	outbox_buffer_append(tuple);
	heap_freetuple(tuple);
	PG_RETURN_UUID_P(event_id);
}

/*
 * outbox.emitted(): the events of the current transaction, in the order of
 * the calls. They have no id yet.
 */
Datum
outbox_emitted_1_0(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	OutboxBufferReader reader;
	HeapTuple tuple;
	Datum values[OUTBOX_EVENT_COLUMNS];
	bool nulls[OUTBOX_EVENT_COLUMNS];

	InitMaterializedSRF(fcinfo, 0);
	outbox_buffer_rewind(&reader);
	while ((tuple = outbox_buffer_next(&reader)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		heap_deform_tuple(tuple, outbox_event_tupdesc(), values, nulls);
		tuplestore_putvalues(result->setResult, result->setDesc,
							 &values[OUTBOX_EVENT_EVENT_ID],
							 &nulls[OUTBOX_EVENT_EVENT_ID]);
	}
	return (Datum) 0;
}
