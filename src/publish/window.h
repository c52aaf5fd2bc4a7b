/*-------------------------------------------------------------------------
 *
 * window.h
 *	  The events that are on their way to the broker.
 *
 *-------------------------------------------------------------------------
 */
#ifndef OUTBOX_WINDOW_H
#define OUTBOX_WINDOW_H

#include "retry/topic.h"
#include "sink/sink.h"

typedef struct OutboxWindow OutboxWindow;

/* Why an event was not published */
typedef struct OutboxFault
{
	OutboxFailure failure;
	const char *error;
} OutboxFault;

extern OutboxWindow *outbox_window_create(int max_events, int64 max_bytes);
extern void outbox_window_free(OutboxWindow *window);
extern bool outbox_window_has_room(const OutboxWindow *window, int64 bytes);
extern int outbox_window_room(const OutboxWindow *window);
extern bool outbox_window_is_empty(const OutboxWindow *window);
extern uint64 outbox_window_next_tag(const OutboxWindow *window);
extern void outbox_window_add(OutboxWindow *window, uint64 id, int64 bytes,
							  OutboxTopic *topic, TimestampTz now);
extern void outbox_window_measure(OutboxWindow *window, uint32 size,
								  int64 waited_us);
extern void outbox_window_note(OutboxWindow *window, const char *note);
extern const char *outbox_window_note_of(const OutboxWindow *window,
										 uint64 tag);
extern int64 outbox_window_memory(const OutboxWindow *window);
extern uint32 outbox_window_size(const OutboxWindow *window, uint64 tag);
extern int64 outbox_window_waited_us(const OutboxWindow *window, uint64 tag);
extern void outbox_window_failed(OutboxWindow *window, uint64 tag,
								 OutboxFailure failure, const char *error);
extern void outbox_window_set_aside(OutboxWindow *window, uint64 id);
extern bool outbox_window_has_aside(const OutboxWindow *window);
extern void outbox_window_aside_done(OutboxWindow *window);
extern void outbox_window_done(OutboxWindow *window, uint64 tag);
extern void outbox_window_answered(OutboxWindow *window, uint64 tag);
extern uint64 outbox_window_first_tag(const OutboxWindow *window);
extern int outbox_window_count(const OutboxWindow *window);
extern bool outbox_window_is_done(const OutboxWindow *window, uint64 tag);
extern bool outbox_window_is_answered(const OutboxWindow *window, uint64 tag);
extern int64 outbox_window_bytes(const OutboxWindow *window, uint64 tag);
extern TimestampTz outbox_window_sent_at(const OutboxWindow *window,
										 uint64 tag);
extern OutboxTopic *outbox_window_topic(const OutboxWindow *window,
										uint64 tag);
extern const OutboxFault *outbox_window_fault(const OutboxWindow *window,
											  uint64 tag);
extern uint64 outbox_window_oldest(const OutboxWindow *window);
extern uint64 outbox_window_id(const OutboxWindow *window, uint64 tag);
extern int outbox_window_done_ids(const OutboxWindow *window, uint64 *ids);

#endif /* OUTBOX_WINDOW_H */
