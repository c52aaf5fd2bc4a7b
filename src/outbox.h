/*-------------------------------------------------------------------------
 *
 * outbox.h
 *	  Names that every part of outbox uses: schema, tables, columns.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_H
#define OUTBOX_H

#include "postgres.h"

#define OUTBOX_VERSION        "1.0"
#define OUTBOX_EXTENSION      "outbox"
#define OUTBOX_SCHEMA         "outbox"
#define OUTBOX_SEQUENCE       "event_id_seq"
#define OUTBOX_EVENT_TABLE    "event"
#define OUTBOX_RELAY_TABLE    "relay"
#define OUTBOX_PARKED_TABLE   "parked"
#define OUTBOX_SEGMENTS       8
#define OUTBOX_SEGMENT_PREFIX "event_"

/* the first relay; others come with their own rows in outbox.relay */
#define OUTBOX_DEFAULT_RELAY  "default"

/* columns of outbox.event, in their order in the table */
typedef enum OutboxEventColumn
{
	OUTBOX_EVENT_ID = 0,
	OUTBOX_EVENT_EVENT_ID,
	OUTBOX_EVENT_EMITTED_AT,
	OUTBOX_EVENT_TOPIC,
	OUTBOX_EVENT_KEY,
	OUTBOX_EVENT_PAYLOAD,
	OUTBOX_EVENT_HEADERS,
	OUTBOX_EVENT_COLUMNS
} OutboxEventColumn;

/* Kafka's limit for a topic's name */
#define OUTBOX_TOPIC_MAX       249

/* the header that carries event_id; the application cannot set it */
#define OUTBOX_HEADER_EVENT_ID "event_id"

#endif /* OUTBOX_H */
