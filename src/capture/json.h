/*-------------------------------------------------------------------------
 *
 * json.h
 *	  Values of columns as JSON, and as keys.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_CAPTURE_JSON_H
#define OUTBOX_CAPTURE_JSON_H

#include "outbox.h"

#include "fmgr.h"
#include "lib/stringinfo.h"

typedef enum OutboxJsonKind
{
	OUTBOX_JSON_BOOL,
	OUTBOX_JSON_INT2,
	OUTBOX_JSON_INT4,
	OUTBOX_JSON_INT8,
	OUTBOX_JSON_FLOAT4,
	OUTBOX_JSON_FLOAT8,
	OUTBOX_JSON_NUMERIC,
	OUTBOX_JSON_TEXT,
	OUTBOX_JSON_DATETIME,
	OUTBOX_JSON_BYTEA,
	OUTBOX_JSON_JSON,
	OUTBOX_JSON_JSONB,
	OUTBOX_JSON_ARRAY,
	OUTBOX_JSON_COMPOSITE,
	OUTBOX_JSON_OTHER, /* a string, by its output function */
} OutboxJsonKind;

/* How values of a type are written */
typedef struct OutboxJsonType
{
	OutboxJsonKind kind;
	bool settings; /* its output function may depend on settings */
	Oid type;      /* of a domain: what it is over */
	FmgrInfo output;
	/* of an array: its elements */
	struct OutboxJsonType *element;
	int16 element_length;
	bool element_by_value;
	char element_align;
} OutboxJsonType;

extern void outbox_json_type(OutboxJsonType *type, Oid oid);
extern void outbox_json_string(StringInfo out, const char *data, int bytes);
extern void outbox_json_value(StringInfo out, Datum value,
							  OutboxJsonType *type);
extern void outbox_json_key(StringInfo out, Datum value, OutboxJsonType *type);

#endif /* OUTBOX_CAPTURE_JSON_H */
