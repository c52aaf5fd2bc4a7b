/*-------------------------------------------------------------------------
 *
 * event_log.c
 *	  The lines of the log that are about one event, in one form:
 *
 *	  outbox relay for database "app": event 0198... (id 7, topic "orders",
 *	  key "42", trace 4bf9...) is a dead letter: ...
 *
 * What the application has written is in quotes, as JSON writes it: one line,
 * whatever it contains, and of a long key the beginning. There may be very
 * many such lines; only some are written, and how many were not. With
 * outbox.log_events all are, and one for each event that is acknowledged.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include <ctype.h>

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"

#include "guc.h"
#include "shared/event_log.h"
#include "shared/my_relay.h"
#include "sink/kind.h"
#include "sink/line_limit.h"

/* so many lines at once, and in the long run one in so much time */
#define LINES_AT_ONCE   10
#define LINE_EVERY_MS   6000

/* what is told of a key */
#define KEY_MAX         100

/* in a traceparent: two digits, "-", and these */
#define TRACE_ID_OFFSET 3
#define TRACE_ID_DIGITS 32

/* A text in quotes, or its beginning */
static void
append_quoted(StringInfo name, const text *value, int max_bytes)
{
	const char *bytes = VARDATA_ANY(value);
	int len = VARSIZE_ANY_EXHDR(value);
	int shown = pg_mbcliplen(bytes, len, max_bytes);
	char *string = pnstrdup(bytes, shown);

	escape_json(name, string);
	if (shown < len)
		appendStringInfoString(name, "...");
	pfree(string);
}

/* The trace that an event is part of, if its headers tell */
static void
append_trace(StringInfo name, Jsonb *headers)
{
	static const char header[] = "traceparent";
	JsonbValue value;
	const char *id;
	int digits = 0;

	if (!JB_ROOT_IS_OBJECT(headers) ||
		getKeyJsonValueFromContainer(&headers->root, header,
									 sizeof(header) - 1, &value) == NULL ||
		value.type != jbvString ||
		value.val.string.len < TRACE_ID_OFFSET + TRACE_ID_DIGITS)
		return;
	id = value.val.string.val + TRACE_ID_OFFSET;
	while (digits < TRACE_ID_DIGITS && isxdigit((unsigned char) id[digits]))
		digits++;
	if (digits == TRACE_ID_DIGITS)
		appendStringInfo(name, ", trace %.*s", TRACE_ID_DIGITS, id);
}

/* What an event is called, palloc'd */
char *
outbox_event_log_name(const OutboxEvent *event)
{
	StringInfoData name;

	initStringInfo(&name);
	appendStringInfo(&name, "event %s (id %llu, topic ",
					 DatumGetCString(DirectFunctionCall1(
						 uuid_out, UUIDPGetDatum(event->event_id))),
					 (unsigned long long) event->id);
	append_quoted(&name, event->topic, OUTBOX_TOPIC_MAX);
	if (event->key != NULL)
	{
		appendStringInfoString(&name, ", key ");
		append_quoted(&name, event->key, KEY_MAX);
	}
	if (event->headers != NULL)
		append_trace(&name, event->headers);
	appendStringInfoChar(&name, ')');
	return name.data;
}

/* The same for one of which no more is known; event_id and topic may be
 * NULL. */
char *
outbox_event_log_name_of(uint64 id, const char *event_id, const char *topic)
{
	StringInfoData name;

	initStringInfo(&name);
	appendStringInfo(&name, "event %s%s(id %llu", event_id ? event_id : "",
					 event_id ? " " : "", (unsigned long long) id);
	if (topic != NULL)
	{
		appendStringInfoString(&name, ", topic ");
		append_quoted(&name, cstring_to_text(topic), OUTBOX_TOPIC_MAX);
	}
	appendStringInfoChar(&name, ')');
	return name.data;
}

static OutboxLineLimit limit;

static bool
is_allowed(void)
{
	return outbox_log_events ||
		   outbox_line_limit_allows(&limit, LINES_AT_ONCE, LINE_EVERY_MS);
}

static void
write_line(const char *name, const char *what, const char *why)
{
	/* what has become of the event is noted by who tells it, afterwards */
	HOLD_INTERRUPTS();
	ereport(LOG,
			(errmsg("%s: %s %s: %s", outbox_my_relay.label, name, what, why),
			 outbox_line_limit_detail(&limit)));
	RESUME_INTERRUPTS();
}

/* Tells what has become of an event, and why, if there are not too many. */
void
outbox_event_log(const OutboxEvent *event, const char *what, const char *why)
{
	char *name;

	if (!is_allowed())
		return;
	name = outbox_event_log_name(event);
	write_line(name, what, why);
	pfree(name);
}

/* The same of one that has been named before */
void
outbox_event_log_named(const char *name, const char *what, const char *why)
{
	if (is_allowed())
		write_line(name, what, why);
}

/* With outbox.log_events: how long it has waited, and been on its way. */
void
outbox_event_log_acknowledged(const char *name, int64 queued_us, int64 sent_us)
{
	HOLD_INTERRUPTS();
	ereport(LOG, (errmsg("%s: %s is acknowledged: %.3f ms queued, %.3f ms "
						 "sent",
						 outbox_my_relay.label, name,
						 (double) queued_us / 1000, (double) sent_us / 1000)));
	RESUME_INTERRUPTS();
}
