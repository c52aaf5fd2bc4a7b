/*-------------------------------------------------------------------------
 *
 * span_context.c
 *	  The trace in a column tracingspancontext, which Quarkus' extension for
 *	  outbox tables writes beside each event: traceparent and tracestate, in
 *	  the format of Java's properties.
 *
 *	  #Mon Nov 30 10:00:00 UTC 2026
 *	  traceparent=00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"

#include "emit/span_context.h"
#include "guc_trace.h"

#define WHITESPACE " \t\f"

typedef struct SpanContext
{
	char parent[OUTBOX_TRACEPARENT_BYTES + 1]; /* empty = none */
	char state[OUTBOX_TRACESTATE_MAX + 1];
} SpanContext;

static const char *
skip_spaces(const char *from, const char *end)
{
	while (from < end && strchr(WHITESPACE, *from) != NULL)
		from++;
	return from;
}

/* Reads a value into a string of at most max bytes, which becomes empty if it
 * does not fit. A backslash is before what means something elsewhere. */
static void
read_value(const char *from, const char *end, char *string, size_t max)
{
	size_t length = 0;

	while (from < end && length < max)
	{
		if (*from == '\\' && from + 1 < end)
			from++;
		string[length++] = *from++;
	}
	string[from == end ? length : 0] = '\0';
}

static void
read_line(const char *from, const char *end, SpanContext *context)
{
	const char *name = skip_spaces(from, end);
	const char *value = name;
	size_t length;

	if (name == end || *name == '#' || *name == '!')
		return;
	while (value < end && strchr(WHITESPACE "=:", *value) == NULL)
		value++;
	length = value - name;
	value = skip_spaces(value, end);
	if (value < end && (*value == '=' || *value == ':'))
		value = skip_spaces(value + 1, end);
	if (length == strlen(OUTBOX_HEADER_TRACEPARENT) &&
		memcmp(name, OUTBOX_HEADER_TRACEPARENT, length) == 0)
		read_value(value, end, context->parent, OUTBOX_TRACEPARENT_BYTES);
	else if (length == strlen(OUTBOX_HEADER_TRACESTATE) &&
			 memcmp(name, OUTBOX_HEADER_TRACESTATE, length) == 0)
		read_value(value, end, context->state, OUTBOX_TRACESTATE_MAX);
}

/* The headers of a trace */
static Datum
headers_of(const SpanContext *context)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfo(&json, "{\"" OUTBOX_HEADER_TRACEPARENT "\": \"%s\"",
					 context->parent);
	if (context->state[0] != '\0')
	{
		appendStringInfoString(&json, ", \"" OUTBOX_HEADER_TRACESTATE "\": ");
		escape_json(&json, context->state);
	}
	appendStringInfoChar(&json, '}');
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
}

/*
 * The event's headers, an object or NULL, with those of the trace that the
 * column tells, unless they tell one themselves. What is no trace is no error:
 * it is not the application that has written it.
 */
Jsonb *
outbox_span_context_headers(Jsonb *headers, const text *column)
{
	const char *from = VARDATA_ANY(column);
	const char *end = from + VARSIZE_ANY_EXHDR(column);
	SpanContext context = {0};
	JsonbValue value;

	while (from < end)
	{
		const char *line = from;

		while (from < end && *from != '\n' && *from != '\r')
			from++;
		read_line(line, from, &context);
		from++;
	}
	if (!outbox_is_traceparent(context.parent) ||
		(headers != NULL &&
		 getKeyJsonValueFromContainer(
			 &headers->root, OUTBOX_HEADER_TRACEPARENT,
			 (int) strlen(OUTBOX_HEADER_TRACEPARENT), &value) != NULL))
		return headers;
	/* a trace without its state is one still */
	if (!outbox_is_tracestate(context.state))
		context.state[0] = '\0';
	if (headers == NULL)
		return DatumGetJsonbP(headers_of(&context));
	return DatumGetJsonbP(DirectFunctionCall2(
		jsonb_concat, headers_of(&context), JsonbPGetDatum(headers)));
}
