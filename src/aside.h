/*-------------------------------------------------------------------------
 *
 * aside.h
 *	  Events of the stream that are parked instead of being sent.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_ASIDE_H
#define OUTBOX_ASIDE_H

#include "rows.h"
#include "store.h"

/* Those of one page; it begins as zeros, but for the relay */
typedef struct OutboxAside
{
	const char *relay;
	OutboxRowWriter *writer; /* NULL: nothing to be written */
	Size bytes;
	int queued;
	int expired;
} OutboxAside;

extern void outbox_aside_queue(OutboxAside *aside, const OutboxEvent *event);
extern void outbox_aside_expired(OutboxAside *aside, const OutboxEvent *event);
extern bool outbox_aside_is_full(const OutboxAside *aside);
extern void outbox_aside_write(OutboxAside *aside);
extern void outbox_aside_tell(const OutboxAside *aside);

#endif /* OUTBOX_ASIDE_H */
