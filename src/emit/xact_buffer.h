/*-------------------------------------------------------------------------
 *
 * xact_buffer.h
 *	  The events of the current transaction, until it commits.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_XACT_BUFFER_H
#define OUTBOX_XACT_BUFFER_H

#include "outbox.h"

#include "access/htup.h"

typedef struct OutboxBufferReader
{
	int64 offset;        /* behind what was read last */
	uint32 origin;       /* of that, outbox_xact_buffer_append() */
	HeapTupleData tuple; /* what outbox_xact_buffer_next() returns */
	char *scratch;       /* holds it, when it came from disk */
	Size scratch_size;
} OutboxBufferReader;

extern void outbox_xact_buffer_append(HeapTuple tuple, uint32 origin);
extern bool outbox_xact_buffer_is_empty(void);
extern int64 outbox_xact_buffer_events(void);
extern int64 outbox_xact_buffer_bytes(void);
extern void outbox_xact_buffer_commit_sub(int nest_level);
extern void outbox_xact_buffer_abort_sub(int nest_level);
extern void outbox_xact_buffer_close(void);
extern void outbox_xact_buffer_forget(void);
extern void outbox_xact_buffer_rewind(OutboxBufferReader *reader);
extern HeapTuple outbox_xact_buffer_next(OutboxBufferReader *reader);

#endif /* OUTBOX_XACT_BUFFER_H */
