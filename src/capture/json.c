/*-------------------------------------------------------------------------
 *
 * json.c
 *	  Values of columns as JSON, and as keys: the text that to_json() would
 *	  give, but written at once, and independent of the session's settings.
 *
 * Times are in ISO 8601, those with a time zone in UTC; bytea is as in
 * bytea_output = hex; numbers that JSON does not have are strings ("NaN").
 * What depends on a setting, and is written by an output function of the
 * type's, needs the settings pinned around it: see the flag of its type.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include <math.h>

#include "access/htup_details.h"
#include "access/tupdesc.h"
#include "catalog/pg_type.h"
#include "common/shortest_dec.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "capture/json.h"
#include "capture/settings.h"

/* a number, or a time */
#define SCALAR_BYTES 128

static OutboxJsonKind
kind_of(Oid type)
{
	switch (type)
	{
		case BOOLOID:
			return OUTBOX_JSON_BOOL;
		case INT2OID:
			return OUTBOX_JSON_INT2;
		case INT4OID:
			return OUTBOX_JSON_INT4;
		case INT8OID:
			return OUTBOX_JSON_INT8;
		case FLOAT4OID:
			return OUTBOX_JSON_FLOAT4;
		case FLOAT8OID:
			return OUTBOX_JSON_FLOAT8;
		case NUMERICOID:
			return OUTBOX_JSON_NUMERIC;
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
			return OUTBOX_JSON_TEXT;
		case DATEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return OUTBOX_JSON_DATETIME;
		case BYTEAOID:
			return OUTBOX_JSON_BYTEA;
		case JSONOID:
			return OUTBOX_JSON_JSON;
		case JSONBOID:
			return OUTBOX_JSON_JSONB;
		default:
			break;
	}
	if (type == RECORDOID || type_is_rowtype(type))
		return OUTBOX_JSON_COMPOSITE;
	/* not int2vector and its kind, which are no arrays for JSON either */
	if (OidIsValid(get_element_type(type)))
		return OUTBOX_JSON_ARRAY;
	return OUTBOX_JSON_OTHER;
}

/* Finds out how values of that type are written; what it needs for that is in
 * the current memory context. */
void
outbox_json_type(OutboxJsonType *type, Oid oid)
{
	Oid function;
	bool is_varlena;

	memset(type, 0, sizeof(*type));
	type->type = getBaseType(oid);
	type->kind = kind_of(type->type);
	switch (type->kind)
	{
		case OUTBOX_JSON_ARRAY:
			type->element = palloc(sizeof(OutboxJsonType));
			outbox_json_type(type->element, get_element_type(type->type));
			get_typlenbyvalalign(
				get_element_type(type->type), &type->element_length,
				&type->element_by_value, &type->element_align);
			type->settings = type->element->settings;
			break;
		case OUTBOX_JSON_COMPOSITE:
			/* its columns may change */
			type->settings = true;
			break;
		case OUTBOX_JSON_OTHER:
			getTypeOutputInfo(type->type, &function, &is_varlena);
			fmgr_info(function, &type->output);
			type->settings = outbox_capture_needs_settings(type->type);
			break;
		default:
			break;
	}
}

/*
 * A number, boolean or time as text in the buffer of SCALAR_BYTES, or one of
 * its own. quoted becomes whether it is a string in JSON.
 */
static char *
scalar(Datum value, OutboxJsonType *type, char *buffer, bool *quoted)
{
	*quoted = false;
	switch (type->kind)
	{
		case OUTBOX_JSON_BOOL:
			return DatumGetBool(value) ? "true" : "false";
		case OUTBOX_JSON_INT2:
			pg_ltoa(DatumGetInt16(value), buffer);
			return buffer;
		case OUTBOX_JSON_INT4:
			pg_ltoa(DatumGetInt32(value), buffer);
			return buffer;
		case OUTBOX_JSON_INT8:
			pg_lltoa(DatumGetInt64(value), buffer);
			return buffer;
		case OUTBOX_JSON_FLOAT4:
			float_to_shortest_decimal_buf(DatumGetFloat4(value), buffer);
			*quoted = !isfinite(DatumGetFloat4(value));
			return buffer;
		case OUTBOX_JSON_FLOAT8:
			double_to_shortest_decimal_buf(DatumGetFloat8(value), buffer);
			*quoted = !isfinite(DatumGetFloat8(value));
			return buffer;
		case OUTBOX_JSON_NUMERIC:
		{
			Numeric number = DatumGetNumeric(value);

			*quoted = numeric_is_nan(number) || numeric_is_inf(number);
			return DatumGetCString(
				DirectFunctionCall1(numeric_out, NumericGetDatum(number)));
		}
		case OUTBOX_JSON_DATETIME:
		{
			const int utc = 0;

			*quoted = true;
			return JsonEncodeDateTime(buffer, value, type->type, &utc);
		}
		default:
			break;
	}
	*quoted = true;
	return OutputFunctionCall(&type->output, value);
}

static void
write_bytea(StringInfo out, Datum value)
{
	bytea *bytes = DatumGetByteaPP(value);
	Size length = VARSIZE_ANY_EXHDR(bytes);

	if (length > MaxAllocSize / 2 - 8)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						errmsg("a value of %zu bytes is too large for JSON",
							   length)));
	enlargeStringInfo(out, (int) (length * 2));
	out->len +=
		(int) hex_encode(VARDATA_ANY(bytes), length, out->data + out->len);
	out->data[out->len] = '\0';
}

static void
write_elements(StringInfo out, OutboxJsonType *type, int dimension,
			   const ArrayType *array, const Datum *values, const bool *nulls,
			   int *next)
{
	int count = ARR_DIMS(array)[dimension];

	appendStringInfoCharMacro(out, '[');
	for (int i = 0; i < count; i++)
	{
		if (i > 0)
			appendStringInfoCharMacro(out, ',');
		if (dimension + 1 < ARR_NDIM(array))
			write_elements(out, type, dimension + 1, array, values, nulls,
						   next);
		else
		{
			if (nulls[*next])
				appendBinaryStringInfo(out, "null", 4);
			else
				outbox_json_value(out, values[*next], type->element);
			(*next)++;
		}
	}
	appendStringInfoCharMacro(out, ']');
}

static void
write_array(StringInfo out, Datum value, OutboxJsonType *type)
{
	ArrayType *array = DatumGetArrayTypeP(value);
	Datum *values;
	bool *nulls;
	int count;
	int next = 0;

	if (ARR_NDIM(array) == 0)
	{
		appendBinaryStringInfo(out, "[]", 2);
		return;
	}
	deconstruct_array(array, ARR_ELEMTYPE(array), type->element_length,
					  type->element_by_value, type->element_align, &values,
					  &nulls, &count);
	write_elements(out, type, 0, array, values, nulls, &next);
}

static void
write_composite(StringInfo out, Datum value)
{
	HeapTupleHeader header = DatumGetHeapTupleHeader(value);
	TupleDesc columns = lookup_rowtype_tupdesc(
		HeapTupleHeaderGetTypeId(header), HeapTupleHeaderGetTypMod(header));
	HeapTupleData tuple = {.t_len = HeapTupleHeaderGetDatumLength(header),
						   .t_data = header};
	bool first = true;

	appendStringInfoCharMacro(out, '{');
	for (int i = 0; i < columns->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(columns, i);
		OutboxJsonType type;
		Datum field;
		bool is_null;

		if (column->attisdropped)
			continue;
		if (!first)
			appendStringInfoCharMacro(out, ',');
		first = false;
		outbox_json_string(out, NameStr(column->attname),
						   (int) strlen(NameStr(column->attname)));
		appendStringInfoCharMacro(out, ':');
		field = heap_getattr(&tuple, i + 1, columns, &is_null);
		if (is_null)
		{
			appendBinaryStringInfo(out, "null", 4);
			continue;
		}
		outbox_json_type(&type, column->atttypid);
		outbox_json_value(out, field, &type);
	}
	appendStringInfoCharMacro(out, '}');
	ReleaseTupleDesc(columns);
}

/* Writes a value that is not null. */
void
outbox_json_value(StringInfo out, Datum value, OutboxJsonType *type)
{
	char buffer[SCALAR_BYTES];
	const char *string;
	bool quoted;

	/* arrays and composites may be in one another */
	check_stack_depth();
	switch (type->kind)
	{
		case OUTBOX_JSON_TEXT:
		{
			text *data = DatumGetTextPP(value);

			outbox_json_string(out, VARDATA_ANY(data),
							   VARSIZE_ANY_EXHDR(data));
			return;
		}
		case OUTBOX_JSON_BYTEA:
			appendBinaryStringInfo(out, "\"\\\\x", 4);
			write_bytea(out, value);
			appendStringInfoCharMacro(out, '"');
			return;
		case OUTBOX_JSON_JSON:
		{
			text *data = DatumGetTextPP(value);

			appendBinaryStringInfo(out, VARDATA_ANY(data),
								   VARSIZE_ANY_EXHDR(data));
			return;
		}
		case OUTBOX_JSON_JSONB:
		{
			Jsonb *jsonb = DatumGetJsonbP(value);

			(void) JsonbToCString(out, &jsonb->root, VARSIZE(jsonb));
			return;
		}
		case OUTBOX_JSON_ARRAY:
			write_array(out, value, type);
			return;
		case OUTBOX_JSON_COMPOSITE:
			write_composite(out, value);
			return;
		default:
			break;
	}
	string = scalar(value, type, buffer, &quoted);
	if (type->kind == OUTBOX_JSON_OTHER)
	{
		outbox_json_string(out, string, (int) strlen(string));
		return;
	}
	if (quoted)
		appendStringInfoCharMacro(out, '"');
	appendBinaryStringInfo(out, string, (int) strlen(string));
	if (quoted)
		appendStringInfoCharMacro(out, '"');
}

/*
 * Writes a value that is not null as it is in a key: strings without quotes,
 * and numerics that are equal in the same way, as outbox_emit() does.
 */
void
outbox_json_key(StringInfo out, Datum value, OutboxJsonType *type)
{
	char buffer[SCALAR_BYTES];
	bool quoted;

	switch (type->kind)
	{
		case OUTBOX_JSON_TEXT:
		{
			text *data = DatumGetTextPP(value);

			appendBinaryStringInfo(out, VARDATA_ANY(data),
								   VARSIZE_ANY_EXHDR(data));
			return;
		}
		case OUTBOX_JSON_NUMERIC:
			appendStringInfoString(out,
								   numeric_normalize(DatumGetNumeric(value)));
			return;
		case OUTBOX_JSON_BYTEA:
			appendBinaryStringInfo(out, "\\x", 2);
			write_bytea(out, value);
			return;
		case OUTBOX_JSON_JSON:
		case OUTBOX_JSON_JSONB:
		case OUTBOX_JSON_ARRAY:
		case OUTBOX_JSON_COMPOSITE:
			outbox_json_value(out, value, type);
			return;
		default:
			appendStringInfoString(out, scalar(value, type, buffer, &quoted));
	}
}
