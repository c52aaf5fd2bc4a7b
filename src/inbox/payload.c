/*-------------------------------------------------------------------------
 *
 * payload.c
 *	  The payload of an outbox.message, for the functions that handle messages.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/elog.h"
#include "utils/fmgrprotos.h"

PG_FUNCTION_INFO_V1(outbox_payload_text);
PG_FUNCTION_INFO_V1(outbox_payload_json);

/* Where the message is, for an error */
static char *
place(HeapTupleHeader message)
{
	bool no_topic;
	bool no_partition;
	bool no_offset;
	Datum topic = GetAttributeByName(message, "topic", &no_topic);
	Datum partition = GetAttributeByName(message, "partition", &no_partition);
	Datum offset = GetAttributeByName(message, "offset", &no_offset);

	if (no_topic || no_partition || no_offset)
		return pstrdup("the message");
	return psprintf("%s/%d/" INT64_FORMAT, TextDatumGetCString(topic),
					DatumGetInt32(partition), DatumGetInt64(offset));
}

static void
add_context(void *arg)
{
	errcontext("payload of %s", place((HeapTupleHeader) arg));
}

/* The payload, which must be text; NULL for a tombstone */
static bytea *
payload_of(HeapTupleHeader message)
{
	bool is_null;
	Datum value = GetAttributeByName(message, "payload", &is_null);
	bytea *payload;

	if (is_null)
		return NULL;
	payload = DatumGetByteaPP(value);
	if (!pg_verify_mbstr(PG_UTF8, VARDATA_ANY(payload),
						 VARSIZE_ANY_EXHDR(payload), true))
		ereport(ERROR, (errcode(ERRCODE_CHARACTER_NOT_IN_REPERTOIRE),
						errmsg("payload of %s is no text", place(message)),
						errdetail("It is not valid UTF-8."),
						errhint("Its bytes are in the field payload.")));
	return payload;
}

/* It in the encoding of this database */
static char *
converted(bytea *payload)
{
	char *bytes = VARDATA_ANY(payload);
	int len = VARSIZE_ANY_EXHDR(payload);
	char *result = pg_any_to_server(bytes, len, PG_UTF8);

	/* what needs no conversion does not end with a zero */
	return result == bytes ? pnstrdup(bytes, len) : result;
}

/* outbox.payload_text() */
Datum
outbox_payload_text(PG_FUNCTION_ARGS)
{
	HeapTupleHeader message = PG_GETARG_HEAPTUPLEHEADER(0);
	bytea *payload = payload_of(message);
	ErrorContextCallback context = {
		.previous = error_context_stack,
		.callback = add_context,
		.arg = message,
	};
	char *result;

	if (payload == NULL)
		PG_RETURN_NULL();
	error_context_stack = &context;
	result = converted(payload);
	error_context_stack = context.previous;
	PG_RETURN_TEXT_P(cstring_to_text(result));
}

/* outbox.payload_json() */
Datum
outbox_payload_json(PG_FUNCTION_ARGS)
{
	HeapTupleHeader message = PG_GETARG_HEAPTUPLEHEADER(0);
	bytea *payload = payload_of(message);
	ErrorContextCallback context = {
		.previous = error_context_stack,
		.callback = add_context,
		.arg = message,
	};
	Datum result;

	if (payload == NULL)
		PG_RETURN_NULL();
	error_context_stack = &context;
	result =
		DirectFunctionCall1(jsonb_in, CStringGetDatum(converted(payload)));
	error_context_stack = context.previous;
	PG_RETURN_DATUM(result);
}
