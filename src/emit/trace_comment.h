/*-------------------------------------------------------------------------
 *
 * trace_comment.h
 *	  The trace that a comment in the client's statement tells.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_TRACE_COMMENT_H
#define OUTBOX_TRACE_COMMENT_H

#include "outbox.h"

#include "guc_trace.h"

/* as they are in headers */
typedef struct OutboxTrace
{
	char parent[OUTBOX_TRACEPARENT_BYTES + 1]; /* empty = none */
	char state[OUTBOX_TRACESTATE_MAX + 1];
} OutboxTrace;

extern const OutboxTrace *outbox_trace_comment(void);

#endif /* OUTBOX_TRACE_COMMENT_H */
