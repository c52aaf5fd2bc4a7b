/*-------------------------------------------------------------------------
 *
 * envelope.c
 *	  The headers that a relay gives each record beside the event's own: they
 *	  tell consumers of a certain kind what they look for. They are made from
 *	  the row when it is published, so that whatever is published again, too,
 *	  has those that are set at that time.
 *
 * No record has two headers of one name: the event's own one is the one that
 * is sent. So an application can set whatever consumers are to see.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "utils/timestamp.h"

#include "format/envelope.h"
#include "format/utf8.h"

/* the header that tells the type of the payload, as all of them call it */
#define CONTENT_TYPE "content-type"

/* The headers of a record, as they are added */
typedef struct Headers
{
	const OutboxEvent *event;
	OutboxHeader *next;
	char *text; /* where values go that are made here */
} Headers;

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

/* Has the event a header of this name of its own? */
static bool
has_own(const OutboxEvent *event, const char *name)
{
	JsonbValue value;

	return event->headers != NULL && JB_ROOT_IS_OBJECT(event->headers) &&
		   getKeyJsonValueFromContainer(&event->headers->root, name,
										(int) strlen(name), &value) != NULL;
}

static void
put(Headers *headers, const char *name, const char *value, int bytes)
{
	OutboxHeader *header = headers->next++;

	header->name = name;
	header->name_bytes = (int) strlen(name);
	header->value = value;
	header->value_bytes = bytes;
}

static void
add_string(Headers *headers, const char *name, const char *value)
{
	if (!has_own(headers->event, name))
		put(headers, name, value, (int) strlen(value));
}

/* A column of the event: one that is NULL has no header. */
static void
add_column(Headers *headers, const char *name, const text *column)
{
	int bytes;
	const char *value;

	if (column == NULL || has_own(headers->event, name))
		return;
	bytes = VARSIZE_ANY_EXHDR(column);
	value = outbox_utf8(name, VARDATA_ANY(column), &bytes);
	put(headers, name, value, bytes);
}

/* The name of the event, which outbox_emit() has returned */
static void
put_id(Headers *headers, const char *name)
{
	format_uuid(headers->event->event_id, headers->text);
	put(headers, name, headers->text, OUTBOX_ENVELOPE_UUID_BYTES);
	headers->text += OUTBOX_ENVELOPE_UUID_BYTES;
}

static void
add_id(Headers *headers, const char *name)
{
	if (!has_own(headers->event, name))
		put_id(headers, name);
}

/* The time of the event as in RFC 3339, in UTC, which knows years of four
 * digits only. */
static void
add_time(Headers *headers, const char *name)
{
	TimestampTz time = headers->event->emitted_at;
	struct pg_tm tm;
	fsec_t microseconds;

	if (TIMESTAMP_NOT_FINITE(time) ||
		timestamp2tm(time, NULL, &tm, &microseconds, NULL, NULL) != 0 ||
		tm.tm_year < 0 || tm.tm_year > 9999)
		return;
	snprintf(headers->text, OUTBOX_ENVELOPE_TIME_BYTES,
			 "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ", tm.tm_year, tm.tm_mon,
			 tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int) microseconds);
	add_string(headers, name, headers->text);
	headers->text += OUTBOX_ENVELOPE_TIME_BYTES;
}

/* Our own: event_id, the last one, cannot be set by the application. */
static void
add_plain(Headers *headers)
{
	const OutboxEvent *event = headers->event;

	add_column(headers, "event_type", event->type);
	add_column(headers, "event_source", event->source);
	add_column(headers, CONTENT_TYPE, event->content_type);
	put_id(headers, OUTBOX_HEADER_EVENT_ID);
}

/*
 * CloudEvents 1.0 in its binary mode. What the application sets as
 * ce_... is an extension.
 */
static void
add_cloudevents(Headers *headers, const char *source)
{
	const OutboxEvent *event = headers->event;

	add_string(headers, "ce_specversion", "1.0");
	add_id(headers, "ce_id");
	if (event->source != NULL)
		add_column(headers, "ce_source", event->source);
	else
		add_string(headers, "ce_source", source);
	add_column(headers, "ce_type", event->type ? event->type : event->topic);
	add_time(headers, "ce_time");
	add_column(headers, CONTENT_TYPE, event->content_type);
}

/* What Debezium's router for outbox tables sends: id, and the type as the
 * header that is commonly made of it. */
static void
add_debezium(Headers *headers)
{
	add_id(headers, "id");
	add_column(headers, "eventType", headers->event->type);
}

/*
 * Adds the envelope of an event, at most OUTBOX_ENVELOPE_HEADERS, and returns
 * where the next header would go. Values may be in the event, or in text,
 * which has OUTBOX_ENVELOPE_TEXT_BYTES.
 */
OutboxHeader *
outbox_envelope_add(const OutboxEnvelope *envelope, const OutboxEvent *event,
					OutboxHeader *header, char *text)
{
	Headers headers = {.event = event, .next = header, .text = text};

	switch (envelope->kind)
	{
		case OUTBOX_EVENT_HEADERS_NONE:
			break;
		case OUTBOX_EVENT_HEADERS_PLAIN:
			add_plain(&headers);
			break;
		case OUTBOX_EVENT_HEADERS_CLOUDEVENTS:
			add_cloudevents(&headers, envelope->source);
			break;
		case OUTBOX_EVENT_HEADERS_DEBEZIUM:
			add_debezium(&headers);
			break;
	}
	return headers.next;
}
