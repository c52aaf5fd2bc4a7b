/*-------------------------------------------------------------------------
 *
 * view_rows.h
 *	  What a view of events shows.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_VIEW_ROWS_H
#define OUTBOX_VIEW_ROWS_H

#include "outbox.h"

#include "fmgr.h"

/* An event's origin, xact_buffer.h: a view, and by how many bytes the rule of
 * its topic has made the payload longer, in front */
#define OUTBOX_VIEW_GROWN      7u
#define OUTBOX_VIEW_OF(origin) ((origin) & ~OUTBOX_VIEW_GROWN)

extern uint32 outbox_view_hash(const char *label, int bytes);
extern PGDLLEXPORT Datum outbox_event_view_rows(PG_FUNCTION_ARGS);

#endif /* OUTBOX_VIEW_ROWS_H */
