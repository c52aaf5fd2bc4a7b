/*-------------------------------------------------------------------------
 *
 * trace.h
 *	  Headers that tell which trace an event is part of.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_TRACE_H
#define OUTBOX_TRACE_H

#include "outbox.h"

#include "utils/jsonb.h"

extern Jsonb *outbox_trace_headers(Jsonb *headers);

#endif /* OUTBOX_TRACE_H */
