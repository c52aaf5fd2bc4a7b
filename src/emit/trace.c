/*-------------------------------------------------------------------------
 *
 * trace.c
 *	  Headers that tell which trace an event is part of: what the session
 *	  has set in outbox.traceparent and outbox.tracestate, as it is at the
 *	  call; or, with outbox.trace_from_comment, what the statement says.
 *
 *-------------------------------------------------------------------------
 */
#include "outbox.h"

#include "utils/fmgrprotos.h"

#include "emit/trace.h"
#include "emit/trace_comment.h"
#include "guc_trace.h"

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

static Jsonb *
trace_headers(const char *parent, const char *state)
{
	JsonbParseState *json = NULL;

	pushJsonbValue(&json, WJB_BEGIN_OBJECT, NULL);
	push_string(&json, WJB_KEY, OUTBOX_HEADER_TRACEPARENT);
	push_string(&json, WJB_VALUE, parent);
	if (state[0] != '\0')
	{
		push_string(&json, WJB_KEY, OUTBOX_HEADER_TRACESTATE);
		push_string(&json, WJB_VALUE, state);
	}
	return JsonbValueToJsonb(pushJsonbValue(&json, WJB_END_OBJECT, NULL));
}

/* The trace that the call is part of, as headers; NULL if there is none. */
static Jsonb *
current_trace(void)
{
	const OutboxTrace *comment;

	if (outbox_traceparent[0] != '\0')
		return trace_headers(outbox_traceparent, outbox_tracestate);
	comment = outbox_trace_comment();
	return comment != NULL ? trace_headers(comment->parent, comment->state)
						   : NULL;
}

static bool
has_header(Jsonb *headers, const char *name)
{
	JsonbValue value;

	return getKeyJsonValueFromContainer(&headers->root, name,
										(int) strlen(name), &value) != NULL;
}

/*
 * The event's headers, which may be NULL, with those of its trace. One that
 * the event has wins; and if it has a traceparent, it is part of that trace,
 * to which the session's tracestate does not belong. Headers that are no
 * object are left to be refused.
 */
Jsonb *
outbox_trace_headers(Jsonb *headers)
{
	Jsonb *trace;

	if (likely(outbox_traceparent[0] == '\0' && !outbox_trace_from_comment))
		return headers;
	if (headers != NULL && (!JB_ROOT_IS_OBJECT(headers) ||
							has_header(headers, OUTBOX_HEADER_TRACEPARENT)))
		return headers;
	trace = current_trace();
	if (trace == NULL || headers == NULL)
		return trace != NULL ? trace : headers;
	return DatumGetJsonbP(DirectFunctionCall2(
		jsonb_concat, JsonbPGetDatum(trace), JsonbPGetDatum(headers)));
}
