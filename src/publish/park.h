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
#include "retry/parked_writer.h"

extern bool outbox_park_is_final(OutboxFailure failure);
extern void outbox_park_failed(OutboxStream *stream, OutboxParkedWriter *aside,
							   const OutboxEvent *event, OutboxFailure failure,
							   const char *error, int attempts);
extern OutboxStoreStatus outbox_park(OutboxStream *stream, bool faults,
									 bool *more);

#endif /* OUTBOX_PARK_H */
