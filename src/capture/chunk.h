/*-------------------------------------------------------------------------
 *
 * chunk.h
 *	  Rows that are in a table already become events.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_CAPTURE_CHUNK_H
#define OUTBOX_CAPTURE_CHUNK_H

#include "outbox.h"

#include "nodes/pg_list.h"
#include "utils/array.h"

#include "capture/key_scan.h"

/* Why a chunk has ended */
typedef enum OutboxChunkEnd
{
	OUTBOX_CHUNK_TABLE_IS_READ,
	OUTBOX_CHUNK_IS_FULL,
	OUTBOX_CHUNK_MET_A_LOCK,  /* of a row */
	OUTBOX_CHUNK_CANNOT_READ, /* others have locked the table, or its index
							   * cannot be used yet */
	OUTBOX_CHUNK_TABLE_IS_GONE,
} OutboxChunkEnd;

typedef struct OutboxChunk
{
	/* what to do */
	Oid table;
	List *captures;        /* ids of outbox.capture that its rows go to */
	const char *condition; /* rows that are wanted; NULL = all */
	ArrayType *from;       /* the key to begin with; NULL = the first one */
	ArrayType *upto;       /* the last one; NULL = as the table is now */
	int64 max_rows;
	int64 max_us; /* until no further row is begun */
	bool wait;    /* for the first row, if others have locked it */

	/* what has come of it: from is where to go on */
	OutboxChunkEnd end;
	int64 rows; /* that have been looked at */
	int64 events;
	OutboxKeyScan *scan; /* has the row at hand when there is an error */
	bool users_code;     /* functions of users may have been called */
} OutboxChunk;

extern void outbox_capture_chunk(void *chunk);

#endif /* OUTBOX_CAPTURE_CHUNK_H */
