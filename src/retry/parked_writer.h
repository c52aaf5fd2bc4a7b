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
#include "store/table_writer.h"

/* Those of one page; it begins as zeros, but for the relay */
typedef struct OutboxAside
{
	const char *relay;
	OutboxRowWriter *writer; /* NULL: nothing to be written */
	Size bytes;
	int waiting; /* queued or retrying */
	int dead;
} OutboxAside;

extern void outbox_aside_queue(OutboxAside *aside, const OutboxEvent *event);
extern bool outbox_aside_suspect(OutboxAside *aside, const OutboxEvent *event);
extern void outbox_aside_failed(OutboxAside *aside, const OutboxEvent *event,
								const OutboxParkReason *reason);
extern void outbox_aside_expired(OutboxAside *aside, const OutboxEvent *event);
extern bool outbox_aside_is_full(const OutboxAside *aside);
extern void outbox_aside_write(OutboxAside *aside);
extern void outbox_aside_tell(const OutboxAside *aside);

#endif /* OUTBOX_PARKED_WRITER_H */
