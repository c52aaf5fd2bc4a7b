/*-------------------------------------------------------------------------
 *
 * guc_trace.h
 *	  The trace that the session is in.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_GUC_TRACE_H
#define OUTBOX_GUC_TRACE_H

extern char *outbox_traceparent; /* empty = none */
extern char *outbox_tracestate;

extern void outbox_guc_trace_define(void);

#endif /* OUTBOX_GUC_TRACE_H */
