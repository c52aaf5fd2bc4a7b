/*-------------------------------------------------------------------------
 *
 * record.h
 *	  From a row of the outbox to a record for the broker.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_RECORD_H
#define OUTBOX_RECORD_H

#include "sink/sink.h"
#include "event.h"
#include "format/envelope.h"

/* the header that most records have */
#define OUTBOX_RECORD_EVENT_ID_BYTES \
	(sizeof(OUTBOX_HEADER_EVENT_ID) - 1 + OUTBOX_ENVELOPE_UUID_BYTES)

extern bool outbox_record_from_event(OutboxRecord *record,
									 const OutboxEvent *event,
									 const OutboxEnvelope *envelope,
									 char *error);
extern uint32 outbox_record_size(const OutboxRecord *record);

#endif /* OUTBOX_RECORD_H */
