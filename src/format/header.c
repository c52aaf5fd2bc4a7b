/*-------------------------------------------------------------------------
 *
 * header.c
 *	  A header of an event, from jsonb to what is sent.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "utils/builtins.h"
#include "utils/numeric.h"

#include "compat.h"
#include "format/header.h"
#include "format/utf8.h"

/* {"base64": "..."} is a value of bytes */
#define HEADER_BASE64 "base64"

/* Takes a header's name from its place in jsonb. */
void
outbox_header_set_name(OutboxHeader *header, const JsonbValue *name)
{
	header->name_bytes = name->val.string.len;
	header->name =
		outbox_utf8("header", name->val.string.val, &header->name_bytes);
}

/* Is that its name? */
bool
outbox_header_is_named(const OutboxHeader *header, const char *name)
{
	return header->name_bytes == (int) strlen(name) &&
		   memcmp(header->name, name, header->name_bytes) == 0;
}

/* The bytes of {"base64": "..."}; what is wrong, if they are something else. */
static const char *
set_bytes(OutboxHeader *header, JsonbContainer *object)
{
	JsonbValue base64;
	char *bytes;

	if (!JsonContainerIsObject(object) || JsonContainerSize(object) != 1 ||
		getKeyJsonValueFromContainer(object, HEADER_BASE64,
									 (int) strlen(HEADER_BASE64),
									 &base64) == NULL ||
		base64.type != jbvString)
		return "A value is an array, or an object that is not "
			   "{\"base64\": \"...\"}.";
	bytes = palloc(pg_b64_dec_len(base64.val.string.len));
	header->value_bytes =
		outbox_b64_decode(base64.val.string.val, base64.val.string.len, bytes,
						  pg_b64_dec_len(base64.val.string.len));
	if (header->value_bytes < 0)
	{
		header->value_bytes = 0;
		return "The bytes of a value are not in base64: in groups of four "
			   "characters, the last one filled up with \"=\".";
	}
	header->value = bytes;
	return NULL;
}

/*
 * Renders a header's value. What outbox_emit() counts is what is sent. NULL,
 * or what is wrong: then there is no value, and outbox_emit() does not let it
 * in.
 */
const char *
outbox_header_set_value(OutboxHeader *header, const JsonbValue *value)
{
	const char *text = NULL;

	header->value = NULL;
	header->value_bytes = 0;
	switch (value->type)
	{
		case jbvString:
			header->value_bytes = value->val.string.len;
			header->value = outbox_utf8("header", value->val.string.val,
										&header->value_bytes);
			return NULL;
		case jbvBinary:
			return set_bytes(header, value->val.binary.data);
		case jbvNumeric:
			text = DatumGetCString(DirectFunctionCall1(
				numeric_out, NumericGetDatum(value->val.numeric)));
			break;
		case jbvBool:
			text = value->val.boolean ? "true" : "false";
			break;
		default: /* null */
			break;
	}
	header->value = text;
	header->value_bytes = text ? (int) strlen(text) : 0;
	return NULL;
}
