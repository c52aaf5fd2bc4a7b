/*-------------------------------------------------------------------------
 *
 * plan.h
 *	  How the rows of a table become events of a topic.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_CAPTURE_PLAN_H
#define OUTBOX_CAPTURE_PLAN_H

#include "outbox.h"

#include "utils/relcache.h"

#include "capture/json.h"

/* A column that is published */
typedef struct OutboxCaptureColumn
{
	AttrNumber number; /* in the table */
	const char *name;
	const char *prefix; /* "field": */
	int prefix_bytes;
	OutboxJsonType type;
	/* to compare values */
	int16 length;
	bool by_value;
} OutboxCaptureColumn;

/* A row of outbox.capture, for a table: the one that was published, or one of
 * its partitions */
typedef struct OutboxCapturePlan
{
	text *topic;
	int columns;
	OutboxCaptureColumn *column;
	int key_columns; /* 0: events have no key */
	OutboxCaptureColumn *key_column;
	bool settings; /* must be pinned to write them */
	bool key_settings;
	const char *table; /* its name */
} OutboxCapturePlan;

extern OutboxCapturePlan *outbox_capture_plan(int32 id, Relation rel);

#endif /* OUTBOX_CAPTURE_PLAN_H */
