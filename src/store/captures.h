/*-------------------------------------------------------------------------
 *
 * captures.h
 *	  outbox.capture: which tables are published, and how.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_CAPTURES_H
#define OUTBOX_CAPTURES_H

#include "outbox.h"

#include "nodes/pg_list.h"

/* A row of it; strings and lists of strings, NULL or NIL for null */
typedef struct OutboxCapture
{
	int32 id;
	Oid relation;
	char *topic;
	bool has_key;
	List *key;
	bool has_columns;
	List *columns;
	List *renamed; /* a column, what it is called, and so on */
	char *format;
	Oid function;    /* of format "function"; InvalidOid: it is gone */
	char *condition; /* or NULL */
	char *version;   /* or NULL */
	bool tombstones;
	char *on_truncate;
	char *type; /* or NULL; likewise below */
	char *source;
	char *content_type;
} OutboxCapture;

extern OutboxCapture *outbox_captures_read(Oid table, int32 id);

#endif /* OUTBOX_CAPTURES_H */
