/*-------------------------------------------------------------------------
 *
 * span_context.h
 *	  The trace in a column tracingspancontext.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_SPAN_CONTEXT_H
#define OUTBOX_SPAN_CONTEXT_H

#include "outbox.h"

#include "utils/jsonb.h"

extern Jsonb *outbox_span_context_headers(Jsonb *headers, const text *column);

#endif /* OUTBOX_SPAN_CONTEXT_H */
