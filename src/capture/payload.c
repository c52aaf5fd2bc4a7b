/*-------------------------------------------------------------------------
 *
 * payload.c
 *	  What the event of a change has in it: key and payload, by the format.
 *
 *	  row			the row as it is now; if it is deleted, nothing but the
 *					tombstone
 *	  before_after	{"op": "update", "before": {...}, "after": {...}}
 *	  debezium		what Debezium's connector for PostgreSQL has in it
 *	  function		what a function of the user's makes of the operation, the
 *					row before, and the row after
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "capture/payload.h"
#include "capture/settings.h"
#include "emit/event_args.h"

typedef struct OperationNames
{
	const char *name;
	const char *debezium;
} OperationNames;

static const OperationNames names[] = {
	[OUTBOX_CAPTURE_INSERT] = {"insert", "c"},
	[OUTBOX_CAPTURE_UPDATE] = {"update", "u"},
	[OUTBOX_CAPTURE_DELETE] = {"delete", "d"},
	[OUTBOX_CAPTURE_TRUNCATE] = {"truncate", "t"},
	[OUTBOX_CAPTURE_READ] = {"read", "r"},
};

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

/* The key of a row: of one column its text, of several a JSON array; NULL if
 * events have none */
text *
outbox_capture_key(const OutboxCapturePlan *plan, TupleTableSlot *row)
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
		Datum value = outbox_capture_value(column, row, &is_null);

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
		Datum value = outbox_capture_value(column, row, &is_null);

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

/* The same, or null if there is none */
static void
write_row_or_null(StringInfo out, const char *name,
				  const OutboxCapturePlan *plan, TupleTableSlot *row)
{
	appendStringInfo(out, "\"%s\":", name);
	if (row == NULL)
		appendBinaryStringInfo(out, "null", 4);
	else
		write_row(out, plan, row);
	appendStringInfoCharMacro(out, ',');
}

/* Times are of now: when it is committed is not known yet. */
static void
write_debezium(StringInfo out, const OutboxCapturePlan *plan,
			   OutboxCaptureOperation operation)
{
	int64 ms = (GetCurrentTimestamp() +
				(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY) /
			   1000;

	appendStringInfo(
		out,
		"\"source\":{%s,\"snapshot\":\"%s\",\"ts_ms\":" INT64_FORMAT
		",\"txId\":" UINT64_FORMAT
		",\"lsn\":null,\"xmin\":null},\"transaction\":null,\"op\":\"%s\","
		"\"ts_ms\":" INT64_FORMAT "}",
		plan->source, operation == OUTBOX_CAPTURE_READ ? "true" : "false", ms,
		U64FromFullTransactionId(GetTopFullTransactionId()),
		names[operation].debezium, ms);
}

/* A row as jsonb, for a function; false in its place if there is none */
static void
set_row(NullableDatum *arg, const OutboxCapturePlan *plan, TupleTableSlot *row)
{
	StringInfoData out;

	arg->isnull = (row == NULL);
	arg->value = (Datum) 0;
	if (row == NULL)
		return;
	initStringInfo(&out);
	write_row(&out, plan, row);
	arg->value = DirectFunctionCall1(jsonb_in, CStringGetDatum(out.data));
}

/* NULL: it does not want an event */
static bytea *
by_function(const OutboxCapturePlan *plan, OutboxCaptureOperation operation,
			TupleTableSlot *old, TupleTableSlot *new)
{
	LOCAL_FCINFO(call, 3);
	FmgrInfo function;
	Datum payload;

	fmgr_info(plan->function, &function);
	InitFunctionCallInfoData(*call, &function, 3, DEFAULT_COLLATION_OID, NULL,
							 NULL);
	call->args[0].value = CStringGetTextDatum(names[operation].name);
	call->args[0].isnull = false;
	set_row(&call->args[1], plan, old);
	set_row(&call->args[2], plan, new);
	payload = FunctionCallInvoke(call);
	return call->isnull ? NULL
						: outbox_event_payload(payload, plan->function_result);
}

/*
 * The payload of an event; old or new are NULL where there is none. NULL: there
 * is no such event, but perhaps a tombstone.
 */
bytea *
outbox_capture_payload(const OutboxCapturePlan *plan,
					   OutboxCaptureOperation operation, TupleTableSlot *old,
					   TupleTableSlot *new)
{
	StringInfoData out;

	if (OidIsValid(plan->function))
		return by_function(plan, operation, old, new);
	if (plan->format == OUTBOX_CAPTURE_ROW && new == NULL)
		return NULL;
	begin_text(&out);
	switch (plan->format)
	{
		case OUTBOX_CAPTURE_ROW:
			write_row(&out, plan, new);
			break;
		case OUTBOX_CAPTURE_BEFORE_AFTER:
			appendStringInfo(&out, "{\"op\":\"%s\",", names[operation].name);
			write_row_or_null(&out, "before", plan, old);
			write_row_or_null(&out, "after", plan, new);
			out.data[out.len - 1] = '}';
			break;
		case OUTBOX_CAPTURE_DEBEZIUM:
			appendStringInfoCharMacro(&out, '{');
			write_row_or_null(&out, "before", plan, old);
			write_row_or_null(&out, "after", plan, new);
			write_debezium(&out, plan, operation);
			break;
	}
	return outbox_event_payload(PointerGetDatum(end_text(&out)), TEXTOID);
}
