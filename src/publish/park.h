/*-------------------------------------------------------------------------
 *
 * park.h
 *	  Events of the window that are parked.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_PARK_H
#define OUTBOX_PARK_H

#include "publish/stream.h"
#include "retry/failure.h"
#include "retry/parked_writer.h"

extern void outbox_park_failed(OutboxParkedWriter *parked,
							   const OutboxEvent *event,
							   const OutboxFailedAttempt *attempt);
extern OutboxStoreStatus outbox_park(OutboxStream *stream, bool faults,
									 bool *more);

#endif /* OUTBOX_PARK_H */
