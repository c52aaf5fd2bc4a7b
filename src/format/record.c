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

/* What those of the envelope take in memory, but for one of them, which is in
 * the fixed part of a record. */
static int64
envelope_bytes(const OutboxRecord *record, int own)
{
	int64 bytes = 0;

	for (int i = own + 1; i < record->header_count; i++)
		bytes += HEADER_OVERHEAD + record->headers[i].name_bytes +
				 record->headers[i].value_bytes;
	return bytes;
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
	int count = event->headers ? (int) JB_ROOT_COUNT(event->headers) : 0;
	int64 bytes = (int64) count * HEADER_OVERHEAD;
	int topic_bytes = VARSIZE_ANY_EXHDR(event->topic);
	OutboxHeader *headers = NULL;
	OutboxHeader *header = NULL;
	int own;
	char *text;
	char *topic;

	/* most events need no more memory than this and the headers' */
	text = palloc(OUTBOX_ENVELOPE_TEXT_BYTES + topic_bytes + 1);
	topic = text + OUTBOX_ENVELOPE_TEXT_BYTES;
	memcpy(topic, VARDATA_ANY(event->topic), topic_bytes);
	topic[topic_bytes] = '\0';

	record->topic = topic;
	record->key = NULL;
	record->key_bytes = 0;
	if (event->key)
	{
		record->key_bytes = VARSIZE_ANY_EXHDR(event->key);
		record->key =
			outbox_utf8("key", VARDATA_ANY(event->key), &record->key_bytes);
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
		header = headers =
			palloc((count + OUTBOX_ENVELOPE_HEADERS) * sizeof(OutboxHeader));
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
	own = (int) (header - headers);
	header = outbox_envelope_add(envelope, event, header, text);
	record->headers = headers;
	/* fewer, if one is not sent, or somebody has written a row by hand */
	record->header_count = (int) (header - headers);
	bytes += envelope_bytes(record, own);
	record->bytes = bytes;
	return true;
}
