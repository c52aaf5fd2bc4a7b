/*-------------------------------------------------------------------------
 *
 * incoming.c
 *	  A message, from what the broker has, which is bytes, to outbox.message,
 *	  which is what a handler is given.
 *
 * Text comes in UTF-8. What is no text of the database's encoding is not
 * refused, nor changed: a key then is shown as hexadecimal digits (its bytes
 * are beside it), a header as {"base64": "..."}, as outbox_emit() takes it.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "compat.h"
#include "subscribe/incoming.h"

#define MESSAGE_TYPE   "message"
#define MESSAGE_ID_MAX 1000

/* what we keep of a message in memory, and can give to a function; in headers,
 * what jsonb can hold */
#define DATA_MAX       (256 * 1024 * 1024)
#define HEADERS_MAX    (64 * 1024 * 1024)
#define HEADER_NUMBER  1000000

/* columns of outbox.message */
enum
{
	COLUMN_SUBSCRIPTION,
	COLUMN_TOPIC,
	COLUMN_PARTITION,
	COLUMN_OFFSET,
	COLUMN_KEY,
	COLUMN_KEY_BYTES,
	COLUMN_PAYLOAD,
	COLUMN_HEADERS,
	COLUMN_PUBLISHED_AT,
	COLUMN_MESSAGE_ID,
	COLUMN_ATTEMPT,
	COLUMNS
};

static const Oid column_types[COLUMNS] = {
	[COLUMN_SUBSCRIPTION] = TEXTOID,
	[COLUMN_TOPIC] = TEXTOID,
	[COLUMN_PARTITION] = INT4OID,
	[COLUMN_OFFSET] = INT8OID,
	[COLUMN_KEY] = TEXTOID,
	[COLUMN_KEY_BYTES] = BYTEAOID,
	[COLUMN_PAYLOAD] = BYTEAOID,
	[COLUMN_HEADERS] = JSONBOID,
	[COLUMN_PUBLISHED_AT] = TIMESTAMPTZOID,
	[COLUMN_MESSAGE_ID] = TEXTOID,
	[COLUMN_ATTEMPT] = INT4OID,
};

/* which headers name a message, unless the subscription says it */
static const char *const id_headers[] = {"event_id", "id", "ce_id"};

/* valid for the transaction in which it was prepared */
static TupleDesc columns = NULL;
static text *subscription = NULL;

/* Can the message be kept in memory, and given to a handler? */
bool
outbox_incoming_fits(const OutboxSourceMessage *source)
{
	size_t bytes = 0;

	if (source->header_count > HEADER_NUMBER)
		return false;
	for (int i = 0; i < source->header_count; i++)
		bytes += (size_t) source->headers[i].name_bytes +
				 (size_t) source->headers[i].value_bytes;
	return bytes <= HEADERS_MAX && source->key_bytes <= DATA_MAX &&
		   source->payload_bytes <= DATA_MAX - source->key_bytes;
}

/* A time of the broker; 0 if there is none, or none that we know */
TimestampTz
outbox_incoming_time(int64 timestamp_ms)
{
	const int64 epoch_ms = (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) *
						   SECS_PER_DAY * 1000;
	TimestampTz time;

	if (timestamp_ms < 0 || timestamp_ms > PG_INT64_MAX / 1000)
		return 0;
	time = (timestamp_ms - epoch_ms) * 1000;
	return IS_VALID_TIMESTAMP(time) ? time : 0;
}

/* The type outbox.message; InvalidOid if it is not there */
Oid
outbox_incoming_type(void)
{
	return GetSysCacheOid2(
		TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum(MESSAGE_TYPE),
		ObjectIdGetDatum(get_namespace_oid(OUTBOX_SCHEMA, false)));
}

/* Looks up what is needed for the messages of a transaction. Raises 55000 if
 * the type is another one than this library knows. */
void
outbox_incoming_prepare(MemoryContext context)
{
	MemoryContext old_context = MemoryContextSwitchTo(context);
	Oid type = outbox_incoming_type();
	bool same = OidIsValid(type);

	columns = NULL;
	if (same)
	{
		columns = lookup_rowtype_tupdesc_copy(type, -1);
		same = (columns->natts == COLUMNS);
	}
	for (int i = 0; same && i < COLUMNS; i++)
		same = TupleDescAttr(columns, i)->atttypid == column_types[i];
	if (!same)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("type \"%s.%s\" is not of outbox version %s",
						OUTBOX_SCHEMA, MESSAGE_TYPE, OUTBOX_VERSION),
				 errhint("Run ALTER EXTENSION %s UPDATE, or restart the "
						 "server with the library of the extension's version.",
						 OUTBOX_EXTENSION)));
	subscription = cstring_to_text(outbox_subscriber.subscription->name);
	MemoryContextSwitchTo(old_context);
}

static bool
is_ascii(const char *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++)
	{
		if (IS_HIGHBIT_SET(bytes[i]))
			return false;
	}
	return true;
}

/* Text in UTF-8, in the database's encoding; NULL if it is none */
static text *
to_text(const char *bytes, size_t count)
{
	int encoding = GetDatabaseEncoding();
	size_t room = count * MAX_CONVERSION_GROWTH + 1;
	char *converted;
	text *result = NULL;
	Oid conversion;

	if (!pg_verify_mbstr(PG_UTF8, bytes, (int) count, true))
		return NULL;
	if (encoding == PG_UTF8 || encoding == PG_SQL_ASCII ||
		is_ascii(bytes, count))
		return cstring_to_text_with_len(bytes, (int) count);
	conversion = FindDefaultConversionProc(PG_UTF8, encoding);
	if (!OidIsValid(conversion))
		return NULL;
	converted = MemoryContextAllocHuge(CurrentMemoryContext, room);
	if (pg_do_encoding_conversion_buf(
			conversion, PG_UTF8, encoding,
			(unsigned char *) unconstify(char *, bytes), (int) count,
			(unsigned char *) converted, (int) Min(room, PG_INT32_MAX),
			true) == (int) count)
		result = cstring_to_text(converted);
	pfree(converted);
	return result;
}

/* The same, or the bytes as \x and hexadecimal digits */
static text *
to_text_or_hex(const char *bytes, size_t count)
{
	text *result = to_text(bytes, count);
	char *digits;

	if (result != NULL)
		return result;
	result = palloc(VARHDRSZ + 2 + 2 * count);
	SET_VARSIZE(result, VARHDRSZ + 2 + 2 * count);
	digits = VARDATA(result);
	memcpy(digits, "\\x", 2);
	hex_encode(bytes, count, digits + 2);
	return result;
}

static void
push_text(JsonbParseState **state, JsonbIteratorToken token, text *value)
{
	JsonbValue string = {.type = jbvString};

	string.val.string.val = VARDATA_ANY(value);
	string.val.string.len = VARSIZE_ANY_EXHDR(value);
	(void) pushJsonbValue(state, token, &string);
}

/* A header's value, as an element of an array, or the value of a field */
static void
push_value(JsonbParseState **state, JsonbIteratorToken token,
		   const OutboxHeader *header)
{
	JsonbValue null = {.type = jbvNull};
	int room = pg_b64_enc_len(header->value_bytes);
	text *value;

	if (header->value == NULL)
	{
		(void) pushJsonbValue(state, token, &null);
		return;
	}
	value = to_text(header->value, (size_t) header->value_bytes);
	if (value != NULL)
	{
		push_text(state, token, value);
		return;
	}
	value = palloc(VARHDRSZ + room);
	room = outbox_b64_encode(header->value, header->value_bytes,
							 VARDATA(value), room);
	SET_VARSIZE(value, VARHDRSZ + room);
	(void) pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	push_text(state, WJB_KEY, cstring_to_text("base64"));
	push_text(state, WJB_VALUE, value);
	(void) pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/* By names; those of one name in their order */
static int
compare_headers(const void *a, const void *b)
{
	const OutboxHeader *x = *(const OutboxHeader *const *) a;
	const OutboxHeader *y = *(const OutboxHeader *const *) b;
	int order = memcmp(x->name, y->name, Min(x->name_bytes, y->name_bytes));

	if (order == 0)
		order = x->name_bytes - y->name_bytes;
	if (order == 0)
		order = (x > y) - (x < y);
	return order;
}

static bool
is_same_name(const OutboxHeader *a, const OutboxHeader *b)
{
	return a->name_bytes == b->name_bytes &&
		   memcmp(a->name, b->name, a->name_bytes) == 0;
}

/* All of them as an object. A name that repeats has an array. */
static Jsonb *
headers_to_jsonb(const OutboxHeader *headers, int count)
{
	const OutboxHeader **sorted = palloc(sizeof(*sorted) * Max(count, 1));
	JsonbParseState *state = NULL;
	int next;

	for (int i = 0; i < count; i++)
		sorted[i] = &headers[i];
	qsort(sorted, count, sizeof(*sorted), compare_headers);
	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < count; i = next)
	{
		next = i + 1;
		while (next < count && is_same_name(sorted[i], sorted[next]))
			next++;
		push_text(
			&state, WJB_KEY,
			to_text_or_hex(sorted[i]->name, (size_t) sorted[i]->name_bytes));
		if (next == i + 1)
		{
			push_value(&state, WJB_VALUE, sorted[i]);
			continue;
		}
		(void) pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
		for (int j = i; j < next; j++)
			push_value(&state, WJB_ELEM, sorted[j]);
		(void) pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* What the header of that name says, the last one if there are several; NULL
 * if there is none, or it cannot be the id of a message */
static text *
id_in(const OutboxHeader *headers, int count, const char *name)
{
	int name_bytes = (int) strlen(name);
	text *id;

	for (int i = count - 1; i >= 0; i--)
	{
		if (headers[i].name_bytes != name_bytes ||
			memcmp(headers[i].name, name, name_bytes) != 0)
			continue;
		if (headers[i].value == NULL || headers[i].value_bytes == 0 ||
			headers[i].value_bytes > MESSAGE_ID_MAX)
			return NULL;
		id = to_text(headers[i].value, (size_t) headers[i].value_bytes);
		return id != NULL && VARSIZE_ANY_EXHDR(id) <= MESSAGE_ID_MAX ? id
																	 : NULL;
	}
	return NULL;
}

/* Takes a message's headers, and its id, from what the broker has. They are in
 * the current memory context. */
void
outbox_incoming_set_headers(OutboxMessage *message,
							const OutboxHeader *headers, int count)
{
	const char *name = outbox_subscriber.subscription->id_header;

	message->headers = headers_to_jsonb(headers, count);
	message->message_id = NULL;
	if (name != NULL)
		message->message_id = id_in(headers, count, name);
	for (size_t i = 0; name == NULL && message->message_id == NULL &&
					   i < lengthof(id_headers);
		 i++)
		message->message_id = id_in(headers, count, id_headers[i]);
}

/* A message's key as it is shown; NULL = it has none */
text *
outbox_incoming_key(const OutboxMessage *message)
{
	if (message->key == NULL)
		return NULL;
	return to_text_or_hex(VARDATA_ANY(message->key),
						  VARSIZE_ANY_EXHDR(message->key));
}

/* The message as outbox.message, in the current memory context; after
 * outbox_incoming_prepare() in the current transaction */
Datum
outbox_incoming_datum(const OutboxMessage *message)
{
	Datum values[COLUMNS];
	bool nulls[COLUMNS] = {0};

	values[COLUMN_SUBSCRIPTION] = PointerGetDatum(subscription);
	values[COLUMN_TOPIC] = CStringGetTextDatum(message->topic);
	values[COLUMN_PARTITION] = Int32GetDatum(message->number);
	values[COLUMN_OFFSET] = Int64GetDatum(message->offset);
	nulls[COLUMN_KEY] = nulls[COLUMN_KEY_BYTES] = (message->key == NULL);
	values[COLUMN_KEY] = PointerGetDatum(outbox_incoming_key(message));
	values[COLUMN_KEY_BYTES] = PointerGetDatum(message->key);
	nulls[COLUMN_PAYLOAD] = (message->payload == NULL);
	values[COLUMN_PAYLOAD] = PointerGetDatum(message->payload);
	values[COLUMN_HEADERS] = JsonbPGetDatum(message->headers);
	nulls[COLUMN_PUBLISHED_AT] = (message->published_at == 0);
	values[COLUMN_PUBLISHED_AT] = TimestampTzGetDatum(message->published_at);
	values[COLUMN_MESSAGE_ID] =
		message->message_id != NULL
			? PointerGetDatum(message->message_id)
			: CStringGetTextDatum(psprintf("%s/%d/%lld", message->topic,
										   message->number,
										   (long long) message->offset));
	values[COLUMN_ATTEMPT] = Int32GetDatum(message->attempt);
	return HeapTupleGetDatum(heap_form_tuple(columns, values, nulls));
}
