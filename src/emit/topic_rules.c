/*-------------------------------------------------------------------------
 *
 * topic_rules.c
 *	  What outbox.set_topic_rule() asks of events by their topic, and what it
 *	  gives to those that come without.
 *
 * One rule is for an event: of those whose pattern its topic matches, the one
 * that says most. All are remembered until the table changes. As long as there
 * are none, an event costs a look at a counter.
 *
 * A schema's id is put in here, not when the event is published: it belongs to
 * the payload as it was written. So events that are replayed, delayed or
 * requeued keep the one that they have.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "catalog/namespace.h"
#include "catalog/pg_collation.h"
#include "common/base64.h"
#include "mb/pg_wchar.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "compat.h"
#include "emit/topic_rules.h"
#include "event.h"
#include "format/topic_pattern.h"

/* by the conventions of Confluent: a zero byte and the id in front of the
 * payload; or the header, with a byte of one and the GUID */
#define SCHEMA_PREFIX_BYTES 5
#define SCHEMA_GUID_BYTES   (1 + UUID_LEN)

/* a longer key matches no pattern: a regular expression takes four times its
 * memory, and more than can be had of one of hundreds of megabytes */
#define MATCHED_KEY_MAX     (1024 * 1024)

/* a rule, as it is remembered */
typedef struct RememberedRule
{
	OutboxTopicRule rule;
	int stars;      /* in its pattern, ... */
	int literals;   /* ... and other characters */
	Jsonb *headers; /* that it adds, or NULL */
} RememberedRule;

static List *rules = NIL; /* the one that says most first */
static bool are_known = false;

/* holds them */
static MemoryContext rules_context = NULL;

/* the table from which they were read; InvalidOid: there was none */
static Oid rules_table = InvalidOid;

/* counts what may have changed them */
static uint32 changes = 0;

/* A table has changed, perhaps ours; InvalidOid: perhaps any. What is
 * remembered is still there for the event that is being emitted. */
static void
table_changed(Datum arg, Oid table)
{
	(void) arg;
	if (!OidIsValid(table) || !OidIsValid(rules_table) || table == rules_table)
	{
		changes++;
		are_known = false;
	}
}

/* Says one more than the other? The longer pattern does, and first of all one
 * without a star. */
static int
compare(const ListCell *a, const ListCell *b)
{
	const RememberedRule *one = lfirst(a);
	const RememberedRule *other = lfirst(b);

	if ((one->stars == 0) != (other->stars == 0))
		return one->stars == 0 ? -1 : 1;
	if (one->literals != other->literals)
		return one->literals > other->literals ? -1 : 1;
	if (one->stars != other->stars)
		return one->stars < other->stars ? -1 : 1;
	return strcmp(text_to_cstring(one->rule.pattern),
				  text_to_cstring(other->rule.pattern));
}

/* {"__value_schema_id": {"base64": "..."}} */
static Jsonb *
schema_header(const pg_uuid_t *guid)
{
	char bytes[SCHEMA_GUID_BYTES] = {1};
	char base64[64];
	int length;

	memcpy(bytes + 1, guid->data, UUID_LEN);
	length = outbox_b64_encode(bytes, sizeof(bytes), base64, sizeof(base64));
	return DatumGetJsonbP(DirectFunctionCall1(
		jsonb_in, CStringGetDatum(psprintf("{\"" OUTBOX_HEADER_VALUE_SCHEMA
										   "\": {\"base64\": \"%.*s\"}}",
										   length, base64))));
}

static RememberedRule *
remember(const OutboxTopicRule *rule)
{
	RememberedRule *remembered = palloc0(sizeof(RememberedRule));
	const char *pattern = VARDATA_ANY(rule->pattern);
	int length = VARSIZE_ANY_EXHDR(rule->pattern);

	remembered->rule = *rule;
	for (int i = 0; i < length; i++)
	{
		if (pattern[i] == '*')
			remembered->stars++;
	}
	remembered->literals = length - remembered->stars;
	if (rule->schema_header)
		remembered->headers = schema_header(&rule->schema_guid);
	return remembered;
}

/* Reads all rules. */
static void
load(void)
{
	uint32 before;
	MemoryContext old_context;
	ListCell *cell;

	if (rules_context == NULL)
	{
		rules_context = AllocSetContextCreate(
			TopMemoryContext, "outbox topic rules", ALLOCSET_SMALL_SIZES);
		CacheRegisterRelcacheCallback(table_changed, (Datum) 0);
	}
	rules = NIL;
	MemoryContextReset(rules_context);
	before = changes;
	rules_table = get_relname_relid(OUTBOX_RULES_TABLE,
									get_namespace_oid(OUTBOX_SCHEMA, true));
	old_context = MemoryContextSwitchTo(rules_context);
	/* there is none in an older version of the extension */
	if (OidIsValid(rules_table))
	{
		List *read = outbox_topic_rules_read(rules_table);

		foreach (cell, read)
			rules = lappend(rules, remember(lfirst(cell)));
	}
	list_sort(rules, compare);
	MemoryContextSwitchTo(old_context);
	are_known = (changes == before);
}

/*
 * The rule for a topic, or NULL. Valid until the next call. In a transaction
 * that has joined those that emit, so that the extension stays what it is.
 */
const OutboxTopicRule *
outbox_topic_rule_of(const text *topic)
{
	ListCell *cell;

	if (!are_known)
		load();
	foreach (cell, rules)
	{
		const RememberedRule *remembered = lfirst(cell);
		const text *pattern = remembered->rule.pattern;

		if (outbox_topic_pattern_matches(
				VARDATA_ANY(pattern), VARSIZE_ANY_EXHDR(pattern),
				VARDATA_ANY(topic), VARSIZE_ANY_EXHDR(topic)))
			return &remembered->rule;
	}
	return NULL;
}

static void
refuse(const OutboxTopicRule *rule, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_CHECK_VIOLATION),
			 errmsg("event is not as the rule for topic \"%s\" asks for",
					text_to_cstring(rule->pattern)),
			 errdetail_internal("%s", detail),
			 errhint("outbox.topic_rule shows what it asks for.")));
}

static void
check_key(const OutboxTopicRule *rule, Datum key, bool is_null)
{
	if (is_null)
	{
		if (rule->key_required)
			refuse(rule, "It has no key.");
		return;
	}
	if (rule->key_pattern == NULL)
		return;
	if (VARSIZE_ANY_EXHDR(DatumGetPointer(key)) > MATCHED_KEY_MAX)
		refuse(rule, psprintf("Its key is longer than %d bytes, so it is not "
							  "compared with the pattern.",
							  MATCHED_KEY_MAX));
	if (!DatumGetBool(
			DirectFunctionCall2Coll(textregexeq, C_COLLATION_OID, key,
									PointerGetDatum(rule->key_pattern))))
		refuse(rule, psprintf("Its key does not match the pattern \"%s\".",
							  text_to_cstring(rule->key_pattern)));
}

/* Is it an object of JSON, in UTF-8? */
static bool
is_json_object(const char *json, int bytes)
{
	int start = 0;

	while (start < bytes && memchr(" \t\n\r", json[start], 4) != NULL)
		start++;
	return start < bytes && json[start] == '{' &&
		   pg_verify_mbstr(PG_UTF8, json, bytes, true) &&
		   outbox_json_is_valid(json, bytes);
}

/* The payload with the schema's id in front of it */
static bytea *
add_prefix(int32 schema_id, const bytea *payload)
{
	Size bytes = VARSIZE_ANY_EXHDR(payload);
	bytea *result = palloc(VARHDRSZ + SCHEMA_PREFIX_BYTES + bytes);
	uint32 id = pg_hton32((uint32) schema_id);

	SET_VARSIZE(result, VARHDRSZ + SCHEMA_PREFIX_BYTES + bytes);
	VARDATA(result)[0] = 0;
	memcpy(VARDATA(result) + 1, &id, sizeof(id));
	memcpy(VARDATA(result) + SCHEMA_PREFIX_BYTES, VARDATA_ANY(payload), bytes);
	return result;
}

/* Checks a payload, and says by which schema it was written. A tombstone has
 * none. */
static void
apply_to_payload(const OutboxTopicRule *rule, Datum *values, bool *nulls)
{
	const RememberedRule *remembered = (const RememberedRule *) rule;
	bytea *payload;

	if (nulls[OUTBOX_EVENT_PAYLOAD])
		return;
	payload = (bytea *) DatumGetPointer(values[OUTBOX_EVENT_PAYLOAD]);
	if (rule->object_required &&
		!is_json_object(VARDATA_ANY(payload), VARSIZE_ANY_EXHDR(payload)))
		refuse(rule, "Its payload is not a JSON object.");
	if (rule->schema_prefix)
		values[OUTBOX_EVENT_PAYLOAD] =
			PointerGetDatum(add_prefix(rule->schema_id, payload));
	if (remembered->headers == NULL)
		return;
	/* one of the event's own with that name stays */
	values[OUTBOX_EVENT_HEADERS] =
		nulls[OUTBOX_EVENT_HEADERS]
			? PointerGetDatum(remembered->headers)
			: DirectFunctionCall2(jsonb_concat,
								  PointerGetDatum(remembered->headers),
								  values[OUTBOX_EVENT_HEADERS]);
	nulls[OUTBOX_EVENT_HEADERS] = false;
}

/*
 * Checks an event by its rule, and fills in what it comes without. Raises
 * 23514, which says what is missing. What it is given is counted by
 * outbox_event_check(), and so is checked after that.
 */
void
outbox_topic_rule_apply(const OutboxTopicRule *rule, Datum *values,
						bool *nulls)
{
	for (int i = 0; i < OUTBOX_RULE_ATTRIBUTES; i++)
	{
		int column = OUTBOX_EVENT_TYPE + i;

		if (!nulls[column] || rule->attributes[i] == NULL)
			continue;
		values[column] = PointerGetDatum(rule->attributes[i]);
		nulls[column] = false;
	}
	check_key(rule, values[OUTBOX_EVENT_KEY], nulls[OUTBOX_EVENT_KEY]);
	apply_to_payload(rule, values, nulls);
}

/* Is the event not too large for its rule? bytes: all of it, as it is sent */
void
outbox_topic_rule_check_size(const OutboxTopicRule *rule, Size bytes)
{
	if (rule->max_size > 0 && bytes > (Size) rule->max_size)
		refuse(rule,
			   psprintf("It has %zu bytes as it is sent, and may have %d.",
						bytes, rule->max_size));
}
