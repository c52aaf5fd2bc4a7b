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

/* a UUID as text */
#define OUTBOX_RECORD_UUID_BYTES 36

/* the header that every record has */
#define OUTBOX_RECORD_EVENT_ID_BYTES \
	(sizeof(OUTBOX_HEADER_EVENT_ID) - 1 + OUTBOX_RECORD_UUID_BYTES)

extern bool outbox_record_from_event(OutboxRecord *record,
									 const OutboxEvent *event, char *error);
extern const char *outbox_record_utf8(const char *what, const char *data,
									  int *bytes);
extern void outbox_record_set_name(OutboxHeader *header,
								   const JsonbValue *name);
extern bool outbox_record_is_named(const OutboxHeader *header,
								   const char *name);
extern const char *outbox_record_set_value(OutboxHeader *header,
										   const JsonbValue *value);

#endif /* OUTBOX_RECORD_H */
