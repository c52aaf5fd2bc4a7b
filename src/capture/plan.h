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

#include "access/attnum.h"
#include "utils/jsonb.h"

#include "capture/expression.h"
#include "capture/json.h"

/* A column that is published */
typedef struct OutboxCaptureColumn
{
	AttrNumber number; /* in the table */
	const char *name;
	const char *prefix; /* "field": */
	int prefix_bytes;
	OutboxJsonType type;
	OutboxCaptureExpression *computed; /* of a virtual column; or NULL */
	/* to compare values */
	int16 length;
	bool by_value;
} OutboxCaptureColumn;

/* Its value in a row */
static inline Datum
outbox_capture_value(const OutboxCaptureColumn *column, TupleTableSlot *row,
					 bool *is_null)
{
	if (unlikely(column->computed != NULL))
		return outbox_capture_evaluate(column->computed, row, is_null);
	return slot_getattr(row, column->number, is_null);
}

typedef enum OutboxCaptureFormat
{
	OUTBOX_CAPTURE_ROW,
	OUTBOX_CAPTURE_BEFORE_AFTER,
	OUTBOX_CAPTURE_DEBEZIUM,
} OutboxCaptureFormat;

/* A row of outbox.capture, for a table: the one that was published, or one of
 * its partitions */
typedef struct OutboxCapturePlan
{
	text *topic;
	Jsonb *headers; /* or NULL; likewise below */
	text *type;
	text *origin; /* the event's source */
	text *content_type;
	OutboxCaptureFormat format;
	Oid function; /* or InvalidOid; it counts, then */
	Oid function_result;
	const char *source; /* in Debezium's envelope: what is always the same */
	OutboxCaptureExpression *condition; /* or NULL */
	bool tombstones;
	bool refuses_truncate;
	int columns;
	OutboxCaptureColumn *column;
	int key_columns; /* 0: events have no key */
	OutboxCaptureColumn *key_column;
	bool settings; /* must be pinned to write them */
	bool key_settings;
	const char *table; /* its name */
} OutboxCapturePlan;

#endif /* OUTBOX_CAPTURE_PLAN_H */
