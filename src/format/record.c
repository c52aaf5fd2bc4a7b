/*-------------------------------------------------------------------------
 *
 * record.c
 *	  Turns a row of the outbox into a record for the broker: text in UTF-8,
 *	  headers one by one, and those of the relay's envelope behind them.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "utils/timestamp.h"

#include "format/header.h"
#include "format/record.h"
#include "format/utf8.h"

/* what a header costs beside its bytes: bookkeeping of the library */
#define HEADER_OVERHEAD  96

/*
 * What a record may have in all, in whatever way its row has come; never less
 * than outbox_emit() accepts and copies for replays and dead letters add. The
 * library ends the server if it finds no memory.
 */
#define RECORD_MAX_BYTES ((int64) 520 * 1024 * 1024)

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
			outbox_header_set_name(header, &value);
		else if (token == WJB_VALUE &&
				 !outbox_header_is_named(header, OUTBOX_HEADER_RELAY))
		{
			/* what is wrong can be in rows alone that are written by hand */
			(void) outbox_header_set_value(header, &value);
			*bytes += header->name_bytes + header->value_bytes;
			if (*bytes > RECORD_MAX_BYTES)
				return NULL;
			header++;
		}
	}
	return header;
}

/* What those of the envelope take in memory, but for one like event_id, which
 * is in the fixed part of a record. */
static int64
envelope_bytes(const OutboxHeader *header, const OutboxHeader *end)
{
	int64 bytes = -(HEADER_OVERHEAD + (int64) OUTBOX_RECORD_EVENT_ID_BYTES);

	for (; header < end; header++)
		bytes += HEADER_OVERHEAD + header->name_bytes + header->value_bytes;
	return Max(bytes, 0);
}

/* The event's own headers and the envelope's; false if the record has too many
 * bytes with them. text is for values. */
static bool
set_headers(OutboxRecord *record, const OutboxEvent *event,
			const OutboxEnvelope *envelope, char *text)
{
	int count = event->headers ? (int) JB_ROOT_COUNT(event->headers) : 0;
	OutboxHeader *headers;
	OutboxHeader *own_end;
	OutboxHeader *end;

	record->bytes += (int64) count * HEADER_OVERHEAD;
	if (record->bytes > RECORD_MAX_BYTES)
		return false;
	headers = own_end =
		palloc((count + OUTBOX_ENVELOPE_HEADERS) * sizeof(OutboxHeader));
	if (event->headers)
		own_end = add_headers(headers, event->headers, &record->bytes);
	if (own_end == NULL)
		return false;
	end = outbox_envelope_add(envelope, event, own_end, text);
	record->bytes += envelope_bytes(own_end, end);
	record->headers = headers;
	/* fewer, if one is not sent, or somebody has written a row by hand */
	record->header_count = (int) (end - headers);
	return record->bytes <= RECORD_MAX_BYTES;
}

/*
 * Fills a record from an event, but for its tag. What it points to is palloc'd
 * or belongs to the event. False, with a message in error (of
 * OUTBOX_SINK_ERROR_MAX bytes), if no sink must be given such a record.
 */
bool
outbox_record_from_event(OutboxRecord *record, const OutboxEvent *event,
						 const OutboxEnvelope *envelope, char *error)
{
	int topic_bytes = VARSIZE_ANY_EXHDR(event->topic);
	char *text;
	char *topic;

	/* most events need no more memory than this and the headers' */
	text = palloc(OUTBOX_ENVELOPE_TEXT_BYTES + topic_bytes + 1);
	topic = text + OUTBOX_ENVELOPE_TEXT_BYTES;
	memcpy(topic, VARDATA_ANY(event->topic), topic_bytes);
	topic[topic_bytes] = '\0';

	record->bytes = 0;
	record->topic = topic;
	record->key = NULL;
	record->key_bytes = 0;
	if (event->key)
	{
		record->key_bytes = VARSIZE_ANY_EXHDR(event->key);
		record->key =
			outbox_utf8("key", VARDATA_ANY(event->key), &record->key_bytes);
		record->bytes += record->key_bytes;
	}
	record->payload = NULL;
	record->payload_bytes = 0;
	if (event->payload)
	{
		record->payload = VARDATA_ANY(event->payload);
		record->payload_bytes = VARSIZE_ANY_EXHDR(event->payload);
		record->bytes += record->payload_bytes;
	}
	record->timestamp_ms =
		(event->emitted_at +
		 (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY) /
		1000;

	if (!set_headers(record, event, envelope, text))
	{
		snprintf(error, OUTBOX_SINK_ERROR_MAX,
				 "an event can have %lld MB in all, its headers counted with "
				 "what they cost in memory",
				 (long long) (RECORD_MAX_BYTES / (1024 * 1024)));
		return false;
	}
	return true;
}

/* Bytes of a record's key, payload and headers */
uint32
outbox_record_size(const OutboxRecord *record)
{
	uint32 size = (uint32) record->key_bytes + (uint32) record->payload_bytes;

	for (int i = 0; i < record->header_count; i++)
		size += (uint32) record->headers[i].name_bytes +
				(uint32) record->headers[i].value_bytes;
	return size;
}
