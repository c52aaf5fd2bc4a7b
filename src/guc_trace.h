/*-------------------------------------------------------------------------
 *
 * guc_trace.h
 *	  The trace that the session is in.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_GUC_TRACE_H
#define OUTBOX_GUC_TRACE_H

/* of W3C Trace Context: headers, and how many bytes they have at most */
#define OUTBOX_HEADER_TRACEPARENT "traceparent"
#define OUTBOX_HEADER_TRACESTATE  "tracestate"
#define OUTBOX_TRACEPARENT_BYTES  55
#define OUTBOX_TRACESTATE_MAX     512

extern char *outbox_traceparent; /* empty = none */
extern char *outbox_tracestate;
extern bool outbox_trace_from_comment;

extern bool outbox_is_traceparent(const char *value);
extern bool outbox_is_tracestate(const char *value);
extern void outbox_guc_trace_define(void);

#endif /* OUTBOX_GUC_TRACE_H */
