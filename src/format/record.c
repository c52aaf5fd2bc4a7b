/*-------------------------------------------------------------------------
 *
 * record.c
 *	  Turns a row of the outbox into a record for the broker: text in UTF-8,
 *	  headers one by one, and the event's name as the last header.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "common/base64.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "format/record.h"
#include "guc.h"

/* {"base64": "..."} is a value of bytes */
#define HEADER_BASE64    "base64"

/* what a header costs beside its bytes: bookkeeping of the library */
#define HEADER_OVERHEAD  96

/*
 * What a record may have in all, in whatever way its row has come; never less
 * than outbox_emit() accepts and copies for replays and dead letters add. The
 * library ends the server if it finds no memory.
 */
#define RECORD_MAX_BYTES ((int64) 520 * 1024 * 1024)

/* Tells an error what was being converted. */
static void
in_conversion(void *arg)
{
	int code = geterrcode();

	if (code == ERRCODE_CHARACTER_NOT_IN_REPERTOIRE ||
		code == ERRCODE_UNTRANSLATABLE_CHARACTER)
		errhint("%s gets text in UTF-8. Send other bytes as a payload of "
				"type bytea.",
				outbox_guc_sink_kind()->name);
	errcontext("converting the %s of an event to UTF-8", (const char *) arg);
}

/*
 * Text in the database's encoding to UTF-8, palloc'd; not a copy if it is
 * UTF-8. Raises 22021 or 22P05 if there is no such text, which says what it is
 * part of. Keys and headers are stored as they are, and are converted when
 * they are emitted only to find that out.
 */
const char *
outbox_record_utf8(const char *what, const char *data, int *bytes)
{
	ErrorContextCallback callback = {.previous = error_context_stack,
									 .callback = in_conversion,
									 .arg = unconstify(char *, what)};
	const char *utf8;

	if (GetDatabaseEncoding() == PG_UTF8)
		return data;
	error_context_stack = &callback;
	utf8 = pg_server_to_any(data, *bytes, PG_UTF8);
	error_context_stack = callback.previous;
	if (utf8 != data)
		*bytes = (int) strlen(utf8);
	return utf8;
}

/* The text form of a UUID, without a terminator */
static void
format_uuid(const pg_uuid_t *uuid, char *out)
{
	static const char hex[] = "0123456789abcdef";
	static const uint8 places[UUID_LEN] = {0,  2,  4,  6,  9,  11, 14, 16,
										   19, 21, 24, 26, 28, 30, 32, 34};

	out[8] = out[13] = out[18] = out[23] = '-';
	for (int i = 0; i < UUID_LEN; i++)
	{
		char *place = out + places[i];

		place[0] = hex[uuid->data[i] >> 4];
		place[1] = hex[uuid->data[i] & 0x0f];
	}
}

/* Takes a header's name from its place in jsonb. */
void
outbox_record_set_name(OutboxHeader *header, const JsonbValue *name)
{
	header->name_bytes = name->val.string.len;
	header->name = outbox_record_utf8("header", name->val.string.val,
									  &header->name_bytes);
}

/* Is that its name? */
bool
outbox_record_is_named(const OutboxHeader *header, const char *name)
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
outbox_record_set_value(OutboxHeader *header, const JsonbValue *value)
{
	const char *text = NULL;

	header->value = NULL;
	header->value_bytes = 0;
	switch (value->type)
	{
		case jbvString:
			header->value_bytes = value->val.string.len;
			header->value = outbox_record_utf8("header", value->val.string.val,
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

/*
 * The event's own headers, in the order that jsonb keeps them, but for the one
 * that is not sent. NULL as soon as they are too many bytes: a number of 12
 * bytes may be rendered as 131,072.
 */
static OutboxHeader *
add_headers(OutboxHeader *header, Jsonb *headers, int64 *bytes)
{
	JsonbIterator *it = JsonbIteratorInit(&headers->root);
	JsonbIteratorToken token;
	JsonbValue value;

	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			outbox_record_set_name(header, &value);
		else if (token == WJB_VALUE &&
				 !outbox_record_is_named(header, OUTBOX_HEADER_RELAY))
		{
			/* what is wrong can be in rows alone that are written by hand */
			(void) outbox_record_set_value(header, &value);
			*bytes += header->name_bytes + header->value_bytes;
			if (*bytes > RECORD_MAX_BYTES)
				return NULL;
			header++;
		}
	}
	return header;
}

/* The name of the event, which outbox_emit() has returned; text is where its
 * text goes. */
static void
set_event_id(OutboxHeader *header, const pg_uuid_t *event_id, char *text)
{
	format_uuid(event_id, text);
	header->name = OUTBOX_HEADER_EVENT_ID;
	header->name_bytes = (int) strlen(OUTBOX_HEADER_EVENT_ID);
	header->value = text;
	header->value_bytes = OUTBOX_RECORD_UUID_BYTES;
}

/*
 * Fills a record from an event, but for its tag. What it points to is palloc'd
 * or belongs to the event. False, with a message in error (of
 * OUTBOX_SINK_ERROR_MAX bytes), if no sink must be given such a record.
 */
bool
outbox_record_from_event(OutboxRecord *record, const OutboxEvent *event,
						 char *error)
{
	int count = event->headers ? (int) JB_ROOT_COUNT(event->headers) : 0;
	int64 bytes = (int64) count * HEADER_OVERHEAD;
	int topic_bytes = VARSIZE_ANY_EXHDR(event->topic);
	OutboxHeader *headers = NULL;
	OutboxHeader *header = NULL;
	char *event_id;
	char *topic;

	/* most events need no more memory than this and one header's */
	event_id = palloc(OUTBOX_RECORD_UUID_BYTES + topic_bytes + 1);
	topic = event_id + OUTBOX_RECORD_UUID_BYTES;
	memcpy(topic, VARDATA_ANY(event->topic), topic_bytes);
	topic[topic_bytes] = '\0';

	record->topic = topic;
	record->key = NULL;
	record->key_bytes = 0;
	if (event->key)
	{
		record->key_bytes = VARSIZE_ANY_EXHDR(event->key);
		record->key = outbox_record_utf8("key", VARDATA_ANY(event->key),
										 &record->key_bytes);
		bytes += record->key_bytes;
	}
	record->payload = NULL;
	record->payload_bytes = 0;
	if (event->payload)
	{
		record->payload = VARDATA_ANY(event->payload);
		record->payload_bytes = VARSIZE_ANY_EXHDR(event->payload);
		bytes += record->payload_bytes;
	}
	record->timestamp_ms =
		(event->emitted_at +
		 (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY) /
		1000;

	if (bytes <= RECORD_MAX_BYTES)
		header = headers = palloc((count + 1) * sizeof(OutboxHeader));
	if (header != NULL && event->headers)
		header = add_headers(header, event->headers, &bytes);
	if (header == NULL)
	{
		snprintf(error, OUTBOX_SINK_ERROR_MAX,
				 "an event can have %lld MB in all, its headers counted with "
				 "what they cost in memory",
				 (long long) (RECORD_MAX_BYTES / (1024 * 1024)));
		return false;
	}
	set_event_id(header, event->event_id, event_id);
	record->headers = headers;
	/* fewer, if one is not sent, or somebody has written a row by hand */
	record->header_count = (int) (header - headers) + 1;
	record->bytes = bytes;
	return true;
}
