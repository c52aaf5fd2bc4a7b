/*-------------------------------------------------------------------------
 *
 * event.h
 *	  An event: its columns, and a row of it that has been read.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_EVENT_H
#define OUTBOX_EVENT_H

#include "outbox.h"

#include "access/htup.h"
#include "access/tupdesc.h"
#include "datatype/timestamp.h"
#include "storage/itemptr.h"
#include "utils/jsonb.h"
#include "utils/uuid.h"

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
	OUTBOX_EVENT_EXPIRES_AT,
	/* the row of an event that has none of these ends here */
	OUTBOX_EVENT_BARE_COLUMNS,
	OUTBOX_EVENT_TYPE = OUTBOX_EVENT_BARE_COLUMNS,
	OUTBOX_EVENT_SOURCE,
	OUTBOX_EVENT_CONTENT_TYPE,
	OUTBOX_EVENT_COLUMNS,
	/* outbox.delayed goes on with */
	OUTBOX_DELAYED_DELIVER_AT = OUTBOX_EVENT_COLUMNS,
	OUTBOX_DELAYED_COLUMNS
} OutboxEventColumn;

/* One row of outbox.event or outbox.parked; what it points to is valid during
 * the call */
typedef struct OutboxEvent
{
	uint64 id;
	const pg_uuid_t *event_id;
	TimestampTz emitted_at;
	text *topic;
	text *key;              /* or NULL */
	bytea *payload;         /* or NULL */
	Jsonb *headers;         /* or NULL */
	TimestampTz expires_at; /* DT_NOEND = never */
	text *type;             /* or NULL; likewise */
	text *source;
	text *content_type;
	/* of a parked event */
	int attempts;  /* so far */
	bool blocking; /* later events of its key wait for it */
	bool retrying; /* it has a time for its next attempt */
	ItemPointerData tid;
} OutboxEvent;

/* Takes an event; false = not this one, and no more of the page */
typedef bool (*OutboxEventConsumer)(const OutboxEvent *event, void *arg);

/* Takes an event by its id alone; false = it must be read */
typedef bool (*OutboxIdConsumer)(uint64 id, void *arg);

/* Takes an event by its topic; false = it must be read */
typedef bool (*OutboxTopicConsumer)(uint64 id, const text *topic, void *arg);

/* Who takes the events of a page, each by the first of these that does */
typedef struct OutboxPageReader
{
	OutboxIdConsumer pass;          /* or NULL */
	OutboxTopicConsumer pass_topic; /* or NULL */
	OutboxEventConsumer take;
	void *arg;
} OutboxPageReader;

/* the event that is being handled, by its id; 0 = none in particular */
extern uint64 outbox_event_in_hand;

/* one of those that are being read by a query */
#define OUTBOX_EVENT_UNKNOWN UINT64_MAX

extern bool outbox_event_is_for_other(const OutboxEvent *event,
									  const char *relay);
extern TupleDesc outbox_event_tupdesc(int columns);
extern HeapTuple outbox_event_form(Datum *values, bool *nulls, bool delayed);

#endif /* OUTBOX_EVENT_H */
