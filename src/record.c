/*-------------------------------------------------------------------------
 *
 * record.c
 *	  Turns a row of the outbox into a record for the broker: text in UTF-8,
 *	  headers one by one, and the event's name as the last header.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "mb/pg_wchar.h"
#include "record.h"
#include "utils/builtins.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#define UUID_TEXT_BYTES 36

/* Text in the server's encoding to UTF-8; not a copy if it is UTF-8 */
static const char *
to_utf8(const char *data, int *bytes)
{
	char *utf8 = pg_server_to_any(data, *bytes, PG_UTF8);

	if (utf8 != data)
		*bytes = (int) strlen(utf8);
	return utf8;
}

/* The text form of a UUID, without a terminator */
static void
format_uuid(const pg_uuid_t *uuid, char *out)
{
	static const char hex[] = "0123456789abcdef";

	for (int i = 0; i < UUID_LEN; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*out++ = '-';
		*out++ = hex[uuid->data[i] >> 4];
		*out++ = hex[uuid->data[i] & 0x0f];
	}
}

static void
set_header_value(OutboxHeader *header, const JsonbValue *value)
{
	const char *text = NULL;

	switch (value->type)
	{
		case jbvString:
			header->value_bytes = value->val.string.len;
			header->value =
				to_utf8(value->val.string.val, &header->value_bytes);
			return;
		case jbvNumeric:
			text = DatumGetCString(DirectFunctionCall1(
				numeric_out, NumericGetDatum(value->val.numeric)));
			break;
		case jbvBool:
			text = value->val.boolean ? "true" : "false";
			break;
		default: /* null; outbox_emit() lets nothing else in */
			break;
	}
	header->value = text;
	header->value_bytes = text ? (int) strlen(text) : 0;
}

/* The event's own headers, in the order that jsonb keeps them */
static OutboxHeader *
add_headers(OutboxHeader *header, Jsonb *headers)
{
	JsonbIterator *it = JsonbIteratorInit(&headers->root);
	JsonbIteratorToken token;
	JsonbValue value;

	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			header->name_bytes = value.val.string.len;
			header->name = to_utf8(value.val.string.val, &header->name_bytes);
		}
		else if (token == WJB_VALUE)
			set_header_value(header++, &value);
	}
	return header;
}

/*
 * Fills a record from an event, but for its tag. What it points to is palloc'd
 * or belongs to the event.
 */
void
outbox_record_from_event(OutboxRecord *record, const OutboxEvent *event)
{
	int count = 1 + (event->headers ? (int) JB_ROOT_COUNT(event->headers) : 0);
	OutboxHeader *headers = palloc(count * sizeof(OutboxHeader));
	OutboxHeader *header = headers;
	char *event_id = palloc(UUID_TEXT_BYTES);

	record->topic = text_to_cstring(event->topic);
	record->key = NULL;
	record->key_bytes = 0;
	if (event->key)
	{
		record->key_bytes = VARSIZE_ANY_EXHDR(event->key);
		record->key = to_utf8(VARDATA_ANY(event->key), &record->key_bytes);
	}
	record->payload = NULL;
	record->payload_bytes = 0;
	if (event->payload)
	{
		record->payload = VARDATA_ANY(event->payload);
		record->payload_bytes = VARSIZE_ANY_EXHDR(event->payload);
	}
	record->timestamp_ms =
		(event->emitted_at +
		 (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY) /
		1000;

	if (event->headers)
		header = add_headers(header, event->headers);
	format_uuid(event->event_id, event_id);
	header->name = OUTBOX_HEADER_EVENT_ID;
	header->name_bytes = (int) strlen(OUTBOX_HEADER_EVENT_ID);
	header->value = event_id;
	header->value_bytes = UUID_TEXT_BYTES;
	record->headers = headers;
	record->header_count = count;
}

/* How many bytes a record has, as far as they can be counted here */
int64
outbox_record_bytes(const OutboxRecord *record)
{
	int64 bytes = record->key_bytes + record->payload_bytes;

	for (int i = 0; i < record->header_count; i++)
		bytes +=
			record->headers[i].name_bytes + record->headers[i].value_bytes;
	return bytes;
}
