/*-------------------------------------------------------------------------
 *
 * event_args.h
 *	  From the arguments of outbox_emit() to a row of outbox.event.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_EVENT_ARGS_H
#define OUTBOX_EVENT_ARGS_H

#include "outbox.h"

#include "access/htup.h"
#include "access/tupdesc.h"
#include "utils/jsonb.h"

#include "event.h"

extern text *outbox_event_topic(text *topic);
extern text *outbox_event_key(Datum key, Oid type);
extern bytea *outbox_event_payload(Datum payload, Oid type);
extern text *outbox_event_attribute(const char *name, text *value);
extern void outbox_event_check_id(const pg_uuid_t *event_id);
extern bool outbox_event_set_due(TimestampTz deliver_at, Datum *values,
								 bool *nulls);
extern void outbox_event_check_size(Size bytes);
extern void outbox_event_check(Datum *values, bool *nulls);
extern void outbox_event_emit_again(const OutboxEvent *event);

#endif /* OUTBOX_EVENT_ARGS_H */
