/*-------------------------------------------------------------------------
 *
 * envelope.h
 *	  The headers that a relay gives each record beside the event's own.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_ENVELOPE_H
#define OUTBOX_ENVELOPE_H

#include "sink/sink.h"
#include "event.h"
#include "guc.h"

typedef struct OutboxEnvelope
{
	OutboxEventHeaders kind;
	const char *source; /* of events that have none of their own */
} OutboxEnvelope;

/* a UUID as text */
#define OUTBOX_ENVELOPE_UUID_BYTES 36

/* a time as text, with its terminator */
#define OUTBOX_ENVELOPE_TIME_BYTES 28

/* for the values that are not in the event: its id, and its time */
#define OUTBOX_ENVELOPE_TEXT_BYTES \
	(OUTBOX_ENVELOPE_UUID_BYTES + OUTBOX_ENVELOPE_TIME_BYTES)

/* no envelope has more headers */
#define OUTBOX_ENVELOPE_HEADERS 6

extern OutboxHeader *outbox_envelope_add(const OutboxEnvelope *envelope,
										 const OutboxEvent *event,
										 OutboxHeader *header, char *text);

#endif /* OUTBOX_ENVELOPE_H */
