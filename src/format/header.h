/*-------------------------------------------------------------------------
 *
 * header.h
 *	  A header of an event.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_HEADER_H
#define OUTBOX_HEADER_H

#include "utils/jsonb.h"

#include "sink/sink.h"

extern void outbox_header_set_name(OutboxHeader *header,
								   const JsonbValue *name);
extern bool outbox_header_is_named(const OutboxHeader *header,
								   const char *name);
extern const char *outbox_header_set_value(OutboxHeader *header,
										   const JsonbValue *value);

#endif /* OUTBOX_HEADER_H */
