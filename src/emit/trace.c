/*-------------------------------------------------------------------------
 *
 * trace.c
 *	  Headers that tell which trace an event is part of: what the session
 *	  has set in outbox.traceparent and outbox.tracestate, as it is at the
 *	  call.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "utils/fmgrprotos.h"

#include "emit/trace.h"
#include "guc_trace.h"

#define HEADER_TRACEPARENT "traceparent"
#define HEADER_TRACESTATE  "tracestate"

static void
push_string(JsonbParseState **state, JsonbIteratorToken token,
			const char *string)
{
	JsonbValue value;

	value.type = jbvString;
	value.val.string.val = unconstify(char *, string);
	value.val.string.len = (int) strlen(string);
	pushJsonbValue(state, token, &value);
}

/* The session's trace, as headers */
static Jsonb *
session_trace(void)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_string(&state, WJB_KEY, HEADER_TRACEPARENT);
	push_string(&state, WJB_VALUE, outbox_traceparent);
	if (outbox_tracestate[0] != '\0')
	{
		push_string(&state, WJB_KEY, HEADER_TRACESTATE);
		push_string(&state, WJB_VALUE, outbox_tracestate);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

static bool
has_header(Jsonb *headers, const char *name)
{
	JsonbValue value;

	return getKeyJsonValueFromContainer(&headers->root, name,
										(int) strlen(name), &value) != NULL;
}

/*
 * The event's headers, which may be NULL, with those of the session's trace.
 * One that the event has wins; and if it has a traceparent, it is part of
 * that trace, to which the session's tracestate does not belong. Headers that
 * are no object are left to be refused.
 */
Jsonb *
outbox_trace_headers(Jsonb *headers)
{
	if (likely(outbox_traceparent[0] == '\0'))
		return headers;
	if (headers == NULL)
		return session_trace();
	if (!JB_ROOT_IS_OBJECT(headers) || has_header(headers, HEADER_TRACEPARENT))
		return headers;
	return DatumGetJsonbP(DirectFunctionCall2(jsonb_concat,
											  JsonbPGetDatum(session_trace()),
											  JsonbPGetDatum(headers)));
}
