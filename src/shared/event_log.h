/*-------------------------------------------------------------------------
 *
 * event_log.h
 *	  Lines of the log that are about one event.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_EVENT_LOG_H
#define OUTBOX_EVENT_LOG_H

#include "event.h"

/* what becomes of most of them */
#define OUTBOX_EVENT_LOG_DEAD "is a dead letter"

extern char *outbox_event_log_name(const OutboxEvent *event);
extern char *outbox_event_log_name_of(uint64 id, const char *event_id,
									  const char *topic);
extern void outbox_event_log(const OutboxEvent *event, const char *what,
							 const char *why);
extern void outbox_event_log_named(const char *name, const char *what,
								   const char *why);
extern void outbox_event_log_acknowledged(const char *name, int64 queued_us,
										  int64 sent_us);

#endif /* OUTBOX_EVENT_LOG_H */
