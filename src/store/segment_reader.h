/*-------------------------------------------------------------------------
 *
 * segment_reader.h
 *	  Events as the stream reads them, a page at a time.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_SEGMENT_READER_H
#define OUTBOX_SEGMENT_READER_H

#include "outbox.h"

#include "store/statement.h"

extern OutboxStoreStatus outbox_segment_read(uint64 position, uint64 horizon,
											 int limit,
											 const OutboxPageReader *reader,
											 uint64 *rows);
extern bool outbox_segment_is_drained(int segment);
extern void outbox_segment_set_drained(int segment);

#endif /* OUTBOX_SEGMENT_READER_H */
