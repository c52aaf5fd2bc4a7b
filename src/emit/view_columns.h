/*-------------------------------------------------------------------------
 *
 * view_columns.h
 *	  What the columns of a view of events are.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_VIEW_COLUMNS_H
#define OUTBOX_VIEW_COLUMNS_H

#include "outbox.h"

#include "commands/trigger.h"
#include "fmgr.h"

#include "event.h"

/* What a column is, if it is none of an event's */
enum
{
	OUTBOX_VIEW_TRACING = OUTBOX_DELAYED_COLUMNS,
	OUTBOX_VIEW_HEADER
};

typedef struct OutboxViewColumn
{
	int what;           /* OutboxEventColumn, or one of those above */
	const char *header; /* its name */
	Oid type;           /* not a domain */
} OutboxViewColumn;

/* What the trigger's arguments say, for the time of a query */
typedef struct OutboxView
{
	const char *label;
	const char *prefix; /* of topics */
	int id_column;      /* which column is event_id, and ... */
	int topic_column;   /* ... which one topic */
	int columns;
	OutboxViewColumn column[FLEXIBLE_ARRAY_MEMBER];
} OutboxView;

extern void outbox_view_refuse_trigger(void);
extern const OutboxView *outbox_view_of(const TriggerData *data,
										FmgrInfo *flinfo);
extern text *outbox_view_topic(const OutboxView *view, const text *value);

#endif /* OUTBOX_VIEW_COLUMNS_H */
