/*-------------------------------------------------------------------------
 *
 * event_args.c
 *	  Checks the arguments of outbox_emit() and turns them into the columns
 *	  of outbox.event. Every error is raised here, at the call, while the
 *	  application can still do something about it.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "emit/event_args.h"
#include "emit/topic_rules.h"
#include "emit/xact_buffer.h"
#include "format/header.h"
#include "format/record.h"
#include "format/utf8.h"
#include "guc.h"
#include "uri.h"

PG_FUNCTION_INFO_V1(outbox_check_attribute);

/* Checks a topic's name; topic may be NULL, which is refused. */
text *
outbox_event_topic(text *topic)
{
	const OutboxSinkKind *kind = outbox_guc_sink_kind();

	if (topic == NULL || VARSIZE_ANY_EXHDR(topic) == 0)
		ereport(ERROR,
				(errcode(topic == NULL ? ERRCODE_NULL_VALUE_NOT_ALLOWED
									   : ERRCODE_INVALID_PARAMETER_VALUE),
				 topic == NULL ? errmsg("topic must not be null")
							   : errmsg("topic must not be empty"),
				 errhint("Name the %s topic that the event is to be "
						 "published to.",
						 kind->name)));
	kind->check_topic(VARDATA_ANY(topic), VARSIZE_ANY_EXHDR(topic));
	return topic;
}

/* What a type is over, if it is a domain; those of the catalog are none. */
static Oid
base_type_of(Oid type)
{
	return type < FirstGenbkiObjectId ? type : getBaseType(type);
}

static text *
integer_to_text(int64 value)
{
	char digits[MAXINT8LEN + 1];

	return cstring_to_text_with_len(digits, pg_lltoa(value, digits));
}

/*
 * The key as text. Text, and what names things without any formatting that
 * depends on settings: integers, numerics, uuids, enums. Numerics that are
 * equal are the same key.
 */
text *
outbox_event_key(Datum key, Oid type)
{
	Oid base_type = base_type_of(type);
	Oid output_function;
	bool is_varlena;

	switch (base_type)
	{
		case TEXTOID:
		case VARCHAROID:
			return DatumGetTextPP(key);
		case NUMERICOID:
			return cstring_to_text(numeric_normalize(DatumGetNumeric(key)));
		case INT2OID:
			return integer_to_text(DatumGetInt16(key));
		case INT4OID:
			return integer_to_text(DatumGetInt32(key));
		case INT8OID:
			return integer_to_text(DatumGetInt64(key));
		case OIDOID:
		case UUIDOID:
			break;
		default:
			if (TypeCategory(base_type) == TYPCATEGORY_STRING ||
				TypeCategory(base_type) == TYPCATEGORY_ENUM)
				break;
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("key cannot be of type %s", format_type_be(type)),
					 errhint("Cast the key to text.")));
	}
	getTypeOutputInfo(base_type, &output_function, &is_varlena);
	return cstring_to_text(OidOutputFunctionCall(output_function, key));
}

static bytea *
text_to_utf8(text *value)
{
	const char *data = VARDATA_ANY(value);
	int bytes = VARSIZE_ANY_EXHDR(value);
	const char *utf8 = outbox_utf8("payload", data, &bytes);

	if (utf8 == data)
		return (bytea *) value;
	return (bytea *) cstring_to_text_with_len(utf8, bytes);
}

/* The payload as bytes: text and JSON in UTF-8, bytea as it is. */
bytea *
outbox_event_payload(Datum payload, Oid type)
{
	Oid base_type = base_type_of(type);

	switch (base_type)
	{
		case BYTEAOID:
			return DatumGetByteaPP(payload);
		case TEXTOID:
		case VARCHAROID:
		case JSONOID:
			return text_to_utf8(DatumGetTextPP(payload));
		case JSONBOID:
		{
			Jsonb *jsonb = DatumGetJsonbP(payload);
			char *json = JsonbToCString(NULL, &jsonb->root, VARSIZE(jsonb));

			return text_to_utf8(cstring_to_text(json));
		}
		default:
			break;
	}

	if (type_is_rowtype(base_type))
		return text_to_utf8(
			DatumGetTextPP(DirectFunctionCall1(row_to_json, payload)));
	if (TypeCategory(base_type) == TYPCATEGORY_STRING)
	{
		Oid output_function;
		bool is_varlena;

		getTypeOutputInfo(base_type, &output_function, &is_varlena);
		return text_to_utf8(
			cstring_to_text(OidOutputFunctionCall(output_function, payload)));
	}
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("payload cannot be of type %s", format_type_be(type)),
			 errhint("Cast the payload to jsonb, json, text or bytea.")));
	return NULL; /* keep compiler quiet */
}

/*
 * A text for the envelope: type, source or content_type, which is what name
 * tells. Raises 22023 for one that no header of an envelope can be.
 */
text *
outbox_event_attribute(const char *name, text *value)
{
	const char *data = VARDATA_ANY(value);
	int bytes = VARSIZE_ANY_EXHDR(value);
	const char *utf8 = outbox_utf8(name, data, &bytes);

	if (bytes == 0 || bytes > OUTBOX_ATTRIBUTE_MAX)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("%s must have 1 to %d bytes, not %d", name,
							   OUTBOX_ATTRIBUTE_MAX, bytes)));
	for (int i = 0; i < bytes; i++)
	{
		/* those of ASCII, and U+0080 to U+009F */
		if ((unsigned char) utf8[i] < ' ' || utf8[i] == 0x7f ||
			((unsigned char) utf8[i] == 0xc2 &&
			 (unsigned char) utf8[i + 1] < 0xa0))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("%s must not have control characters", name)));
	}
	if (strcmp(name, "source") == 0 && !outbox_uri_is_reference(utf8, bytes))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("source must be a URI reference"),
				 errhint("Write it like \"https://example.com/shop\" or "
						 "\"/shop\", and other characters as \"%%20\".")));
	return value;
}

/* outbox.check_attribute(name text, value text): for rules of topics */
Datum
outbox_check_attribute(PG_FUNCTION_ARGS)
{
	(void) outbox_event_attribute(text_to_cstring(PG_GETARG_TEXT_PP(0)),
								  PG_GETARG_TEXT_PP(1));
	PG_RETURN_VOID();
}

/* Raises 22023 for an event_id that cannot be one. */
void
outbox_event_check_id(const pg_uuid_t *event_id)
{
	static const pg_uuid_t nil = {{0}};

	if (memcmp(event_id, &nil, sizeof(nil)) == 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("event_id must not be the nil UUID"),
						errhint("Give each event an id of its own, or leave "
								"event_id out.")));
}

/*
 * Fills in that an event, whose emitted_at and expires_at are there, is to be
 * delivered at that time; true if it is delayed, for one that would be due
 * already is not. Raises 22023 for a time that makes no sense.
 */
bool
outbox_event_set_due(TimestampTz deliver_at, Datum *values, bool *nulls)
{
	if (deliver_at == DT_NOEND)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an event cannot be due at infinity"),
				 errhint("Give a time at which it is to be published.")));
	if (deliver_at <= DatumGetTimestampTz(values[OUTBOX_EVENT_EMITTED_AT]))
		return false;
	if (!nulls[OUTBOX_EVENT_EXPIRES_AT] &&
		DatumGetTimestampTz(values[OUTBOX_EVENT_EXPIRES_AT]) <= deliver_at)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("the event would expire before it is due"),
						errhint("Let expires_at be later than the time of "
								"delivery.")));
	values[OUTBOX_DELAYED_DELIVER_AT] = TimestampTzGetDatum(deliver_at);
	nulls[OUTBOX_DELAYED_DELIVER_AT] = false;
	return true;
}

static void
refuse_headers(const char *detail)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("headers must be an object of strings"),
					errdetail_internal("%s", detail),
					errhint("Write headers like "
							"'{\"name\": \"value\"}'::jsonb; the value may be "
							"{\"base64\": \"AP8=\"}, for bytes.")));
}

static void
check_name(const OutboxHeader *header)
{
	if (outbox_header_is_named(header, OUTBOX_HEADER_EVENT_ID))
		ereport(ERROR,
				(errcode(ERRCODE_RESERVED_NAME),
				 errmsg("header \"%s\" is reserved", OUTBOX_HEADER_EVENT_ID),
				 errhint("outbox sets it to the value that "
						 "outbox_emit() returns.")));
	if (outbox_header_is_named(header, OUTBOX_HEADER_RELAY))
		ereport(ERROR,
				(errcode(ERRCODE_RESERVED_NAME),
				 errmsg("header \"%s\" is reserved", OUTBOX_HEADER_RELAY),
				 errhint("Use another name.")));
}

/* Raises 54000 for what is too large an event. */
void
outbox_event_check_size(Size bytes)
{
	if (bytes > (Size) outbox_max_event_size_bytes)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("event of %zu bytes is too large", bytes),
				 errdetail("Key, payload and headers may have %d bytes "
						   "together, as they are sent.",
						   outbox_max_event_size_bytes),
				 errhint("Send less, or raise outbox.max_event_size, and %s.",
						 outbox_guc_sink_kind()->size_limit)));
}

/* Adds what headers will have when they are sent. Rendered, a number may have
 * 10,000 times as many bytes as in jsonb, so it ends where it is too much. */
static Size
check_headers(Jsonb *headers, Size bytes)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue value;
	OutboxHeader header;

	if (!JB_ROOT_IS_OBJECT(headers))
		refuse_headers("They are not a JSON object.");
	if (JB_ROOT_COUNT(headers) > OUTBOX_HEADERS_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("event has too many headers"),
				 errdetail("It has %d; outbox allows %d.",
						   (int) JB_ROOT_COUNT(headers), OUTBOX_HEADERS_MAX),
				 errhint("Put them into the payload.")));

	it = JsonbIteratorInit(&headers->root);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			outbox_header_set_name(&header, &value);
			check_name(&header);
		}
		else if (token == WJB_VALUE)
		{
			const char *wrong = outbox_header_set_value(&header, &value);

			if (wrong != NULL)
				refuse_headers(wrong);
			bytes += header.name_bytes + header.value_bytes;
			outbox_event_check_size(bytes);
		}
	}
	return bytes;
}

/* How many bytes a column of text has when it is sent; 0 if it is null */
static int
text_bytes(OutboxEventColumn column, const char *what, const Datum *values,
		   const bool *nulls)
{
	int bytes = 0;

	if (!nulls[column])
	{
		text *value = (text *) DatumGetPointer(values[column]);

		bytes = VARSIZE_ANY_EXHDR(value);
		(void) outbox_utf8(what, VARDATA_ANY(value), &bytes);
	}
	return bytes;
}

/* How many bytes key, payload and event_id have when they are sent */
static Size
body_bytes(const Datum *values, const bool *nulls)
{
	Size bytes = OUTBOX_RECORD_EVENT_ID_BYTES;

	bytes += text_bytes(OUTBOX_EVENT_KEY, "key", values, nulls);
	if (!nulls[OUTBOX_EVENT_PAYLOAD])
		bytes +=
			VARSIZE_ANY_EXHDR(DatumGetPointer(values[OUTBOX_EVENT_PAYLOAD]));
	return bytes;
}

/* How many bytes an event has when it is sent; raises an error for what cannot
 * be, or would be too many. */
static Size
check_content(const Datum *values, const bool *nulls)
{
	Size bytes = body_bytes(values, nulls);

	bytes += text_bytes(OUTBOX_EVENT_TYPE, "type", values, nulls);
	bytes += text_bytes(OUTBOX_EVENT_SOURCE, "source", values, nulls);
	bytes +=
		text_bytes(OUTBOX_EVENT_CONTENT_TYPE, "content_type", values, nulls);
	outbox_event_check_size(bytes);
	if (!nulls[OUTBOX_EVENT_HEADERS])
		bytes = check_headers(
			(Jsonb *) DatumGetPointer(values[OUTBOX_EVENT_HEADERS]), bytes);
	return bytes;
}

/*
 * Gives an event that is called for what the rule of its topic does, and checks
 * it: by the rule; that headers are an object of strings (numbers, booleans,
 * null, and bytes in base64 are fine, too); that everything can be sent, which
 * is UTF-8, and is not too large then. Key, payload and headers, whose values
 * may change, are not toasted.
 */
void
outbox_event_check(Datum *values, bool *nulls)
{
	const OutboxTopicRule *rule = outbox_topic_rule_of(
		(text *) DatumGetPointer(values[OUTBOX_EVENT_TOPIC]));
	Size bytes;

	if (rule != NULL)
	{
		/* what is too large anyway is not read: a regular expression takes
		 * four times the memory of a key */
		outbox_event_check_size(body_bytes(values, nulls));
		outbox_topic_rule_apply(rule, values, nulls);
	}
	bytes = check_content(values, nulls);
	if (rule != NULL)
		outbox_topic_rule_check_size(rule, bytes);
}

/*
 * Emits an event again, as it is, in the current transaction, which has joined
 * those that emit. It gets another id.
 */
void
outbox_event_emit_again(const OutboxEvent *event)
{
	Datum values[OUTBOX_EVENT_COLUMNS];
	bool nulls[OUTBOX_EVENT_COLUMNS] = {0};
	HeapTuple tuple;

	values[OUTBOX_EVENT_ID] = Int64GetDatum(0);
	values[OUTBOX_EVENT_EVENT_ID] = UUIDPGetDatum(event->event_id);
	values[OUTBOX_EVENT_EMITTED_AT] = TimestampTzGetDatum(event->emitted_at);
	values[OUTBOX_EVENT_TOPIC] = PointerGetDatum(event->topic);
	values[OUTBOX_EVENT_KEY] = PointerGetDatum(event->key);
	values[OUTBOX_EVENT_PAYLOAD] = PointerGetDatum(event->payload);
	values[OUTBOX_EVENT_HEADERS] = PointerGetDatum(event->headers);
	values[OUTBOX_EVENT_EXPIRES_AT] = TimestampTzGetDatum(event->expires_at);
	nulls[OUTBOX_EVENT_KEY] = (event->key == NULL);
	nulls[OUTBOX_EVENT_PAYLOAD] = (event->payload == NULL);
	nulls[OUTBOX_EVENT_HEADERS] = (event->headers == NULL);
	nulls[OUTBOX_EVENT_EXPIRES_AT] = (event->expires_at == DT_NOEND);
	values[OUTBOX_EVENT_TYPE] = PointerGetDatum(event->type);
	values[OUTBOX_EVENT_SOURCE] = PointerGetDatum(event->source);
	values[OUTBOX_EVENT_CONTENT_TYPE] = PointerGetDatum(event->content_type);
	nulls[OUTBOX_EVENT_TYPE] = (event->type == NULL);
	nulls[OUTBOX_EVENT_SOURCE] = (event->source == NULL);
	nulls[OUTBOX_EVENT_CONTENT_TYPE] = (event->content_type == NULL);

	tuple = outbox_event_form(values, nulls, false);
	outbox_xact_buffer_append(tuple, 0);
	heap_freetuple(tuple);
}
