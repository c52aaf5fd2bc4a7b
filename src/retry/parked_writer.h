/*-------------------------------------------------------------------------
 *
 * parked_writer.h
 *	  Events of the stream that are parked.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_PARKED_WRITER_H
#define OUTBOX_PARKED_WRITER_H

#include "store/parked.h"
#include "store/segment_reader.h"
#include "store/table_writer.h"

/* Those of one page; it begins as zeros */
typedef struct OutboxParkedWriter
{
	OutboxTableWriter *writer; /* NULL: nothing to be written */
	Size bytes;
	int waiting; /* queued or retrying */
	int dead;
} OutboxParkedWriter;

extern void outbox_parked_writer_queue(OutboxParkedWriter *parked,
									   const OutboxEvent *event);
extern bool outbox_parked_writer_suspect(OutboxParkedWriter *parked,
										 const OutboxEvent *event);
extern void outbox_parked_writer_failed(OutboxParkedWriter *parked,
										const OutboxEvent *event,
										const OutboxParkReason *reason);
extern void outbox_parked_writer_expired(OutboxParkedWriter *parked,
										 const OutboxEvent *event);
extern bool outbox_parked_writer_is_full(const OutboxParkedWriter *parked);
extern OutboxStoreStatus
outbox_parked_writer_read(OutboxParkedWriter *parked, uint64 position,
						  uint64 horizon, int limit,
						  const OutboxPageReader *reader, uint64 *rows);

#endif /* OUTBOX_PARKED_WRITER_H */
